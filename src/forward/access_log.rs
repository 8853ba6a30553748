//! Access log: one line per connection that has ended (docs/access-log.md).
//!
//! Failures are warnings, but the same failure to get a session or to reach the destination only once
//! a minute. Other connections that carried bytes are logged at `info`, those without a byte at `debug`.

use std::time::Duration;

use tracing::{Span, debug, field, info, warn};

use super::timeline::SessionTimeline;
use crate::config::ClientProtocol;
use crate::error_class::ErrorClass;
use crate::panics::Panic;
use crate::printable::Printable;
use crate::telemetry::{ConnectionRecord, EndReason, Phase, Stage};

/// How a connection ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) reason: EndReason,
    pub(super) failure: Option<EndFailure>,
    /// How many failures to get a session, or to reach the destination, were not logged before this
    /// one; `None` if the same was logged recently.
    pub(super) omitted: Option<u64>,
    /// The session that it was waiting for, if it had none and that is known.
    pub(super) timeline: Option<SessionTimeline>,
    /// The client got the error in its own protocol; of a stop: it is not reset, and the kernel
    /// delivers the rest of what the destination has sent.
    pub(super) is_answered: bool,
}

/// What failed.
#[derive(Debug)]
pub(super) struct EndFailure {
    pub(super) class: ErrorClass,
    pub(super) error: Printable,
    pub(super) hint: Printable,
}

impl End {
    /// An end without a failure.
    pub(super) fn new(reason: EndReason) -> Self {
        Self {
            reason,
            failure: None,
            omitted: Some(0),
            timeline: None,
            is_answered: false,
        }
    }

    /// The end of a connection because of a failure.
    pub(super) fn failed(reason: EndReason, failure: EndFailure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::new(reason)
        }
    }

    /// The end of a connection whose task panicked.
    pub(super) fn panicked(panic: &Panic) -> Self {
        let class = ErrorClass::InternalError;
        let failure = EndFailure {
            class,
            error: Printable::of(panic),
            hint: class.remedy().into(),
        };
        Self::failed(EndReason::InternalError, failure)
    }

    /// The end of a connection whose task was aborted although no stop was requested.
    pub(super) fn aborted() -> Self {
        let class = ErrorClass::InternalError;
        let failure = EndFailure {
            class,
            error: "the task of the connection was aborted".into(),
            hint: class.remedy().into(),
        };
        Self::failed(EndReason::InternalError, failure)
    }
}

/// The record of a connection that has ended. It is written once: when it is dropped, at the latest.
#[derive(Debug)]
pub(super) struct Conclusion {
    record: ConnectionRecord,
    omitted: Option<u64>,
    /// See [`End`].
    is_answered: bool,
    /// Span of the forward.
    span: Span,
}

impl Conclusion {
    pub(super) fn new(
        record: ConnectionRecord,
        omitted: Option<u64>,
        is_answered: bool,
        span: Span,
    ) -> Self {
        Self {
            record,
            omitted,
            is_answered,
            span,
        }
    }

    /// Returns the record.
    pub(super) fn record(&self) -> &ConnectionRecord {
        &self.record
    }

    /// Writes the record of a connection whose client got an error message.
    pub(super) fn explained(mut self, protocol: ClientProtocol) {
        self.record.explained = Some(protocol.name());
    }
}

impl Drop for Conclusion {
    fn drop(&mut self) {
        self.span
            .in_scope(|| log(&self.record, self.omitted, self.is_answered));
    }
}

/// Logs a record in one line.
fn log(record: &ConnectionRecord, omitted: Option<u64>, is_answered: bool) {
    let is_connecting = matches!(record.phase, Phase::Connecting(_));
    let was_logged = omitted.is_none();
    macro_rules! line {
        ($level:ident) => {{
            let seconds = |stage| record.stages.get(stage).map(seconds);
            $level!(
                reason = record.reason.name(),
                ended_by = record.reason.party().name(),
                phase = record.phase.name(),
                error = record.error.as_ref().map(field::display),
                hint = Some(record.hint.as_str()).filter(|hint| !hint.is_empty()),
                class = record.class.map(field::display),
                explained = record.explained,
                omitted = omitted.filter(|omitted| *omitted > 0),
                connection = record.id,
                peer = %record.peer,
                node = %record.target,
                resolved_node = record.node.as_ref().map(field::display),
                destination = %record.destination,
                session = record.session.as_ref().map(field::display),
                sent = record.sent,
                received = record.received,
                time = ?record.duration,
                duration_seconds = self::seconds(record.duration),
                queued_seconds = seconds(Stage::Queued),
                credentials_seconds = seconds(Stage::Credentials),
                start_session_seconds = seconds(Stage::StartSession),
                websocket_seconds = seconds(Stage::Websocket),
                handshake_seconds = seconds(Stage::Handshake),
                ready_seconds = seconds(Stage::Ready),
                first_byte_seconds = seconds(Stage::FirstByte),
                resumes = record.resumes,
                longest_stall_seconds = self::seconds(record.longest_stall),
                "{}",
                message(record, is_connecting, is_answered)
            );
        }};
    }
    match (record.error.is_some(), record.has_bytes()) {
        (true, _) if was_logged => line!(debug),
        (true, _) => line!(warn),
        (false, true) => line!(info),
        (false, false) => line!(debug),
    }
}

/// Returns the message of the line.
fn message(record: &ConnectionRecord, is_connecting: bool, is_answered: bool) -> &'static str {
    match record.reason {
        EndReason::Stopped if record.explained.is_some() => {
            "stopping; error message sent to the client"
        }
        _ if record.explained.is_some() && is_connecting => {
            "no session; error message sent to the client"
        }
        _ if record.explained.is_some() => "session lost; error message sent to the client",
        EndReason::ClientClosed => "connection ended by the client",
        EndReason::ClientLeft => "client disconnected before its session was ready",
        EndReason::UploadIncomplete => {
            "connection ended by the client; its final bytes may not have been delivered"
        }
        EndReason::DestinationClosed => "connection ended by the destination",
        EndReason::DestinationClosedEarly => {
            "connection ended by the destination, which may not have received every byte of the client"
        }
        EndReason::HalfCloseTimeout => "half-closed and idle; connection reset",
        EndReason::Stopped if is_answered => {
            "stopping after the destination had ended; the kernel delivers the rest to the client"
        }
        EndReason::Stopped => "stopping; connection reset",
        EndReason::ClosedByOperator => "closed by an operator; connection reset",
        EndReason::InternalError => "internal error; connection reset",
        EndReason::RequestDenied => "the client requested a destination that is not allowed",
        EndReason::RequestInvalid => "the client sent no valid request",
        EndReason::LimitReached
        | EndReason::ConnectTimeout
        | EndReason::SessionNotStarted
        | EndReason::DestinationUnreachable
        | EndReason::SessionEnded
        | EndReason::SessionLost
        | EndReason::ProtocolError
            if is_connecting =>
        {
            match is_answered {
                true => "no session; the client got an error",
                false => "no session; connection reset",
            }
        }
        EndReason::DestinationUnreachable => {
            "the agent could not connect to the destination; connection reset"
        }
        EndReason::LimitReached
        | EndReason::ConnectTimeout
        | EndReason::SessionNotStarted
        | EndReason::SessionEnded
        | EndReason::SessionLost
        | EndReason::ProtocolError => "session lost; connection reset",
    }
}

/// Returns seconds, exact to a microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
