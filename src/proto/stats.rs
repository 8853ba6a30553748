//! What a tunnel counted.

/// Counters of one tunnel since it was made. Messages of stream data unless said otherwise.
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
    /// Received before one that comes earlier in order.
    pub early: u64,
    /// Received but not kept for want of room; not acknowledged.
    pub refused: u64,
    /// Received with a digest that does not match; not acknowledged.
    pub damaged: u64,
    /// Bytes of streams sent, without frames and messages.
    pub bytes_sent: u64,
    /// Bytes of streams received.
    pub bytes_received: u64,
}
