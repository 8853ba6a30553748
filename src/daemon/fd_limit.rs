//! Compares the file descriptor limit with the configured connection limits.
//!
//! A connection takes two descriptors: its socket and the websocket of its session. The soft limit
//! is commonly 1024, kept low for old programs; any process may raise it to the hard limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use super::admin::MAX_CLIENTS;
use super::http::MAX_CONNECTIONS;
use crate::config::{Forward, Limits, SessionMode};

/// The limit, and what the configuration needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FdLimit {
    needed: u64,
    /// `u64::MAX` if there is no limit.
    allowed: u64,
    /// Accepted connections of each forward that may wait for a session: if they could take every
    /// descriptor, the clients of one forward would block the others.
    pub(super) max_waiting: usize,
}

impl FdLimit {
    /// Raises the soft limit to the hard limit.
    pub(super) fn raise(limits: &Limits, forwards: &[Forward]) -> Self {
        let allowed = raise().unwrap_or(u64::MAX);
        Self {
            needed: needed(limits, forwards),
            allowed,
            max_waiting: max_waiting(allowed, limits, forwards),
        }
    }

    /// Logs a warning if the limit is too low.
    pub(super) fn warn_if_low(self) {
        let Self {
            needed,
            allowed,
            max_waiting,
        } = self;
        debug!(needed, allowed, max_waiting, "file descriptor limit");
        if allowed < needed {
            warn!(
                needed,
                allowed,
                hint = "raise the limit (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or lower `max_connections` in [limits]",
                "the file descriptor limit is lower than `max_connections` may require; when it is reached, new connections wait"
            );
        }
    }
}

/// Returns each forward's share of the descriptors that remain after [`served`].
fn max_waiting(allowed: u64, limits: &Limits, forwards: &[Forward]) -> usize {
    let served = served(limits, forwards) as u64;
    let left = usize::try_from(allowed.saturating_sub(served)).unwrap_or(usize::MAX);
    (left / forwards.len().max(1)).clamp(MIN_WAITING, MAX_WAITING)
}

/// Returns the maximum number of descriptors in use if as many connections wait as are served.
fn needed(limits: &Limits, forwards: &[Forward]) -> u64 {
    let waiting: usize = forwards.iter().map(|forward| forward.max_connections).sum();
    (served(limits, forwards) + waiting) as u64
}

/// Returns the maximum number of descriptors in use without waiting connections.
fn served(limits: &Limits, forwards: &[Forward]) -> usize {
    let max: usize = forwards.iter().map(|forward| forward.max_connections).sum();
    let carried = 2 * max.min(limits.max_connections);
    let warm_sessions: usize = forwards.iter().map(warm_sessions).sum();
    let listeners: usize = forwards
        .iter()
        .map(|forward| 2 * forward.listen.len())
        .sum();
    carried + warm_sessions + listeners + RESERVE
}

fn warm_sessions(forward: &Forward) -> usize {
    match forward.sessions {
        SessionMode::PerConnection { warm, .. } => 2 * warm,
        SessionMode::Shared { .. } => 1,
    }
}

/// Raises the soft limit. Returns the resulting limit; `None` if there is none.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(error) => {
            debug!(%error, "cannot raise the file descriptor limit");
            current
        }
    }
}

/// Maximum number of accepted connections of a forward that wait for a session; further ones stay
/// in the backlog.
pub(super) const MAX_WAITING: usize = 1024;
const MIN_WAITING: usize = 16;

/// Descriptors for AWS calls, the log, signals, the runtime, HTTP clients and admin clients.
const RESERVE: usize = 64 + MAX_CONNECTIONS + MAX_CLIENTS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn connections_warm_sessions_and_listeners_are_counted() {
        let text = "[limits]\nmax_connections = 100\n[[forward]]\nname = \"a\"\nlisten = 1\n\
                    target = \"i-01234567\"\nremote = 1\nmax_connections = 150\nwarm = 3\n";
        let config = config::parse(text).unwrap();

        let needed = needed(&config.limits, &config.forwards);

        assert_eq!(needed, 2 * 100 + 150 + 2 * 3 + 2 + RESERVE as u64);
    }

    #[test]
    fn connections_that_wait_leave_enough_descriptors_for_those_that_are_served() {
        let forward = |n| {
            format!(
                "[[forward]]\nname = \"f{n}\"\nlisten = {n}\ntarget = \"i-01234567\"\nremote = 1\n"
            )
        };
        let text: String = (1..=4).map(forward).collect();
        let config = config::parse(&text).unwrap();
        let waiting = |allowed| max_waiting(allowed, &config.limits, &config.forwards);
        let served = served(&config.limits, &config.forwards) as u64;

        assert_eq!(waiting(65_536), MAX_WAITING);
        assert_eq!(waiting(served + 400), 100);
        assert_eq!(waiting(1), MIN_WAITING);
    }
}
