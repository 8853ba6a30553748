//! What the channel says on its own account: the handshake, the probe, the flag.
//!
//! Each takes a sequence number and is acknowledged like data, but needs no window. Of some, the
//! acknowledgement means something.

use std::collections::VecDeque;

use bytes::Bytes;

use super::exchange::Mark;
use crate::wire::message::{PayloadType, Seq};

/// Payloads that wait to leave, and those whose arrival is awaited.
#[derive(Debug, Default)]
pub(crate) struct Control {
    queue: VecDeque<Word>,
    awaited: Vec<(Seq, Mark)>,
}

impl Control {
    /// Puts a payload in line.
    pub(crate) fn put(&mut self, payload_type: PayloadType, payload: Bytes, mark: Option<Mark>) {
        self.queue.push_back(Word {
            payload_type,
            payload,
            mark,
        });
    }

    /// The next payload leaves, as number `seq`.
    pub(crate) fn pop(&mut self, seq: Seq) -> Option<Word> {
        let word = self.queue.pop_front()?;
        self.awaited.extend(word.mark.map(|mark| (seq, mark)));
        Some(word)
    }

    /// Number `seq` was acknowledged. Returns what that means.
    pub(crate) fn handle_arrival(&mut self, seq: Seq) -> Option<Mark> {
        let place = self
            .awaited
            .iter()
            .position(|(awaited, _)| *awaited == seq)?;
        Some(self.awaited.swap_remove(place).1)
    }
}

/// One payload.
#[derive(Debug)]
pub(crate) struct Word {
    /// What it holds.
    pub(crate) payload_type: PayloadType,
    /// Itself.
    pub(crate) payload: Bytes,
    /// What its arrival means.
    pub(crate) mark: Option<Mark>,
}
