//! What `top` knows and shows: pure, driven by reports and keys.
//!
//! ```text
//!               Enter                    x                        y
//!   forwards ─────────▶ connections ─────────▶ confirmation ─────────▶ Command::Close
//!            ◀─────────             ◀───────── any other key, or the connection ended
//!              Escape
//! ```

mod events;
mod keyboard;
mod order;
mod rates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

pub(crate) use self::events::EventLog;
pub(crate) use self::order::{ConnectionKey, ForwardKey, Order, Selection, SortKey};
pub(crate) use self::rates::{Rate, RateHistory};
use crate::printable::Printable;
use crate::quantity;
use crate::telemetry::{ConnectionReport, ForwardDetail, ForwardReport, StatusReport};

/// What happened outside.
#[derive(Debug)]
pub(crate) enum Update {
    /// The daemon responded at this time. The second report is that of the forward that was asked
    /// for; `None` if the daemon does not have it.
    Reports {
        at: Instant,
        status: Box<StatusReport>,
        detail: Option<Box<ForwardDetail>>,
    },
    /// The daemon did not respond.
    Failed { error: Printable, hint: Printable },
    /// A connection was closed, or was not.
    Closed {
        connection: u64,
        result: Result<(), Printable>,
    },
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// End the program.
    Quit,
    /// Stop the program until the shell continues it.
    Suspend,
    /// Draw everything again.
    Redraw,
    /// Close a connection of the daemon with this process id.
    Close { connection: u64, pid: u32 },
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Page {
    /// All forwards.
    #[default]
    Forwards,
    /// One forward and its connections.
    Connections(Printable),
}

/// Why there is no current report.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Printable,
    pub(crate) hint: Printable,
}

/// A connection that is closed if the user confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) connection: u64,
    pub(crate) peer: Printable,
    pid: u32,
}

/// State of the program.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) page: Page,
    pub(crate) shows_help: bool,
    pub(crate) status: Option<Box<StatusReport>>,
    pub(crate) detail: Option<Box<ForwardDetail>>,
    /// When the last report was made; when the program started if there is none.
    pub(crate) reported: Instant,
    pub(crate) failure: Option<Failure>,
    pub(crate) events: EventLog,
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) forward_order: Order<ForwardKey>,
    pub(crate) connection_order: Order<ConnectionKey>,
    selected_forward: Selection<Printable>,
    selected_connection: Selection<u64>,
    rates: BTreeMap<Printable, RateHistory>,
    /// Number of rows that the keys PageUp and PageDown move.
    page_rows: usize,
}

impl Model {
    /// Creates a model without a report.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            page: Page::default(),
            shows_help: false,
            status: None,
            detail: None,
            reported: now,
            failure: None,
            events: EventLog::default(),
            confirmation: None,
            forward_order: Order::default(),
            connection_order: Order::default(),
            selected_forward: Selection::default(),
            selected_connection: Selection::default(),
            rates: BTreeMap::new(),
            page_rows: 10,
        }
    }

    /// Returns the forward whose connections are needed.
    pub(crate) fn wanted(&self) -> Option<&Printable> {
        match &self.page {
            Page::Forwards => None,
            Page::Connections(name) => Some(name),
        }
    }

    /// Handles a new height of the terminal.
    pub(crate) fn handle_height(&mut self, height: u16) {
        self.page_rows = usize::from(height).saturating_sub(10).max(1);
    }

    /// Handles what happened outside.
    pub(crate) fn handle_update(&mut self, update: Update, now: Instant) {
        match update {
            Update::Reports { at, status, detail } => self.handle_reports(at, status, detail),
            Update::Failed { error, hint } => self.handle_failure(now, error, hint),
            Update::Closed { connection, result } => match result {
                Ok(()) => {
                    let text = format!("connection {connection}: closed from here");
                    self.events.add(now, false, &text);
                }
                Err(error) => {
                    let text = format!("connection {connection}: not closed: {error}");
                    self.events.add(now, true, &text);
                }
            },
        }
    }

    fn handle_reports(
        &mut self,
        at: Instant,
        status: Box<StatusReport>,
        detail: Option<Box<ForwardDetail>>,
    ) {
        if self.failure.take().is_some() && self.status.is_some() {
            let silent = at.saturating_duration_since(self.reported).as_secs();
            let silent = quantity::time(silent);
            let text = format!("the daemon responds again, after {silent}");
            self.events.add(at, false, &text);
        }
        let before = self.status.take();
        let is_restarted = before
            .as_ref()
            .is_some_and(|before| is_other_process(before, &status));
        let before = before.filter(|_| !is_restarted);
        if is_restarted {
            self.events.add(at, true, "the daemon was restarted");
            self.confirmation = None;
            self.rates.values_mut().for_each(RateHistory::interrupt);
        }
        self.events.add_changes(at, before.as_deref(), &status);
        self.record_rates(at, &status);
        self.reported = at;
        self.status = Some(status);
        let names: Vec<Printable> = self.names();
        self.selected_forward.handle_rows(&names);
        self.handle_detail(detail);
    }

    fn record_rates(&mut self, at: Instant, status: &StatusReport) {
        let forwards = &status.forwards;
        self.rates
            .retain(|name, _| forwards.iter().any(|forward| forward.name == *name));
        for forward in forwards {
            let history = self.rates.entry(forward.name.clone()).or_default();
            history.record(at, forward.sent, forward.received);
        }
    }

    fn handle_detail(&mut self, detail: Option<Box<ForwardDetail>>) {
        let Page::Connections(name) = &self.page else {
            self.detail = None;
            return;
        };
        let exists = self.forwards().iter().any(|(known, _)| known.name == *name);
        if !exists {
            self.leave_connections();
            return;
        }
        // Without one, the page was opened after the request.
        if let Some(detail) = detail.filter(|detail| detail.forward.name == *name) {
            self.detail = Some(detail);
        }
        let ids: Vec<u64> = self.connections().iter().map(|one| one.id).collect();
        self.selected_connection.handle_rows(&ids);
        self.confirmation
            .take_if(|asked| !ids.contains(&asked.connection));
    }

    fn handle_failure(&mut self, now: Instant, error: Printable, hint: Printable) {
        // It may be another daemon that responds next.
        self.confirmation = None;
        if self.failure.is_none() && self.status.is_some() {
            self.events.add(now, true, &error);
        }
        self.failure = Some(Failure { error, hint });
    }

    fn leave_connections(&mut self) {
        self.page = Page::Forwards;
        self.detail = None;
        self.confirmation = None;
        self.selected_connection = Selection::default();
    }

    /// Returns the forwards in their order, with their rates.
    pub(crate) fn forwards(&self) -> Vec<(&ForwardReport, Option<&RateHistory>)> {
        let forwards = self.status.iter().flat_map(|status| &status.forwards);
        let mut rows: Vec<_> = forwards
            .map(|forward| (forward, self.rates.get(&forward.name)))
            .collect();
        self.forward_order.sort(&mut rows);
        rows
    }

    /// Returns the connections in their order.
    pub(crate) fn connections(&self) -> Vec<&ConnectionReport> {
        let mut rows: Vec<_> = self.detail.iter().flat_map(|d| &d.connections).collect();
        self.connection_order.sort(&mut rows);
        rows
    }

    /// Returns the index of the selected forward.
    pub(crate) fn forward_index(&self) -> usize {
        self.selected_forward.index(&self.names())
    }

    /// Returns the index of the selected connection.
    pub(crate) fn connection_index(&self) -> usize {
        let ids: Vec<u64> = self.connections().iter().map(|one| one.id).collect();
        self.selected_connection.index(&ids)
    }

    /// Returns the current rates of all forwards together.
    pub(crate) fn total_rate(&self) -> Rate {
        let current = self.rates.values().filter_map(RateHistory::current);
        current.fold(Rate::default(), |sum, rate| Rate {
            sent: sum.sent.saturating_add(rate.sent),
            received: sum.received.saturating_add(rate.received),
        })
    }

    fn names(&self) -> Vec<Printable> {
        let rows = self.forwards();
        rows.iter().map(|(row, _)| row.name.clone()).collect()
    }
}

/// Returns whether the second report is of another process than the first. In a container both may
/// have the same process id.
fn is_other_process(before: &StatusReport, after: &StatusReport) -> bool {
    before.pid != after.pid || after.uptime_seconds < before.uptime_seconds
}
