//! The receiving half of an agent: what came in order, early, and before.
//!
//! What is early is kept, however far ahead, until 100,000 messages or 128 MiB wait
//! (protocol.md section 6.4; the second bound is ours, for large messages).

use std::collections::BTreeMap;

use crate::wire::message::Message;

/// The order of what came from the client.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    expected: u64,
    early: BTreeMap<u64, Message>,
    bytes: usize,
}

impl Receiver {
    /// Where a message with this number stands.
    pub(super) fn place(&self, seq: u64) -> Place {
        match seq.cmp(&self.expected) {
            std::cmp::Ordering::Less => Place::Duplicate,
            std::cmp::Ordering::Equal => Place::Expected,
            std::cmp::Ordering::Greater => Place::Early,
        }
    }

    /// Whether another early message may be kept.
    pub(super) fn has_room(&self) -> bool {
        self.early.len() < MAX_EARLY && self.bytes < MAX_EARLY_BYTES
    }

    /// Keeps an early message.
    pub(super) fn keep(&mut self, message: Message) {
        self.bytes += message.payload.len();
        if let Some(former) = self.early.insert(message.header.seq.0, message) {
            self.bytes -= former.payload.len();
        }
    }

    /// The expected message was consumed.
    pub(super) fn advance(&mut self) {
        self.expected += 1;
    }

    /// Takes the expected message, if it came early.
    pub(super) fn take_expected(&mut self) -> Option<Message> {
        let message = self.early.remove(&self.expected)?;
        self.bytes -= message.payload.len();
        Some(message)
    }
}

/// Where a message stands in its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Seen before.
    Duplicate,
    /// The next one.
    Expected,
    /// Beyond the next one.
    Early,
}

/// The agent's own limit (protocol.md appendix A).
const MAX_EARLY: usize = 100_000;
/// 100,000 messages of 1024 bytes, and room for the headers of large ones.
const MAX_EARLY_BYTES: usize = 128 << 20;
