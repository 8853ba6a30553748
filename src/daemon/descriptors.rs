//! Are there enough file descriptors for the limits?
//!
//! A connection takes two: its own and the websocket of its session. The system's soft limit is
//! commonly 1024, kept low for programs of another time, and may be raised by anyone to the hard
//! one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use super::http::MAX_CONNECTIONS;
use crate::config::{Forward, Limits, Sessions};

/// Raises the soft limit to the hard one, and tells if that is too little.
pub(super) fn prepare(limits: &Limits, forwards: &[Forward]) {
    let needed = needed(limits, forwards);
    let Some(allowed) = raise() else {
        return debug!("there is no limit of file descriptors");
    };
    debug!(needed, allowed, "file descriptors");
    if allowed < needed {
        warn!(
            needed,
            allowed,
            hint = "raise it (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or lower `max_connections` in [limits]",
            "there are fewer file descriptors than `max_connections` may need; when they are all in use, connections wait"
        );
    }
}

/// What connections, spares, listeners and everything else can take at most.
fn needed(limits: &Limits, forwards: &[Forward]) -> u64 {
    let most: usize = forwards.iter().map(|forward| forward.max_connections).sum();
    let carried = 2 * most.min(limits.max_connections);
    // As many again may be accepted and wait; if there are more, accepting waits too.
    let waiting = most;
    let spares: usize = forwards.iter().map(spares).sum();
    let listeners: usize = forwards
        .iter()
        .map(|forward| 2 * forward.listen.len())
        .sum();
    (carried + waiting + spares + listeners + RESERVE) as u64
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

/// Calls to AWS, the log, signals, the runtime, HTTP.
const RESERVE: usize = 64 + MAX_CONNECTIONS;

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
}
