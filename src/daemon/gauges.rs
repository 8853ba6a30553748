//! What the forwards of one name have now: the running one, and its predecessors that finish their
//! connections.

use std::sync::atomic::Ordering::Relaxed;

use crate::telemetry::ForwardMetrics;

/// Sums over the forwards of one name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    /// Connections that have a session.
    pub(super) connections: usize,
    /// Those of them that were accepted before a reload.
    pub(super) finishing: usize,
    pub(super) waiting: usize,
    pub(super) sessions: usize,
    pub(super) sessions_ready: usize,
}

impl Gauges {
    /// Returns the sums over these metrics.
    pub(super) fn sum<'a>(
        running: impl Iterator<Item = &'a ForwardMetrics>,
        finishing: impl Iterator<Item = &'a ForwardMetrics>,
    ) -> Self {
        let mut sum = Self::default();
        finishing.for_each(|metrics| sum.add(metrics));
        sum.finishing = sum.connections;
        running.for_each(|metrics| sum.add(metrics));
        sum
    }

    fn add(&mut self, metrics: &ForwardMetrics) {
        self.connections += metrics.open.get();
        self.waiting += metrics.waiting.get();
        self.sessions += metrics.sessions.load(Relaxed);
        self.sessions_ready += metrics.ready.load(Relaxed);
    }
}
