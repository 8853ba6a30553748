//! Are there enough file descriptors for the limits?
//!
//! A connection takes two: its own and the websocket of its session. The system's soft limit is
//! commonly 1024, kept low for programs of another time, and may be raised by anyone to the hard
//! one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use super::admin::MAX_CLIENTS;
use super::http::MAX_CONNECTIONS;
use crate::config::{Forward, Limits, Sessions};

/// Raises the soft limit to the hard one, and tells if that is too little. Returns how many connections
/// of each forward may be accepted and wait for their turn: were they to take every descriptor, the
/// clients of one forward would keep the others from being served.
pub(super) fn prepare(limits: &Limits, forwards: &[Forward]) -> usize {
    let needed = needed(limits, forwards);
    let Some(allowed) = raise() else {
        debug!("there is no limit of file descriptors");
        return MAX_WAITING;
    };
    let max_waiting = max_waiting(allowed, limits, forwards);
    debug!(needed, allowed, max_waiting, "file descriptors");
    if allowed < needed {
        warn!(
            needed,
            allowed,
            hint = "raise it (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or lower `max_connections` in [limits]",
            "there are fewer file descriptors than `max_connections` may need; when they are all in use, connections wait"
        );
    }
    max_waiting
}

/// Each forward's share of what is left when all others have what they need.
fn max_waiting(allowed: u64, limits: &Limits, forwards: &[Forward]) -> usize {
    let served = served(limits, forwards) as u64;
    let left = usize::try_from(allowed.saturating_sub(served)).unwrap_or(usize::MAX);
    (left / forwards.len().max(1)).clamp(MIN_WAITING, MAX_WAITING)
}

/// What connections, spares, listeners and everything else can take at most, when as many connections
/// wait as are served.
fn needed(limits: &Limits, forwards: &[Forward]) -> u64 {
    let waiting: usize = forwards.iter().map(|forward| forward.max_connections).sum();
    (served(limits, forwards) + waiting) as u64
}

/// The same without connections that wait.
fn served(limits: &Limits, forwards: &[Forward]) -> usize {
    let most: usize = forwards.iter().map(|forward| forward.max_connections).sum();
    let carried = 2 * most.min(limits.max_connections);
    let spares: usize = forwards.iter().map(spares).sum();
    let listeners: usize = forwards
        .iter()
        .map(|forward| 2 * forward.listen.len())
        .sum();
    carried + spares + listeners + RESERVE
}

fn spares(forward: &Forward) -> usize {
    match forward.sessions {
        Sessions::PerConnection { warm, .. } => 2 * warm,
        Sessions::Shared { .. } => 1,
    }
}

/// The limit that holds from now on; `None` if there is none.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(error) => {
            debug!(%error, "the limit of file descriptors cannot be raised");
            current
        }
    }
}

/// Connections of a forward that may be accepted and wait for their turn; the rest stay in the backlog.
pub(super) const MAX_WAITING: usize = 1024;
const MIN_WAITING: usize = 16;

/// Calls to AWS, the log, signals, the runtime; clients of HTTP and of the admin socket.
const RESERVE: usize = 64 + MAX_CONNECTIONS + MAX_CLIENTS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn connections_spares_and_listeners_are_counted() {
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
