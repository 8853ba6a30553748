//! Reorders incoming messages.
//!
//! ```text
//!   delivered        │ expected │  early: kept until the gap before them closes
//!  ──────────────────┼──────────┼───────■■───■─────────▶ sequence number
//! ```
//!
//! `expected` advances regardless of whether the acknowledgement arrives, so a message whose
//! acknowledgement was lost is never delivered twice (docs/protocol.md, section 6.5 item 2).
//!
//! A message that closes a gap releases all early ones behind it at once, up to 32 MiB, which may
//! exceed the unread limits of their streams. Their share of the pool stays taken until the bytes
//! are read or dropped, so that any number of tunnels stays within the pool's limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::wire::message::{PayloadType, Seq};

/// The receiving half of a data channel.
#[derive(Debug)]
pub(crate) struct Receiver {
    expected: u64,
    early: BTreeMap<u64, Item>,
    early_bytes: usize,
    /// Budget still taken by messages that are no longer early.
    released: usize,
    pool: ReorderBudget,
}

impl Receiver {
    /// Creates a receiver that expects number 0.
    pub(crate) fn new(pool: ReorderBudget) -> Self {
        Self {
            expected: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            released: 0,
            pool,
        }
    }

    /// Receives a message. It must be acknowledged unless the result is
    /// [`ReceiveOutcome::Refused`].
    pub(crate) fn receive(&mut self, seq: Seq, item: Item) -> ReceiveOutcome {
        if seq.0 < self.expected {
            return ReceiveOutcome::Duplicate;
        }
        if seq.0 == self.expected {
            self.expected += 1;
            return ReceiveOutcome::Deliver(item);
        }
        if self.early.contains_key(&seq.0) {
            return ReceiveOutcome::Duplicate;
        }
        self.keep(seq, &item)
    }

    fn keep(&mut self, seq: Seq, item: &Item) -> ReceiveOutcome {
        let cost = cost(item);
        let bytes = self.early_bytes + cost;
        let fits = self.early.len() < MAX_EARLY_MESSAGES && bytes <= MAX_EARLY_BYTES;
        if !fits || !self.pool.take(cost) {
            return ReceiveOutcome::Refused;
        }
        self.early_bytes = bytes;
        // A copy: the slice would keep the whole read buffer of its websocket in memory.
        let payload = Bytes::copy_from_slice(&item.payload);
        self.early.insert(
            seq.0,
            Item {
                payload_type: item.payload_type,
                payload,
            },
        );
        ReceiveOutcome::Early
    }

    /// Returns true if a message is missing before one that was received.
    pub(crate) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// Returns the next message if it was received early. Call until `None` after each delivery.
    /// The message takes budget until [`Receiver::settle`].
    pub(crate) fn poll_early(&mut self) -> Option<Item> {
        let item = self.early.remove(&self.expected)?;
        self.expected += 1;
        let cost = cost(&item);
        self.early_bytes -= cost;
        self.released += cost;
        Some(item)
    }

    /// Returns budget to the pool: at most `unread` bytes of the delivered messages are unread.
    pub(crate) fn settle(&mut self, unread: usize) {
        let free = self.released.saturating_sub(unread);
        if free > 0 {
            self.released -= free;
            self.pool.give(free);
        }
    }

    /// Returns true if only early messages take budget of the pool.
    pub(crate) fn is_settled(&self) -> bool {
        self.released == 0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.pool.give(self.early_bytes + self.released);
    }
}

/// Memory budget for the early messages of many tunnels.
#[derive(Clone, Debug, Default)]
pub struct ReorderBudget(Arc<AtomicUsize>);

impl ReorderBudget {
    /// Creates an unused budget.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of bytes in use.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken + bytes <= MAX_EARLY_BYTES_OF_ALL;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A message of the agent without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Type of the payload.
    pub payload_type: PayloadType,
    /// The payload.
    pub payload: Bytes,
}

/// Memory taken by an early message.
fn cost(item: &Item) -> usize {
    item.payload.len() + MAX_OVERHEAD
}

/// Result of receiving a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReceiveOutcome {
    /// It is the expected one.
    Deliver(Item),
    /// It is kept until the messages before it were received.
    Early,
    /// It was received before.
    Duplicate,
    /// The buffers are full: it must be sent again, so it is not acknowledged.
    Refused,
}

/// The agent's own limit (docs/protocol.md, section 6.4).
const MAX_EARLY_MESSAGES: usize = 100_000;

/// Maximum early bytes of one session.
const MAX_EARLY_BYTES: usize = 32 * 1024 * 1024;

/// Map entry of an early message, and the allocator's overhead for its payload.
const MAX_OVERHEAD: usize = 128;

/// Maximum early bytes of all sessions of a pool.
const MAX_EARLY_BYTES_OF_ALL: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &'static [u8]) -> Item {
        Item {
            payload_type: PayloadType::Output,
            payload: Bytes::from_static(text),
        }
    }

    #[test]
    fn early_messages_are_delivered_when_the_gap_closes() {
        let mut receiver = Receiver::new(ReorderBudget::new());

        assert_eq!(receiver.receive(Seq(2), item(b"c")), ReceiveOutcome::Early);
        assert_eq!(receiver.receive(Seq(1), item(b"b")), ReceiveOutcome::Early);
        assert_eq!(receiver.poll_early(), None);
        assert_eq!(
            receiver.receive(Seq(0), item(b"a")),
            ReceiveOutcome::Deliver(item(b"a"))
        );
        assert_eq!(receiver.poll_early(), Some(item(b"b")));
        assert_eq!(receiver.poll_early(), Some(item(b"c")));
        assert_eq!(receiver.poll_early(), None);
    }

    #[test]
    fn nothing_is_delivered_twice() {
        let mut receiver = Receiver::new(ReorderBudget::new());
        receiver.receive(Seq(0), item(b"a"));
        receiver.receive(Seq(2), item(b"c"));

        assert_eq!(
            receiver.receive(Seq(0), item(b"a")),
            ReceiveOutcome::Duplicate
        );
        assert_eq!(
            receiver.receive(Seq(2), item(b"c")),
            ReceiveOutcome::Duplicate
        );
    }

    #[test]
    fn the_number_of_early_messages_is_bounded() {
        let mut receiver = Receiver::new(ReorderBudget::new());

        for seq in 1..=MAX_EARLY_MESSAGES as u64 {
            assert_eq!(receiver.receive(Seq(seq), item(b"")), ReceiveOutcome::Early);
        }

        let over = Seq(MAX_EARLY_MESSAGES as u64 + 1);
        assert_eq!(receiver.receive(over, item(b"")), ReceiveOutcome::Refused);
        assert_eq!(
            receiver.receive(Seq(0), item(b"")),
            ReceiveOutcome::Deliver(item(b""))
        );
    }

    #[test]
    fn an_early_message_without_bytes_uses_budget_too() {
        let pool = ReorderBudget::new();
        let mut receiver = Receiver::new(pool.clone());

        for seq in 1..=1000 {
            assert_eq!(receiver.receive(Seq(seq), item(b"")), ReceiveOutcome::Early);
        }
        let taken = pool.0.load(Ordering::Relaxed);
        drop(receiver);

        assert!(taken >= 1000 * size_of::<(u64, Item)>(), "{taken} bytes");
        assert_eq!(pool.0.load(Ordering::Relaxed), 0, "all of it is given back");
    }

    #[test]
    fn the_bytes_of_early_messages_are_bounded() {
        let big = Item {
            payload_type: PayloadType::Output,
            payload: Bytes::from(vec![0; MAX_EARLY_BYTES / 2 - MAX_OVERHEAD]),
        };
        let mut receiver = Receiver::new(ReorderBudget::new());

        assert_eq!(receiver.receive(Seq(1), big.clone()), ReceiveOutcome::Early);
        assert_eq!(receiver.receive(Seq(2), big), ReceiveOutcome::Early);
        assert_eq!(
            receiver.receive(Seq(3), item(b"x")),
            ReceiveOutcome::Refused
        );
    }

    #[test]
    fn early_messages_of_all_tunnels_together_are_bounded() {
        let pool = ReorderBudget::new();
        let part = Item {
            payload_type: PayloadType::Output,
            payload: Bytes::from(vec![0; MAX_EARLY_BYTES - MAX_OVERHEAD]),
        };
        let mut receivers: Vec<_> = (0..9).map(|_| Receiver::new(pool.clone())).collect();
        let mut verdicts: Vec<_> = receivers
            .iter_mut()
            .map(|r| r.receive(Seq(1), part.clone()))
            .collect();

        assert_eq!(verdicts.pop(), Some(ReceiveOutcome::Refused));
        assert!(
            verdicts
                .iter()
                .all(|verdict| *verdict == ReceiveOutcome::Early)
        );
        receivers.remove(0);
        assert_eq!(receivers[7].receive(Seq(1), part), ReceiveOutcome::Early);
    }
}
