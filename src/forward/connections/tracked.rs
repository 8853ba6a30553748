//! A connection in the hands of its task: its record is written exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tracing::Span;

use super::{ActiveConnection, ConnectionTable, Position};
use crate::clock;
use crate::forward::access_log::{Conclusion, End};
use crate::forward::outcome::{Outcome, STOPPING};
use crate::forward::shutdown::ShutdownWatch;
use crate::forward::timeline::SessionTimeline;
use crate::printable::Printable;
use crate::telemetry::{ConnectionRecord, EndReason, Phase, Stage, StageTimes};
use crate::tunnel::Tunnel;

/// A connection, owned by its task.
#[derive(Debug)]
pub(in crate::forward) struct TrackedConnection {
    table: Arc<ConnectionTable>,
    connection: Arc<ActiveConnection>,
    is_recorded: AtomicBool,
    stop: ShutdownWatch,
    /// Span of the forward.
    span: Span,
}

impl TrackedConnection {
    /// Begins the record of a connection that was just added to the table, with the span of its
    /// task.
    pub(super) fn new(
        table: Arc<ConnectionTable>,
        connection: Arc<ActiveConnection>,
        stop: ShutdownWatch,
    ) -> Self {
        Self {
            table,
            connection,
            is_recorded: AtomicBool::new(false),
            stop,
            span: Span::current(),
        }
    }

    /// Returns the connection.
    pub(in crate::forward) fn active(&self) -> &ActiveConnection {
        &self.connection
    }

    /// Finds the program of the client, if that is possible.
    pub(in crate::forward) async fn find_command(&self) {
        if let Some(command) = self.connection.peer.command().await {
            // Set once.
            let _same = self.connection.command.set(command);
        }
    }

    /// Writes its record, unless it has one, and removes it from the table.
    pub(in crate::forward) fn record(&self, end: End) {
        drop(self.conclude(end));
    }

    /// Counts its end, unless it was counted, and removes it from the table. Dropping the result
    /// writes its record.
    pub(in crate::forward) fn conclude(&self, end: End) -> Option<Conclusion> {
        if self.is_recorded.swap(true, Relaxed) {
            return None;
        }
        self.table.lock().remove(&self.connection.id);
        let (omitted, is_answered) = (end.omitted, end.is_answered);
        let record = self.finished(end);
        self.table.metrics.record_end(&record);
        if record.reason == EndReason::Stopped && !matches!(record.phase, Phase::Connecting(_)) {
            self.table.reset_by_stop.fetch_add(1, Relaxed);
        }
        let span = self.span.clone();
        Some(Conclusion::new(record, omitted, is_answered, span))
    }

    fn finished(&self, end: End) -> ConnectionRecord {
        let connection = &self.connection;
        let now = clock::now();
        let (position, opened) = {
            let current = connection.current();
            (current.position, current.opened.clone())
        };
        let (phase, mut stages) = match (position, &opened) {
            (Position::Open(phase), Some(opened)) => (phase, opened.stages),
            (Position::Queued, _) => self.connecting(SessionTimeline::default(), now),
            (Position::Waiting | Position::Open(_), _) => {
                let opening = || self.table.sessions.opening();
                self.connecting(end.timeline.unwrap_or_else(opening), now)
            }
        };
        if let (Some(opened), Some(at)) = (&opened, connection.counters.first_received()) {
            stages.set(Stage::FirstByte, at.saturating_duration_since(opened.at));
        }
        let settings = &self.table.settings;
        let tunnel = opened.as_ref().and_then(|opened| opened.tunnel.as_ref());
        let reported = tunnel.and_then(Tunnel::destination);
        let reported = reported.filter(|_| !settings.is_proxy());
        let failure = end.failure;
        ConnectionRecord {
            id: connection.id,
            reason: end.reason,
            phase,
            class: failure.as_ref().map(|failure| failure.class),
            sent: connection.counters.sent(),
            received: connection.counters.received(),
            duration: now.saturating_duration_since(connection.accepted),
            stages,
            resumes: tunnel.zip(opened.as_ref()).map_or(0, |(tunnel, opened)| {
                tunnel.resumes().saturating_sub(opened.resumes)
            }),
            longest_stall: tunnel
                .zip(opened.as_ref())
                .map_or(Duration::ZERO, |(tunnel, opened)| {
                    tunnel.longest_outage(opened.at)
                }),
            peer: connection.peer(),
            target: Printable::of(&settings.target),
            node: tunnel.map(|tunnel| tunnel.node().into()),
            destination: reported.unwrap_or_else(|| self.table.destination(connection)),
            session: tunnel.map(|tunnel| tunnel.session_id().into()),
            hint: failure
                .as_ref()
                .map(|failure| failure.hint.clone())
                .unwrap_or_default(),
            error: failure.map(|failure| failure.error),
            explained: None,
        }
    }

    fn connecting(&self, timeline: SessionTimeline, now: Instant) -> (Phase, StageTimes) {
        let times = timeline.times(self.connection.accepted, now);
        (Phase::Connecting(timeline.stage()), times)
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        let is_stopping = self.stop.is_stopping() && !std::thread::panicking();
        self.record(match (is_stopping, self.connection.is_flushing()) {
            (true, true) => {
                let nowhere = Printable::default();
                Outcome::UploadIncomplete.end(None, Some(STOPPING), &nowhere)
            }
            (true, false) => End::new(EndReason::Stopped),
            (false, _) => End::aborted(),
        });
    }
}
