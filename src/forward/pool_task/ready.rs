//! Handling of tunnels that become ready or are resumed: the end of an outage, and where their
//! sessions lead.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tracing::info;

use super::PoolTask;
use crate::forward::pool::TunnelId;

impl PoolTask {
    pub(super) fn handle_ready(&mut self, now: Instant, id: TunnelId) {
        self.throttled = None;
        if !self.is_to_relay {
            self.metrics.handle_success();
        }
        if let Some((after, connections_reset)) = self.log_dedup.handle_success(now) {
            info!(?after, connections_reset, "session starts succeed again");
        }
        self.record_destination(id);
        self.pool.handle_ready(now, id);
    }

    pub(super) fn handle_disconnected(&mut self, now: Instant, id: TunnelId) {
        self.with(id, |record| record.disconnected = Some(now));
        self.pool.handle_disconnected(id);
    }

    pub(super) fn handle_resumed(&mut self, now: Instant, id: TunnelId) {
        self.metrics.totals.resumed.fetch_add(1, Relaxed);
        let record = self.tunnels.get_mut(&id);
        if let Some(broke) = record.and_then(|record| record.disconnected.take()) {
            let stall = now.saturating_duration_since(broke);
            self.metrics.totals.timings.record_stall(stall);
        }
        self.pool.handle_resumed(now, id);
    }

    /// Records the destination that the agent reported, if it is not the configured one, and logs
    /// it unless it is that of the session before.
    fn record_destination(&self, id: TunnelId) {
        if self.settings.is_proxy() || self.is_to_relay {
            return;
        }
        let record = self.tunnels.get(&id);
        let tunnel = record.and_then(|record| record.tunnel.as_ref());
        let configured = self.settings.remote.to_string();
        let reported = tunnel.and_then(|tunnel| tunnel.destination());
        let reported = reported.filter(|reported| *reported != configured);
        if self.metrics.record_destination(reported.clone())
            && let Some(destination) = reported
        {
            let document = self.settings.document();
            info!(%destination, document, "the document leads to this destination");
        }
    }
}
