//! Message and byte counters of a tunnel.

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
