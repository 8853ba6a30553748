//! Handling of tunnels that fail or end.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinError;
use tracing::{debug, error, warn};

use super::PoolTask;
use crate::clock;
use crate::forward::error::ConnectFailure;
use crate::forward::pool::{Severity, TunnelId};
use crate::forward::tunnel_record::TunnelRecord;
use crate::tunnel;

impl PoolTask {
    /// Returns true if the tunnel ended right after it was ready and no connection is pending.
    pub(super) fn is_wasted(&self, id: TunnelId) -> bool {
        self.ended(id).is_some() && !self.pool.has_waiting()
    }

    pub(super) fn handle_wasted(&mut self, now: Instant, id: TunnelId) {
        if let Some(error) = self.ended(id) {
            self.handle_failed(now, id, ConnectFailure::Tunnel(error));
        }
    }

    pub(super) fn ended(&self, id: TunnelId) -> Option<Arc<tunnel::Error>> {
        self.tunnels.get(&id)?.tunnel.as_ref()?.failure()
    }

    pub(super) fn handle_failed(&mut self, now: Instant, id: TunnelId, failure: ConnectFailure) {
        let Some(record) = self.tunnels.remove(&id) else {
            return;
        };
        self.failed = Some(record.session.timeline());
        let is_of_one = self.is_of_one(&failure);
        let severity = match is_of_one {
            true => Severity::Transient,
            false => failure.severity(),
        };
        match is_of_one {
            true => self.metrics.count_session_failure(failure.class()),
            false => self.metrics.record_session_failure(failure.status(now)),
        }
        if severity == Severity::Throttled {
            debug!(error = %failure, "StartSession throttled; queued for retry");
            self.throttled = Some(failure.clone());
        } else if !self.pool.has_waiting()
            && !self.settings.is_proxy()
            && let Some(omitted) = self.log_dedup.handle_failure(now, &failure, 0)
        {
            let omitted = (omitted > 0).then_some(omitted);
            warn!(error = %failure, hint = failure.hint(), class = %failure.class(), omitted, "cannot open a warm session");
        }
        let crowded = self.pool.crowded();
        self.pool.handle_failed(now, id, failure.clone(), severity);
        if self.pool.crowded() > crowded {
            self.log_crowded(now, &failure);
        }
    }

    /// Logs that connections share a session because no other one could be started.
    fn log_crowded(&mut self, now: Instant, failure: &ConnectFailure) {
        if let Some(omitted) = self.log_dedup.handle_failure(now, failure, 0) {
            let omitted = (omitted > 0).then_some(omitted);
            warn!(error = %failure, hint = failure.hint(), class = %failure.class(), omitted, "cannot start another session; connections share the session that was handed over");
        }
    }

    /// Returns whether a failure is that of one of the destinations of a proxy, and so says nothing
    /// about the others.
    pub(super) fn is_of_one(&self, failure: &ConnectFailure) -> bool {
        self.settings.is_proxy() && failure.is_of_destination()
    }

    pub(super) fn handle_ended(&mut self, now: Instant, id: TunnelId) {
        let Some(record) = self.tunnels.remove(&id) else {
            return;
        };
        let failure = record.tunnel.and_then(|tunnel| tunnel.failure());
        if let Some(error) = failure.filter(|_| self.pool.is_warm(id)) {
            debug!(%error, "a warm session has ended");
        }
        self.pool.handle_ended(now, id);
    }

    /// Handles a finished task. Only a panic matters: other tasks have sent their event.
    pub(super) fn handle_done(&mut self, done: Result<(), JoinError>) {
        let Some(panic) = done.err().filter(JoinError::is_panic) else {
            return;
        };
        error!(error = %panic, "tunnel task panicked; please report this");
        let is_it = |(id, record): (&TunnelId, &TunnelRecord)| {
            (record.task.id() == panic.id()).then_some(*id)
        };
        let Some(id) = self.tunnels.iter().find_map(is_it) else {
            return;
        };
        let now = clock::now();
        self.pool.handle_ended(now, id);
        self.handle_failed(now, id, ConnectFailure::Internal);
        self.tunnels.remove(&id);
    }
}
