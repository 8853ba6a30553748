//! Decides which FINs of the agent belong to refused dials.
//!
//! The flag of a refused dial names no stream. It overtakes frames, but the agent dials in the order
//! of the ids, and no other dial begins before the FIN of the refused stream is queued. So the flag
//! may belong to any stream that was open when it came, unless a frame of this stream or of a later
//! one was received before. A stream that may be the refused one is never shown as a clean end.
//!
//! All of these streams are certainly refused if there are as many flags. While there are fewer, a
//! stream that has ended is undecided: of several refused dials at once, the other flags follow, and
//! bytes of a later stream show that the dials before it did not fail. If neither comes, the
//! destination of an undecided stream may have received bytes and closed without sending any.

use super::{FIRST, STEP};
use crate::wire::smux::StreamId;

/// Flags of refused dials, and the streams that they may belong to.
#[derive(Debug)]
pub(super) struct RefusedDials {
    /// The first stream that was opened after the last flag.
    opened_later: StreamId,
    /// The highest stream of which a frame was received.
    received: StreamId,
    /// Flags whose stream is not certain.
    flags: u32,
    /// FINs that these flags may belong to.
    ended: u32,
    /// Streams of these FINs of which it is not known yet whether they were refused.
    undecided: Vec<StreamId>,
    /// Streams that are decided now, and whether they were certainly refused.
    decided: Vec<(StreamId, bool)>,
}

/// What a FIN says about the dial of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// The agent was connected.
    Connected,
    /// The agent was not connected, or the destination closed without sending a byte; see
    /// [`RefusedDials::poll_decided`].
    MayBeRefused,
}

impl RefusedDials {
    pub(super) fn new() -> Self {
        Self {
            opened_later: FIRST,
            received: StreamId(FIRST.0 - STEP),
            flags: 0,
            ended: 0,
            undecided: Vec::new(),
            decided: Vec::new(),
        }
    }

    /// A dial of some stream before `next` was refused.
    pub(super) fn handle_flag(&mut self, next: StreamId) {
        self.opened_later = next;
        self.flags = self.flags.saturating_add(1);
        self.settle();
    }

    /// Bytes of a stream were received.
    pub(super) fn handle_data(&mut self, id: StreamId) {
        if self.received < id {
            self.received = id;
            self.settle();
        }
    }

    /// The FIN of a stream was received.
    pub(super) fn handle_finish(&mut self, id: StreamId) -> Dial {
        if id <= self.received || self.opened_later <= id {
            self.handle_data(id);
            return Dial::Connected;
        }
        self.ended += 1;
        self.undecided.push(id);
        self.handle_data(id);
        Dial::MayBeRefused
    }

    /// Returns true while a stream is undecided.
    pub(super) fn has_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// Nothing more is waited for: undecided streams stay in doubt.
    pub(super) fn handle_timeout(&mut self) {
        self.decide(false);
    }

    /// Returns a stream that is decided, and whether it was certainly refused.
    pub(super) fn poll_decided(&mut self) -> Option<(StreamId, bool)> {
        self.decided.pop()
    }

    /// Decides what is known, and forgets the flags once no pending stream can be a refused one.
    fn settle(&mut self) {
        let later = self.opened_later.0.saturating_sub(self.received.0);
        let pending = later.div_ceil(STEP).saturating_sub(1);
        if self.flags >= self.ended.saturating_add(pending) {
            self.decide(true);
        }
        if pending == 0 {
            self.decide(false);
            (self.flags, self.ended) = (0, 0);
        }
    }

    fn decide(&mut self, is_certain: bool) {
        let undecided = self.undecided.drain(..).rev();
        self.decided.extend(undecided.map(|id| (id, is_certain)));
    }
}
