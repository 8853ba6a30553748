//! What a stop waits for.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a stop waits for connections that are open.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) timeout: Duration,
    /// One is taken by each connection that has a session.
    permits: Arc<Semaphore>,
    /// How many there are, given or not.
    total: Arc<AtomicUsize>,
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
            total: Arc::new(AtomicUsize::new(most)),
            most,
            takers: JoinSet::new(),
        }
    }

    /// What connections take their permits from.
    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// Waits until everything has `ended`, or for as long as it may.
    pub(super) async fn wait(&self, ended: impl Future<Output = ()>) {
        if self.connections() > 0 && !self.timeout.is_zero() {
            let (connections, timeout) = (self.connections(), self.timeout);
            info!(
                connections,
                ?timeout,
                "waiting for open connections; a second signal resets them"
            );
        }
        if timeout(self.timeout, ended).await.is_err() && self.connections() > 0 {
            warn!(
                connections = self.connections(),
                "resetting connections that are still open"
            );
        }
    }

    /// Another limit of connections. Those that are open beyond it go on, and the next ones wait
    /// until enough of them have ended.
    pub(super) fn limit(&mut self, most: usize) {
        while self.takers.try_join_next().is_some() {}
        let former = std::mem::replace(&mut self.most, most);
        if most >= former {
            self.permits.add_permits(most - former);
            self.total.fetch_add(most - former, Relaxed);
            return;
        }
        let (permits, total) = (Arc::clone(&self.permits), Arc::clone(&self.total));
        let surplus = former - most;
        self.takers.spawn(async move {
            let many = u32::try_from(surplus).unwrap_or(u32::MAX);
            // Permits are never closed, and a limit is far below the most that can be asked for.
            if let Ok(taken) = permits.acquire_many_owned(many).await {
                taken.forget();
                total.fetch_sub(surplus, Relaxed);
            }
        });
    }

    /// Connections that have a session.
    pub(super) fn connections(&self) -> usize {
        self.total
            .load(Relaxed)
            .saturating_sub(self.permits.available_permits())
    }
}
