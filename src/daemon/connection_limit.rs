//! What a stop waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::Shutdown;

/// How long a stop waits for connections that are open.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    settings: Shutdown,
    /// One is taken by each connection that has a session, or is about to get one.
    permits: Arc<Semaphore>,
    /// How many there shall be.
    most: usize,
    /// They wait in line for permits that are too many.
    takers: JoinSet<()>,
}

impl ConnectionLimit {
    /// `most` permits, all free.
    pub(super) fn new(settings: Shutdown, most: usize) -> Self {
        Self {
            settings,
            permits: Arc::new(Semaphore::new(most)),
            most,
            takers: JoinSet::new(),
        }
    }

    /// What connections take their permits from.
    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Follows another configuration.
    pub(super) fn set(&mut self, settings: Shutdown) {
        self.settings = settings;
    }

    /// The limits of a stop.
    pub(super) fn limits(&self) -> Limits {
        let Shutdown {
            drain_timeout,
            includes_endings,
        } = self.settings;
        if !includes_endings {
            return Limits {
                idle: None,
                open: drain_timeout,
                forwards: MAX_FORWARDS,
                endings: MAX_ENDINGS,
            };
        }
        let open = drain_timeout.saturating_sub(RESERVE);
        Limits {
            idle: Some(open / 4),
            open,
            forwards: RESERVE * 2 / 5,
            endings: RESERVE * 3 / 10,
        }
    }

    /// Another limit of connections. Those that are open beyond it go on, and the next ones wait
    /// until enough of them have ended.
    pub(super) fn limit(&mut self, most: usize) {
        while self.takers.try_join_next().is_some() {}
        let former = std::mem::replace(&mut self.most, most);
        if most >= former {
            self.permits.add_permits(most - former);
            return;
        }
        let permits = Arc::clone(&self.permits);
        let surplus = former - most;
        self.takers.spawn(async move {
            let many = u32::try_from(surplus).unwrap_or(u32::MAX);
            // Permits are never closed, and a limit is far below the most that can be asked for.
            if let Ok(taken) = permits.acquire_many_owned(many).await {
                taken.forget();
            }
        });
    }
}

/// How long each part of a stop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// From the beginning until idle connections are reset; `None`: as all others.
    pub(super) idle: Option<Duration>,
    /// From the beginning until all connections are reset.
    pub(super) open: Duration,
    /// From then until they have ended.
    pub(super) forwards: Duration,
    /// From then until their sessions have ended. After that there are two more seconds.
    pub(super) endings: Duration,
}

impl Limits {
    /// How long the stop takes at most.
    pub(super) fn most(&self) -> Duration {
        self.open + self.forwards + self.endings
    }

    /// Logs what is waited for.
    pub(super) fn announce(&self, connections: usize) {
        if connections > 0 && !self.open.is_zero() {
            let timeout = self.open;
            info!(
                connections,
                ?timeout,
                "waiting for open connections; a second signal resets them"
            );
        }
    }

    /// Waits until everything has `ended`, or until what is idle is to be reset.
    pub(super) async fn wait_for_idle(&self, ended: impl Future<Output = ()>) {
        if let Some(idle) = self.idle {
            // An error means that something is still open.
            drop(timeout(idle, ended).await);
        }
    }

    /// Waits until everything has `ended`, or for as long as it may. `connections` counts those that
    /// have a session.
    pub(super) async fn wait(
        &self,
        connections: impl Fn() -> usize,
        ended: impl Future<Output = ()>,
    ) {
        let rest = self.open.saturating_sub(self.idle.unwrap_or_default());
        if timeout(rest, ended).await.is_err() && connections() > 0 {
            let connections = connections();
            warn!(connections, "resetting connections that are still open");
        }
    }
}

/// How long connections may take to say goodbye: the flag on each channel waits a second for its
/// acknowledgement.
pub(super) const MAX_FORWARDS: Duration = Duration::from_secs(5);

/// How long the terminator may take for what is left then, and some more.
const MAX_ENDINGS: Duration = Duration::from_secs(15);

/// The part of a `drain_timeout` that belongs to the ends of sessions where the whole stop is to fit
/// into it.
const RESERVE: Duration = Duration::from_millis(2500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_without_a_service_manager_is_over_before_docker_kills_the_process() {
        let limits = |includes_endings, seconds| {
            let drain_timeout = Duration::from_secs(seconds);
            let settings = Shutdown {
                drain_timeout,
                includes_endings,
            };
            ConnectionLimit::new(settings, 1).limits()
        };

        let short = limits(true, 8);
        assert!(short.most() <= Duration::from_secs(8), "{short:?}");
        assert!(short.idle < Some(short.open), "{short:?}");
        let given = limits(false, 8);
        assert_eq!((given.idle, given.open), (None, Duration::from_secs(8)));
    }
}
