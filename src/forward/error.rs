//! Errors that keep a connection from getting a stream, their severity, and log deduplication.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pool::Severity;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session::{self, ErrorKind, HoldTime};
use crate::telemetry::{EndReason, FailureStatus};
use crate::tunnel::{self, Step};

/// Reason why a connection gets no stream.
#[derive(Clone, Debug)]
pub(super) enum ConnectFailure {
    /// The session could not be started.
    Session(session::Error),
    /// The public key was not pushed to the target.
    KeyNotPushed(session::Error),
    /// The session was started, but the tunnel was not established.
    Tunnel(Arc<tunnel::Error>),
    /// The deadline passed; the step that was pending.
    TimedOut(Step),
    /// No slot became free before the deadline; the limit.
    LimitReached(Step),
    /// The client of a proxy requested a destination that the rules do not permit.
    Denied(Printable),
    /// The client of a proxy sent no valid request; what is wrong with it.
    BadRequest(Printable),
    /// The relay could not connect to the destination, or is not there.
    Relay(ErrorClass, Printable),
    /// Internal error.
    Internal,
    /// The forward stops.
    Stopping,
}

impl ConnectFailure {
    /// Returns what the failure implies for the next start.
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::Session(error) => of_session(error),
            Self::Tunnel(error) => of_tunnel(error),
            // Another session would not help.
            Self::KeyNotPushed(_)
            | Self::TimedOut(_)
            | Self::LimitReached(_)
            | Self::Denied(_)
            | Self::BadRequest(_)
            | Self::Relay(..)
            | Self::Internal
            | Self::Stopping => Severity::Transient,
        }
    }

    /// Returns whether the failure concerns the destination of the session only.
    pub(super) fn is_of_destination(&self) -> bool {
        matches!(
            self.class(),
            ErrorClass::DestinationNotFound
                | ErrorClass::DestinationRefused
                | ErrorClass::DestinationTimedOut
                | ErrorClass::DestinationForbidden
                | ErrorClass::DocumentParameters
        )
    }

    /// Returns the failure as shown in the status.
    pub(super) fn status(&self, now: Instant) -> FailureStatus {
        FailureStatus {
            class: self.class(),
            error: Printable::of(self),
            hint: self.hint().unwrap_or_default().into(),
            since: now,
            seen: now,
        }
    }

    /// Returns the class of the failure.
    pub(super) fn class(&self) -> ErrorClass {
        match self {
            Self::Session(error) | Self::KeyNotPushed(error) => error.class(),
            Self::Tunnel(error) => error.class(),
            Self::TimedOut(_) | Self::LimitReached(_) => ErrorClass::TimedOut,
            Self::Denied(_) => ErrorClass::DestinationDenied,
            Self::BadRequest(_) => ErrorClass::RequestInvalid,
            Self::Relay(class, _) => *class,
            Self::Internal => ErrorClass::InternalError,
            Self::Stopping => ErrorClass::Stopping,
        }
    }

    /// Returns the reason for the end of its connection.
    pub(super) fn end_reason(&self) -> EndReason {
        match self {
            Self::LimitReached(_) => EndReason::LimitReached,
            Self::TimedOut(_) => EndReason::ConnectTimeout,
            Self::Denied(_) => EndReason::RequestDenied,
            Self::BadRequest(_) => EndReason::RequestInvalid,
            Self::Session(_)
            | Self::KeyNotPushed(_)
            | Self::Tunnel(_)
            | Self::Relay(..)
            | Self::Internal
            | Self::Stopping => EndReason::of_connect_failure(self.class()),
        }
    }

    /// Returns what the user can do about it, if known.
    pub(super) fn hint(&self) -> Option<&str> {
        let hint = match self {
            Self::Session(error) | Self::KeyNotPushed(error) => error.hint(),
            Self::Tunnel(error) => error.hint(),
            Self::TimedOut(Step { hint: "", .. })
            | Self::LimitReached(Step { hint: "", .. })
            | Self::Denied(_)
            | Self::BadRequest(_)
            | Self::Internal => self.class().remedy(),
            Self::Relay(class, _) => relay_hint(*class),
            Self::TimedOut(step) | Self::LimitReached(step) => step.hint,
            Self::Stopping => "",
        };
        Some(hint).filter(|hint| !hint.is_empty())
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) | Self::KeyNotPushed(error) => error.fmt(f),
            Self::Tunnel(error) => error.fmt(f),
            Self::TimedOut(step) | Self::LimitReached(step) => write!(
                f,
                "not ready within connect_timeout: still waiting for {}",
                step.name
            ),
            Self::Denied(destination) => write!(f, "denied: {destination}"),
            Self::BadRequest(why) => write!(f, "not a valid request for a proxy: {why}"),
            Self::Relay(_, text) => text.fmt(f),
            Self::Internal => f.write_str("internal error"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

/// Returns what to do about a failure behind a relay. Some remedies concern the agent only.
fn relay_hint(class: ErrorClass) -> &'static str {
    match class == ErrorClass::DestinationForbidden {
        true => "add the destination to `--allow` of the relay, and restart it",
        false => class.remedy(),
    }
}

/// Status entry for a destination that the agent could not connect to.
pub(super) fn refusal(destination: &Printable, now: Instant) -> FailureStatus {
    FailureStatus {
        class: ErrorClass::DestinationRefused,
        error: Printable::of(format_args!("the agent could not connect to {destination}")),
        hint: ErrorClass::DestinationRefused.remedy().into(),
        since: now,
        seen: now,
    }
}

fn of_session(error: &session::Error) -> Severity {
    match error.kind() {
        ErrorKind::Throttled => Severity::Throttled,
        ErrorKind::Credentials | ErrorKind::Profile => Severity::Persistent(HoldTime::Constant),
        ErrorKind::TargetNotConnected
        | ErrorKind::Document
        | ErrorKind::Denied
        | ErrorKind::Invalid
        | ErrorKind::InvalidEndpoint
        | ErrorKind::Role
        | ErrorKind::Region => Severity::Persistent(HoldTime::Exponential),
        ErrorKind::Unreachable
        | ErrorKind::Proxy
        | ErrorKind::ServiceFault
        | ErrorKind::Internal
        | ErrorKind::Shortage
        | ErrorKind::NotAws
        | ErrorKind::SessionEnded => Severity::Transient,
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

/// Suppresses repeated log lines: each failure is logged once a minute, not for each connection.
#[derive(Debug, Default)]
pub(super) struct LogDedup {
    /// Start of the outage, and the number of connections reset since.
    outage: Option<(Instant, u64)>,
    /// The texts of the failures that were logged within the last minute, and when.
    logged: BTreeMap<String, Instant>,
    /// Failures of any text that were not logged since the last line.
    omitted: u64,
}

impl LogDedup {
    /// Records a failure that reset `cost` connections. If it should be logged as a warning,
    /// returns how many failures were not logged since the last line.
    pub(super) fn handle_failure(
        &mut self,
        now: Instant,
        failure: &impl fmt::Display,
        cost: u64,
    ) -> Option<u64> {
        self.outage.get_or_insert((now, 0)).1 += cost;
        let text = failure.to_string();
        self.logged
            .retain(|_, at| now.saturating_duration_since(*at) < REPEAT);
        if self.logged.contains_key(&text) || self.logged.len() >= MAX_TEXTS {
            self.omitted += 1;
            return None;
        }
        self.logged.insert(text, now);
        Some(std::mem::take(&mut self.omitted))
    }

    /// Records a success. Returns how long starts failed, and how many connections were reset.
    pub(super) fn handle_success(&mut self, now: Instant) -> Option<(Duration, u64)> {
        let (since, cost) = std::mem::take(self).outage?;
        Some((now.saturating_duration_since(since), cost))
    }
}

/// Suppresses repeated log lines of the connections of a forward.
#[derive(Debug, Default)]
pub(super) struct RepeatedLines {
    /// About a limit of connections.
    pub(super) limit: Mutex<LogDedup>,
    /// About requests that clients of a proxy should not make.
    pub(super) request: Mutex<LogDedup>,
    /// About a destination that the agent cannot reach.
    pub(super) refusal: Mutex<LogDedup>,
}

/// Interval at which the same failure is logged again.
const REPEAT: Duration = Duration::from_secs(60);

/// Maximum number of different failures logged per interval: some texts differ each time.
const MAX_TEXTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_failure_is_logged_once_a_minute_and_its_end_once() {
        let start = clock::now();
        let late = ConnectFailure::TimedOut(Step::of("StartSession"));
        let mut log_dedup = LogDedup::default();

        let logged: Vec<(u64, u64)> = (0..150)
            .filter_map(|second| {
                let now = start + Duration::from_secs(second);
                let omitted = log_dedup.handle_failure(now, &late, 1)?;
                Some((second, omitted))
            })
            .collect();

        assert_eq!(logged, [(0, 0), (60, 59), (120, 59)]);
        let end = start + Duration::from_secs(200);
        let over = log_dedup.handle_success(end);
        assert_eq!(over, Some((Duration::from_secs(200), 150)));
        assert_eq!(log_dedup.handle_success(end), None);
        assert_eq!(log_dedup.handle_failure(end, &late, 1), Some(0));
    }

    #[test]
    fn failures_that_alternate_are_logged_once_a_minute_each() {
        let start = clock::now();
        let late =
            ["StartSession", "the websocket"].map(|step| ConnectFailure::TimedOut(Step::of(step)));
        let mut log_dedup = LogDedup::default();

        let mut logged = [0; 2];
        for second in 0..150 {
            let now = start + Duration::from_secs(second);
            for (failure, count) in late.iter().zip(&mut logged) {
                *count += usize::from(log_dedup.handle_failure(now, failure, 1).is_some());
            }
        }

        assert_eq!(logged, [3, 3]);
    }

    #[test]
    fn failures_that_all_differ_are_logged_up_to_a_bound_and_counted() {
        let start = clock::now();
        let mut log_dedup = LogDedup::default();
        let mut handle = |n: u32, second| {
            let failure = ConnectFailure::TimedOut(Step::of(&format!("request {n}")));
            log_dedup.handle_failure(start + Duration::from_secs(second), &failure, 1)
        };

        let logged = (0..1000).filter(|n| handle(*n, 0).is_some()).count();

        assert_eq!(logged, MAX_TEXTS);
        let omitted = 1000 - u64::try_from(MAX_TEXTS).unwrap();
        assert_eq!(handle(1000, 60), Some(omitted));
    }
}
