//! Message and byte counters of a tunnel.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counters of one tunnel since it was created, in messages of stream data unless noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sent for the first time.
    pub sent: u64,
    /// Sent again, probes included.
    pub retransmitted: u64,
    /// Received for the first time, in order or early.
    pub received: u64,
    /// Received again; acknowledged and dropped.
    pub duplicates: u64,
    /// Received ahead of a missing message.
    pub early: u64,
    /// Received but dropped because the buffer is full; not acknowledged.
    pub refused: u64,
    /// Received with a digest mismatch; not acknowledged.
    pub damaged: u64,
    /// Stream bytes sent, without frame and message headers.
    pub bytes_sent: u64,
    /// Stream bytes received.
    pub bytes_received: u64,
}

/// Counters of sent messages, shared by many tunnels.
#[derive(Clone, Debug, Default)]
pub struct MessageCounters {
    /// Messages of stream data sent for the first time.
    pub sent: Arc<AtomicU64>,
    /// Messages of stream data sent again, probes included.
    pub retransmitted: Arc<AtomicU64>,
}

impl MessageCounters {
    /// Counts a message sent for the first time.
    pub(crate) fn count_sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// Counts a message sent again.
    pub(crate) fn count_retransmitted(&self) {
        self.retransmitted.fetch_add(1, Relaxed);
    }
}
