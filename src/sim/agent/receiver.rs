//! Receive order of an agent: expected, early and duplicate messages.
//!
//! Early messages are kept, however far ahead, up to 100,000 messages or 128 MiB (docs/protocol.md,
//! section 6.4; the limit in bytes is the simulator's own, for large messages).

use std::collections::BTreeMap;

use crate::wire::message::Message;

/// Order of the messages from the client.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    expected: u64,
    early: BTreeMap<u64, Message>,
    bytes: usize,
}

impl Receiver {
    /// Returns the position of a sequence number relative to the expected one.
    pub(super) fn place(&self, seq: u64) -> Position {
        match seq.cmp(&self.expected) {
            std::cmp::Ordering::Less => Position::Duplicate,
            std::cmp::Ordering::Equal => Position::Expected,
            std::cmp::Ordering::Greater => Position::Early,
        }
    }

    /// Returns true if another early message may be kept.
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

    /// Advances the expected number after a message was consumed.
    pub(super) fn advance(&mut self) {
        self.expected += 1;
    }

    /// Takes the expected message, if it arrived early.
    pub(super) fn take_expected(&mut self) -> Option<Message> {
        let message = self.early.remove(&self.expected)?;
        self.bytes -= message.payload.len();
        Some(message)
    }
}

/// Position of a message relative to the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Duplicate,
    Expected,
    /// After the expected message.
    Early,
}

/// Limit of the real agent (docs/protocol.md, appendix A).
const MAX_EARLY: usize = 100_000;
/// 100,000 messages of 1024 bytes, plus space for the headers of large ones.
const MAX_EARLY_BYTES: usize = 128 << 20;
