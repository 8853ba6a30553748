//! What a stop waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a stop waits for connections that are open.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) timeout: Duration,
    /// One is taken by each connection that has a session, or is about to get one.
    permits: Arc<Semaphore>,
    /// How many there shall be.
    most: usize,
    /// They wait in line for permits that are too many.
    takers: JoinSet<()>,
}

impl Drain {
    /// `most` permits, all free.
    pub(super) fn new(timeout: Duration, most: usize) -> Self {
        Self {
            timeout,
            permits: Arc::new(Semaphore::new(most)),
            most,
            takers: JoinSet::new(),
        }
    }

    /// What connections take their permits from.
    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Waits until everything has `ended`, or for as long as it may. `connections` counts those that
    /// have a session.
    pub(super) async fn wait(
        &self,
        connections: impl Fn() -> usize,
        ended: impl Future<Output = ()>,
    ) {
        if connections() > 0 && !self.timeout.is_zero() {
            let (connections, timeout) = (connections(), self.timeout);
            info!(
                connections,
                ?timeout,
                "waiting for open connections; a second signal resets them"
            );
        }
        if timeout(self.timeout, ended).await.is_err() && connections() > 0 {
            let connections = connections();
            warn!(connections, "resetting connections that are still open");
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
