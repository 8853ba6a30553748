//! Counts what the HTTP server rejects, and logs the first of each kind per minute as a warning.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::clock;

/// Why a request or a connection is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Rejection {
    /// The request names an unknown host, or none.
    Host,
    /// The path or the name of a forward is unknown.
    Path,
    /// The method is neither GET nor HEAD.
    Method,
    /// All connections are handling requests.
    Busy,
}

impl Rejection {
    /// All of them, in the order of the counters.
    pub(in crate::daemon) const ALL: [Self; 4] = [Self::Host, Self::Path, Self::Method, Self::Busy];

    /// Returns the value of the label.
    pub(in crate::daemon) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Busy => "busy",
        }
    }

    /// Returns the message, and what the operator can do.
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => (
                "rejected an HTTP request because of its host",
                "if clients use this name, add it to `hosts` in [http]",
            ),
            Self::Path => (
                "rejected an HTTP request because of its path",
                "the paths are /startup, /readiness, /readiness/NAME, /liveness, /metrics and /status",
            ),
            Self::Method => (
                "rejected an HTTP request because of its method",
                "the server is read-only: use GET or HEAD",
            ),
            Self::Busy => (
                "rejected an HTTP connection: all connections are handling requests",
                "find the clients that request pages all the time",
            ),
        }
    }
}

/// Counters of all servers that this process had. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Rejections(Arc<[Counted; Rejection::ALL.len()]>);

#[derive(Debug, Default)]
struct Counted {
    count: AtomicU64,
    /// When it was last logged as a warning.
    warned: Mutex<Option<Instant>>,
}

impl Rejections {
    /// Counts and logs a rejection.
    pub(super) fn record(&self, rejection: Rejection) {
        let (message, hint) = rejection.text();
        let reason = rejection.name();
        match self.count(rejection, clock::now()) {
            Some(total) => warn!(reason, total, hint, "{message}"),
            None => debug!(reason, "{message}"),
        }
    }

    /// Counts a rejection. Returns the number of all of its kind if it is to be a warning.
    fn count(&self, rejection: Rejection, now: Instant) -> Option<u64> {
        let counted = &self.0[rejection as usize];
        let total = counted.count.fetch_add(1, Relaxed) + 1;
        let mut warned = counted
            .warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < REPEAT;
        if warned.is_some_and(is_recent) {
            return None;
        }
        *warned = Some(now);
        Some(total)
    }

    /// Returns the number of rejections of each kind.
    pub(in crate::daemon) fn counts(&self) -> [(Rejection, u64); Rejection::ALL.len()] {
        Rejection::ALL.map(|kind| (kind, self.0[kind as usize].count.load(Relaxed)))
    }
}

/// Interval at which a kind of rejection is a warning again.
const REPEAT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_a_warning_once_a_minute() {
        let start = clock::now();
        let rejections = Rejections::default();
        let at = |kind, second| rejections.count(kind, start + Duration::from_secs(second));

        assert_eq!(at(Rejection::Host, 0), Some(1));
        assert_eq!(at(Rejection::Host, 59), None);
        assert_eq!(at(Rejection::Path, 59), Some(1));
        assert_eq!(at(Rejection::Host, 60), Some(3));

        let counts = rejections.counts();
        assert_eq!(counts[0], (Rejection::Host, 3));
        assert_eq!(counts[1], (Rejection::Path, 1));
    }
}
