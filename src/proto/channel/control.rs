//! What the channel says on its own account: the handshake, the probe, the flag.
//!
//! Each takes a sequence number and is acknowledged like data, but needs no window. Of some, the
//! acknowledgement means something.
//!
//! The queue is bounded by what is put into it: one response to the handshake, the probes of one
//! tunnel, one flag, and one size.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::event::AckMarker;
use crate::wire::message::{PayloadType, Seq};

/// Payloads that wait to leave, and those whose arrival is awaited.
#[derive(Debug, Default)]
pub(crate) struct Control {
    queue: VecDeque<Word>,
    awaited: Vec<Awaited>,
}

impl Control {
    /// Puts a payload in line.
    pub(crate) fn put(
        &mut self,
        payload_type: PayloadType,
        payload: Bytes,
        mark: Option<AckMarker>,
    ) {
        self.queue.push_back(Word {
            payload_type,
            payload,
            mark,
        });
    }

    /// Puts the size of a terminal in line, unless one waits.
    pub(crate) fn put_size(&mut self, payload: Bytes) {
        if !self.queue.iter().any(Word::is_size) {
            self.put(PayloadType::Size, payload, None);
        }
    }

    /// The number of the oldest probe that is not acknowledged.
    pub(crate) fn oldest_probe(&self) -> Option<Seq> {
        let is_probe = |awaited: &&Awaited| matches!(awaited.mark, AckMarker::Probe(_));
        let probes = self.awaited.iter().filter(is_probe);
        probes.map(|awaited| awaited.seq).min()
    }

    /// Forgets all probes.
    pub(crate) fn withdraw_probes(&mut self) {
        let is_probe = |mark: Option<AckMarker>| matches!(mark, Some(AckMarker::Probe(_)));
        self.queue.retain(|word| !is_probe(word.mark));
        self.awaited.retain(|awaited| !is_probe(Some(awaited.mark)));
    }

    /// True if the next payload has time.
    pub(crate) fn waits_for_slot(&self) -> bool {
        self.queue.front().is_some_and(Word::is_size)
    }

    /// The next payload leaves now, as number `seq`.
    pub(crate) fn pop(&mut self, now: Instant, seq: Seq) -> Option<Word> {
        let word = self.queue.pop_front()?;
        let sent = now;
        let awaited = |mark| Awaited { seq, mark, sent };
        self.awaited.extend(word.mark.map(awaited));
        Some(word)
    }

    /// Number `seq` was acknowledged. Returns what that means, and when it first left.
    pub(crate) fn handle_arrival(&mut self, seq: Seq) -> Option<(AckMarker, Instant)> {
        let is_awaited = |awaited: &Awaited| awaited.seq == seq;
        let place = self.awaited.iter().position(is_awaited)?;
        let Awaited { mark, sent, .. } = self.awaited.swap_remove(place);
        Some((mark, sent))
    }
}

/// A payload whose acknowledgement is awaited.
#[derive(Debug)]
struct Awaited {
    seq: Seq,
    mark: AckMarker,
    sent: Instant,
}

/// One payload.
#[derive(Debug)]
pub(crate) struct Word {
    /// What it holds.
    pub(crate) payload_type: PayloadType,
    /// Itself.
    pub(crate) payload: Bytes,
    /// What its arrival means.
    pub(crate) mark: Option<AckMarker>,
}

impl Word {
    /// True for a size that only keeps the session alive; no probe.
    fn is_size(&self) -> bool {
        self.payload_type == PayloadType::Size && self.mark.is_none()
    }
}
