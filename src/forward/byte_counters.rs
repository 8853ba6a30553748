//! Bytes carried by one connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::clock;
use crate::telemetry::{ForwardMetrics, StageTimes};

/// Bytes carried by one connection.
#[derive(Debug)]
pub(super) struct ByteCounters {
    read: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// When its stream was opened.
    opened: OnceLock<Instant>,
    first_received: OnceLock<Instant>,
    /// Counters of the forward, which sum up all connections.
    metrics: Arc<ForwardMetrics>,
}

impl ByteCounters {
    /// Creates counters of zero.
    pub(super) fn new(metrics: Arc<ForwardMetrics>) -> Self {
        Self {
            read: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            opened: OnceLock::new(),
            first_received: OnceLock::new(),
            metrics,
        }
    }

    /// It has a stream since `at`, after these stages.
    pub(super) fn handle_opened(&self, at: Instant, stages: &StageTimes) {
        self.opened.get_or_init(|| at);
        self.metrics.record_opened(stages);
    }

    pub(super) fn add_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.metrics.totals.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        if self.received.fetch_add(bytes as u64, Relaxed) == 0 {
            let first = self.first_received.get_or_init(clock::now);
            if let Some(opened) = self.opened.get() {
                let time = first.saturating_duration_since(*opened);
                self.metrics.record_first_byte(time);
            }
        }
        self.metrics
            .totals
            .received
            .fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes read from the client, whether the stream took them or not.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes taken by the stream.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes written to the client.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Returns when the first byte was written to the client.
    pub(super) fn first_received(&self) -> Option<Instant> {
        self.first_received.get().copied()
    }
}
