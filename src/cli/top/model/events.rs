//! Events: what has changed between two reports of the daemon. The last ones are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::printable::Printable;
use crate::telemetry::{FailureReport, ForwardReport, ForwardState, StatusReport};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) is_failure: bool,
    pub(crate) text: Printable,
}

/// The last events, newest first.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: VecDeque<Event>,
}

impl EventLog {
    /// Adds an event.
    pub(super) fn add(&mut self, at: Instant, is_failure: bool, text: &str) {
        let text = Printable::cut(text, MAX_TEXT);
        // Failures that were known before this program started may be older than other events.
        let newer = self.events.iter().take_while(|event| event.at > at).count();
        let event = Event {
            at,
            is_failure,
            text,
        };
        self.events.insert(newer, event);
        self.events.truncate(CAPACITY);
    }

    /// Adds what has changed since the report before, which is of the same process.
    pub(super) fn add_changes(
        &mut self,
        now: Instant,
        before: Option<&StatusReport>,
        after: &StatusReport,
    ) {
        if let Some(before) = before {
            self.add_reloads(now, before, after);
            if !before.stopping && after.stopping {
                self.add(now, true, "the daemon is stopping");
            }
            if before.internal_errors < after.internal_errors {
                self.add(now, true, "internal error of the daemon: see its log");
            }
        }
        for server in &after.failing_servers {
            let known = before.is_some_and(|before| {
                let mut servers = before.failing_servers.iter();
                servers.any(|known| known.server == server.server)
            });
            if !known {
                self.add(now, true, &format!("{}: {}", server.server, server.error));
            }
        }
        for forward in &after.forwards {
            let known = before.and_then(|before| {
                let mut forwards = before.forwards.iter();
                forwards.find(|known| known.name == forward.name)
            });
            self.add_changes_of(now, known, forward, before.is_some());
        }
        let removed = before.into_iter().flat_map(|before| &before.forwards);
        for forward in removed {
            if !after.forwards.iter().any(|kept| kept.name == forward.name) {
                self.add(now, false, &format!("{}: removed", forward.name));
            }
        }
    }

    fn add_reloads(&mut self, now: Instant, before: &StatusReport, after: &StatusReport) {
        if before.reloads < after.reloads {
            self.add(now, false, "configuration reloaded");
        }
        if before.failed_reloads < after.failed_reloads {
            self.add(now, true, "reload failed; see the log of the daemon");
        }
    }

    fn add_changes_of(
        &mut self,
        now: Instant,
        before: Option<&ForwardReport>,
        after: &ForwardReport,
        is_same_daemon: bool,
    ) {
        let name = &after.name;
        if before.is_none() && is_same_daemon {
            self.add(now, false, &format!("{name}: added"));
        }
        let code = |forward: &ForwardReport| forward.failure.as_ref().map(|f| f.code.clone());
        if let Some(failure) = &after.failure
            && before.is_none_or(|before| code(before) != code(after))
        {
            let age = Duration::from_secs(failure.seen_seconds);
            let at = now.checked_sub(age).unwrap_or(now);
            self.add(at, true, &format!("{name}: {}", tagged(failure)));
            return;
        }
        let Some(before) = before else { return };
        // If the daemon stops, one event says so.
        if before.state != after.state && after.state != ForwardState::Stopping {
            let is_failure = after.state == ForwardState::Failing;
            self.add(
                now,
                is_failure,
                &format!("{name}: {}", after.state.as_str()),
            );
        }
    }

    /// Returns the events, newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// Returns an error with its class.
fn tagged(failure: &FailureReport) -> String {
    match failure.code.as_str() {
        "" => failure.error.to_string(),
        code => format!("[{code}] {}", failure.error),
    }
}

/// Maximum number of events.
const CAPACITY: usize = 100;

/// Maximum number of characters of an event.
const MAX_TEXT: usize = 300;
