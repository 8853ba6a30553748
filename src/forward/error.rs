//! Errors that keep a connection from getting a stream, their severity, and log deduplication.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::Severity;
use crate::config::Remote;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::{self, HoldTime, Kind};
use crate::telemetry::FailureStatus;
use crate::tunnel::{self, Step};

/// Reason why a connection gets no stream.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The session could not be started.
    Session(session::Error),
    /// The session was started, but the tunnel was not established.
    Tunnel(Arc<tunnel::Error>),
    /// The deadline passed; the step that was pending.
    Late(Step),
    /// Internal error.
    Fault,
    /// The forward stops.
    Stopping,
}

impl Failure {
    /// Returns what the failure implies for the next start.
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::Session(error) => of_session(error),
            Self::Tunnel(error) => of_tunnel(error),
            Self::Late(_) | Self::Fault | Self::Stopping => Severity::Transient,
        }
    }

    /// Returns the failure as shown in the status.
    pub(super) fn trouble(&self, now: Instant) -> FailureStatus {
        FailureStatus {
            word: self.word(),
            error: Printable::of(self),
            hint: self.hint().unwrap_or_default().into(),
            since: now,
            seen: now,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Session(error) => error.kind().as_str(),
            Self::Tunnel(error) => error.word(),
            Self::Late(_) => "TimedOut",
            Self::Fault => "Fault",
            Self::Stopping => "Stopping",
        }
    }

    /// Returns what the user can do about it, if known.
    pub(super) fn hint(&self) -> Option<&str> {
        let hint = match self {
            Self::Session(error) => error.hint(),
            Self::Tunnel(error) => error.hint(),
            Self::Late(Step { hint: "", .. }) => {
                "raise `connect_timeout` if this step is only slow"
            }
            Self::Late(step) => step.hint,
            Self::Fault => "please report it with the preceding log lines",
            Self::Stopping => "",
        };
        Some(hint).filter(|hint| !hint.is_empty())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Tunnel(error) => error.fmt(f),
            Self::Late(step) => write!(
                f,
                "not ready within connect_timeout: still waiting for {}",
                step.name
            ),
            Self::Fault => f.write_str("internal error"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

/// Status entry for a destination that the agent could not connect to.
pub(super) fn refusal(destination: &Remote, now: Instant) -> FailureStatus {
    FailureStatus {
        word: "DestinationRefused",
        error: Printable::of(format_args!("the agent could not connect to {destination}")),
        hint: tunnel::Error::Ended(Reason::Refused).hint().into(),
        since: now,
        seen: now,
    }
}

fn of_session(error: &session::Error) -> Severity {
    match error.kind() {
        Kind::Throttled => Severity::Throttled,
        Kind::Credentials | Kind::Profile => Severity::Persistent(HoldTime::Constant),
        Kind::TargetNotConnected
        | Kind::Document
        | Kind::Denied
        | Kind::Invalid
        | Kind::Endpoint
        | Kind::Role
        | Kind::Region => Severity::Persistent(HoldTime::Exponential),
        Kind::Unreachable
        | Kind::Proxy
        | Kind::ServiceFault
        | Kind::Internal
        | Kind::Shortage
        | Kind::Stranger
        | Kind::Ended => Severity::Transient,
    }
}

fn of_tunnel(error: &tunnel::Error) -> Severity {
    match error {
        tunnel::Error::Session(error) => of_session(error),
        // A permission is missing, or the document is of another kind: the next one would fail too.
        tunnel::Error::Refused {
            status: 401 | 403, ..
        }
        | tunnel::Error::Ended(Reason::Handshake { .. }) => {
            Severity::Persistent(HoldTime::Exponential)
        }
        tunnel::Error::Refused { .. }
        | tunnel::Error::Ended(_)
        | tunnel::Error::Dial(_)
        | tunnel::Error::Late { .. }
        | tunnel::Error::Broken(_) => Severity::Transient,
    }
}

/// Suppresses repeated log lines: a failure is logged once, not for each connection.
#[derive(Debug, Default)]
pub(super) struct LogDedup {
    last: Option<Told>,
}

#[derive(Debug)]
struct Told {
    words: String,
    at: Instant,
    /// Start of the outage, and the number of connections reset since.
    since: Instant,
    cost: u64,
}

impl LogDedup {
    /// Records a failure that reset `cost` connections. Returns true if it should be logged as a
    /// warning: it differs from the last one, or was last logged a minute ago.
    pub(super) fn handle_failure(&mut self, now: Instant, failure: &Failure, cost: u64) -> bool {
        let words = failure.to_string();
        let Some(told) = &mut self.last else {
            self.last = Some(Told {
                words,
                at: now,
                since: now,
                cost,
            });
            return true;
        };
        told.cost += cost;
        let should_log = told.words != words || now.saturating_duration_since(told.at) >= REPEAT;
        if should_log {
            (told.words, told.at) = (words, now);
        }
        should_log
    }

    /// Records a success. Returns how long starts failed, and how many connections were reset.
    pub(super) fn handle_success(&mut self, now: Instant) -> Option<(Duration, u64)> {
        let told = self.last.take()?;
        Some((now.saturating_duration_since(told.since), told.cost))
    }
}

/// Interval at which the same failure is logged again.
const REPEAT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_failure_is_told_once_a_minute_and_its_end_once() {
        let start = clock::now();
        let late = Failure::Late(Step::of("StartSession"));
        let mut log_dedup = LogDedup::default();

        let told: Vec<u64> = (0..150)
            .filter(|second| {
                let now = start + Duration::from_secs(*second);
                log_dedup.handle_failure(now, &late, 1)
            })
            .collect();

        assert_eq!(told, [0, 60, 120]);
        let end = start + Duration::from_secs(200);
        let over = log_dedup.handle_success(end);
        assert_eq!(over, Some((Duration::from_secs(200), 150)));
        assert_eq!(log_dedup.handle_success(end), None);
    }

    #[test]
    fn another_failure_is_news() {
        let now = clock::now();
        let mut log_dedup = LogDedup::default();

        for step in ["StartSession", "the websocket", "StartSession"] {
            assert!(log_dedup.handle_failure(now, &Failure::Late(Step::of(step)), 1));
        }
    }
}
