//! Limit of open connections, and timeouts of the shutdown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

use crate::config::Shutdown;

/// The connection limit and the shutdown settings.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    settings: Shutdown,
    /// One permit for each connection that has a session or is about to get one.
    permits: Arc<Semaphore>,
    /// The configured number of permits.
    max: usize,
    /// Tasks that wait for surplus permits after the limit was lowered.
    permit_tasks: JoinSet<()>,
}

impl ConnectionLimit {
    /// Creates a limit of `max` connections.
    pub(super) fn new(settings: Shutdown, max: usize) -> Self {
        Self {
            settings,
            permits: Arc::new(Semaphore::new(max)),
            max,
            permit_tasks: JoinSet::new(),
        }
    }

    /// Returns the semaphore of the permits.
    pub(super) fn semaphore(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Replaces the shutdown settings.
    pub(super) fn set_shutdown(&mut self, settings: Shutdown) {
        self.settings = settings;
    }

    /// Returns the timeouts of a shutdown.
    pub(super) fn shutdown_timeouts(&self) -> ShutdownTimeouts {
        let Shutdown {
            drain_timeout,
            includes_endings,
        } = self.settings;
        if !includes_endings {
            return ShutdownTimeouts {
                idle: None,
                open: drain_timeout,
                forwards: MAX_FORWARDS,
                terminations: MAX_TERMINATIONS,
            };
        }
        let open = drain_timeout.saturating_sub(RESERVE);
        ShutdownTimeouts {
            idle: Some(open / 4),
            open,
            forwards: RESERVE * 2 / 5,
            terminations: RESERVE * 3 / 10,
        }
    }

    /// Changes the limit. Open connections beyond a lower limit go on; new ones wait until enough
    /// of them have ended.
    pub(super) fn set_max(&mut self, max: usize) {
        while self.permit_tasks.try_join_next().is_some() {}
        let previous = std::mem::replace(&mut self.max, max);
        if max >= previous {
            self.permits.add_permits(max - previous);
            return;
        }
        let permits = Arc::clone(&self.permits);
        let surplus = previous - max;
        self.permit_tasks.spawn(async move {
            let many = u32::try_from(surplus).unwrap_or(u32::MAX);
            // The semaphore is never closed, and a limit is far below the maximum request.
            if let Ok(taken) = permits.acquire_many_owned(many).await {
                taken.forget();
            }
        });
    }
}

/// Timeouts of the shutdown phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShutdownTimeouts {
    /// From the start of the shutdown until idle connections are reset; `None`: when all others
    /// are.
    pub(super) idle: Option<Duration>,
    /// From the start of the shutdown until all connections are reset.
    pub(super) open: Duration,
    /// From then until the connections have ended.
    pub(super) forwards: Duration,
    /// From then until their sessions are terminated, plus the unused time of the other phases;
    /// two more seconds follow.
    pub(super) terminations: Duration,
}

impl ShutdownTimeouts {
    /// Returns the maximum duration of the shutdown.
    pub(super) fn max(&self) -> Duration {
        self.open + self.forwards + self.terminations
    }

    /// Logs that open connections are waited for.
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

    /// Waits until everything has `ended`, or until idle connections must be reset.
    pub(super) async fn wait_for_idle(&self, ended: impl Future<Output = ()>) {
        if let Some(idle) = self.idle {
            // An error means that connections are still open.
            drop(timeout(idle, ended).await);
        }
    }

    /// Waits until everything has `ended`, or until all connections must be reset.
    pub(super) async fn wait(&self, ended: impl Future<Output = ()>) {
        let rest = self.open.saturating_sub(self.idle.unwrap_or_default());
        // An error means that connections are still open.
        drop(timeout(rest, ended).await);
    }
}

/// Timeout for closing connections: the flag on each channel waits a second for its
/// acknowledgement.
pub(super) const MAX_FORWARDS: Duration = Duration::from_secs(5);

/// Timeout for the dispatcher to terminate the remaining sessions, with some margin.
const MAX_TERMINATIONS: Duration = Duration::from_secs(15);

/// Part of `drain_timeout` reserved for terminating sessions if the whole shutdown must fit into
/// it.
const RESERVE: Duration = Duration::from_millis(2500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_without_a_service_manager_is_over_before_docker_kills_the_process() {
        let shutdown_timeouts = |includes_endings, seconds| {
            let drain_timeout = Duration::from_secs(seconds);
            let settings = Shutdown {
                drain_timeout,
                includes_endings,
            };
            ConnectionLimit::new(settings, 1).shutdown_timeouts()
        };

        let short = shutdown_timeouts(true, 8);
        assert!(short.max() <= Duration::from_secs(8), "{short:?}");
        assert!(short.idle < Some(short.open), "{short:?}");
        let given = shutdown_timeouts(false, 8);
        assert_eq!((given.idle, given.open), (None, Duration::from_secs(8)));
    }
}
