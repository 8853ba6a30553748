//! Decides which FINs of the agent belong to refused dials.
//!
//! The flag of a refused dial names no stream. It overtakes frames, but the agent dials in the order
//! of the ids, and no other dial begins before the FIN of the refused stream is queued. So the flag
//! may belong to any stream that was open when it came, unless a frame of this stream or of a later
//! one was received before. A stream that may be the refused one is never shown as a clean end.
//! It is certainly refused if there are as many flags as streams that they may belong to; otherwise
//! its destination may have received bytes and closed without sending any.

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
}

/// What a FIN says about the dial of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// The agent was connected.
    Connected,
    /// The agent was not connected, or the destination closed without sending a byte.
    MayBeRefused,
    /// The agent was not connected.
    Refused,
}

impl RefusedDials {
    pub(super) fn new() -> Self {
        Self {
            opened_later: FIRST,
            received: StreamId(0),
            flags: 0,
            ended: 0,
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
        self.received = self.received.max(id);
        self.settle();
    }

    /// The FIN of a stream was received.
    pub(super) fn handle_finish(&mut self, id: StreamId) -> Dial {
        if id <= self.received || self.opened_later <= id {
            self.handle_data(id);
            return Dial::Connected;
        }
        self.ended += 1;
        let pending = (self.opened_later.0 - id.0).div_ceil(STEP) - 1;
        let is_certain = self.flags >= self.ended + pending;
        self.handle_data(id);
        match is_certain {
            true => Dial::Refused,
            false => Dial::MayBeRefused,
        }
    }

    /// Forgets the flags once no pending stream can be a refused one.
    fn settle(&mut self) {
        if self.received.0.saturating_add(STEP) >= self.opened_later.0 {
            (self.flags, self.ended) = (0, 0);
        }
    }
}
