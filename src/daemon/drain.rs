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
    /// One is taken by each connection that has a session.
    pub(super) permits: Arc<Semaphore>,
    pub(super) most: usize,
}

impl Drain {
    /// Waits until nothing is open, or for as long as it may.
    pub(super) async fn wait(&self, forwards: &mut JoinSet<()>) {
        let ended = async { while forwards.join_next().await.is_some() {} };
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

    /// Connections that have a session.
    pub(super) fn connections(&self) -> usize {
        self.most.saturating_sub(self.permits.available_permits())
    }
}
