//! Why a connection gets no stream, what that says about the next one, and how often it is told.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::Weight;
use crate::config::Remote;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::{self, HoldTime, Kind};
use crate::telemetry::Trouble;
use crate::tunnel::{self, Step};

/// Why a connection gets no stream.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No session.
    Session(session::Error),
    /// A session, but no tunnel.
    Tunnel(Arc<tunnel::Error>),
    /// Nothing in time.
    Late(Step),
    /// A fault of this program.
    Fault,
    /// The forward stops.
    Stopping,
}

impl Failure {
    /// What it says about the next start.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Session(error) => of_session(error),
            Self::Tunnel(error) => of_tunnel(error),
            Self::Late(_) | Self::Fault | Self::Stopping => Weight::Passing,
        }
    }

    /// What a status says about it.
    pub(super) fn trouble(&self, now: Instant) -> Trouble {
        Trouble {
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

    /// What a person can do about it; `None` if nothing.
    pub(super) fn hint(&self) -> Option<&str> {
        let hint = match self {
            Self::Session(error) => error.hint(),
            Self::Tunnel(error) => error.hint(),
            Self::Late(Step { hint: "", .. }) => "raise `connect_timeout` if this is just slow",
            Self::Late(step) => step.hint,
            Self::Fault => "please report it, with the lines before",
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

/// What a status says about a destination that the agent could not connect to.
pub(super) fn refusal(destination: &Remote, now: Instant) -> Trouble {
    Trouble {
        word: "DestinationRefused",
        error: Printable::of(format_args!("the agent could not connect to {destination}")),
        hint: tunnel::Error::Ended(Reason::Refused).hint().into(),
        since: now,
        seen: now,
    }
}

fn of_session(error: &session::Error) -> Weight {
    match error.kind() {
        Kind::Throttled => Weight::Throttled,
        Kind::Credentials | Kind::Profile => Weight::Definite(HoldTime::Constant),
        Kind::TargetNotConnected
        | Kind::Document
        | Kind::Denied
        | Kind::Invalid
        | Kind::Endpoint
        | Kind::Role
        | Kind::Region => Weight::Definite(HoldTime::Exponential),
        Kind::Unreachable
        | Kind::Proxy
        | Kind::ServiceFault
        | Kind::Internal
        | Kind::Shortage
        | Kind::Stranger
        | Kind::Ended => Weight::Passing,
    }
}

fn of_tunnel(error: &tunnel::Error) -> Weight {
    match error {
        tunnel::Error::Session(error) => of_session(error),
        // A permission is missing, or the document is of another kind: the same for the next one.
        tunnel::Error::Refused {
            status: 401 | 403, ..
        }
        | tunnel::Error::Ended(Reason::Handshake { .. }) => Weight::Definite(HoldTime::Exponential),
        tunnel::Error::Refused { .. }
        | tunnel::Error::Ended(_)
        | tunnel::Error::Dial(_)
        | tunnel::Error::Late { .. }
        | tunnel::Error::Broken(_) => Weight::Passing,
    }
}

/// Tells a failure once, and not for each connection that it costs.
#[derive(Debug, Default)]
pub(super) struct LogDedup {
    last: Option<Told>,
}

#[derive(Debug)]
struct Told {
    words: String,
    at: Instant,
    /// Since when everything fails, and how many that cost.
    since: Instant,
    cost: u64,
}

impl LogDedup {
    /// A failure has cost `cost` connections. True if it is news: another one than the last, or
    /// that one again after a minute.
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

    /// A session came up: since when none did, and how many connections that cost.
    pub(super) fn handle_success(&mut self, now: Instant) -> Option<(Duration, u64)> {
        let told = self.last.take()?;
        Some((now.saturating_duration_since(told.since), told.cost))
    }
}

/// How often one and the same failure is told.
const REPEAT: Duration = Duration::from_secs(60);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_a_minute_and_its_end_once() {
        let start = Instant::now();
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
        let now = Instant::now();
        let mut log_dedup = LogDedup::default();

        for step in ["StartSession", "the websocket", "StartSession"] {
            assert!(log_dedup.handle_failure(now, &Failure::Late(Step::of(step)), 1));
        }
    }
}
