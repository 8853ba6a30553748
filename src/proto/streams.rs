//! The streams of a tunnel: many on a mux, or one without.
//!
//! The handshake decides which (protocol.md sections 7, 8 and 10); before it nothing can be open,
//! and the kind does not matter.

use bytes::Bytes;

use super::channel::Share;
use super::mux::{Change, Mux, Read, Upload, Write};
use super::single_stream::SingleStream;
use crate::wire::message::{Draft, Seq};
use crate::wire::smux::{FrameError, StreamId};

/// What the payloads of a channel carry.
#[derive(Debug)]
pub(super) enum Streams {
    /// Frames of many streams.
    Mux(Mux),
    /// The bytes of one.
    Single(SingleStream),
}

impl Streams {
    pub(super) fn open(&mut self) -> Option<StreamId> {
        match self {
            Self::Mux(mux) => mux.open(),
            Self::Single(single) => single.open(),
        }
    }

    pub(super) fn write(&mut self, id: StreamId, data: &[u8]) -> Write {
        match self {
            Self::Mux(mux) => mux.write(id, data),
            Self::Single(single) => single.write(id, data),
        }
    }

    pub(super) fn read(&mut self, id: StreamId, max: usize) -> Read {
        match self {
            Self::Mux(mux) => mux.read(id, max),
            Self::Single(single) => single.read(id, max),
        }
    }

    pub(super) fn finish(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.finish(id),
            Self::Single(single) => single.finish(id),
        }
    }

    pub(super) fn reset(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.reset(id),
            Self::Single(single) => single.reset(id),
        }
    }

    pub(super) fn handle_output(&mut self, bytes: Bytes) -> Result<(), FrameError> {
        match self {
            Self::Mux(mux) => mux.handle_output(bytes),
            Self::Single(single) => {
                single.handle_output(bytes);
                Ok(())
            }
        }
    }

    pub(super) fn handle_refusal(&mut self) {
        match self {
            Self::Mux(mux) => mux.handle_refusal(),
            Self::Single(single) => single.handle_refusal(),
        }
    }

    /// Everything that was sent is acknowledged. On a mux that is not the destination's word.
    pub(super) fn handle_all_arrived(&mut self) {
        match self {
            Self::Mux(_) => {}
            Self::Single(single) => single.handle_all_arrived(),
        }
    }

    /// The agent closed the session well, and nothing of it is missing. On a mux streams end
    /// before, each by its FIN.
    pub(super) fn handle_end(&mut self) {
        match self {
            Self::Mux(_) => {}
            Self::Single(single) => single.handle_end(),
        }
    }

    /// The next stream whose FIN came and is not confirmed.
    pub(super) fn poll_end(&mut self) -> Option<StreamId> {
        match self {
            Self::Mux(mux) => mux.poll_end(),
            Self::Single(_) => None,
        }
    }

    /// The FIN of a stream was sent because its destination ended.
    pub(super) fn confirm_end(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.confirm_end(id),
            Self::Single(_) => {}
        }
    }

    /// True if bytes wait for a stream that nobody has opened. On a mux there are none.
    pub(super) fn has_remainder(&self) -> bool {
        match self {
            Self::Mux(_) => false,
            Self::Single(single) => single.has_remainder(),
        }
    }

    pub(super) fn leave(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.leave(id),
            // It is known what became of it for as long as the tunnel lives.
            Self::Single(single) => single.reset(id),
        }
    }

    pub(super) fn upload(&mut self, id: StreamId) -> Upload {
        match self {
            Self::Mux(mux) => mux.upload(id),
            Self::Single(single) => single.upload(id),
        }
    }

    /// The number of the last message with bytes of a stream. Without a mux an end counts only if
    /// everything was acknowledged, and the number does not matter.
    pub(super) fn last_data(&self, id: StreamId) -> Option<Seq> {
        match self {
            Self::Mux(mux) => mux.last_data(id),
            Self::Single(_) => None,
        }
    }

    /// The FIN of a stream came before everything that was sent was acknowledged.
    pub(super) fn cut_short(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.cut_short(id),
            Self::Single(_) => {}
        }
    }

    /// Fills message `seq`.
    pub(super) fn fill(&mut self, draft: &mut Draft, max: usize, seq: Seq) {
        match self {
            Self::Mux(mux) => mux.fill(draft, max, seq),
            Self::Single(single) => single.fill(draft, max),
        }
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        match self {
            Self::Mux(mux) => mux.poll_change(),
            Self::Single(single) => single.poll_change(),
        }
    }

    pub(super) fn has_output(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.has_output(),
            Self::Single(single) => single.has_output(),
        }
    }

    pub(super) fn wants_input(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.wants_input(),
            Self::Single(single) => single.wants_input(),
        }
    }

    /// Bytes that wait to be read.
    pub(super) fn unread(&self) -> usize {
        match self {
            Self::Mux(mux) => mux.unread(),
            Self::Single(single) => single.unread(),
        }
    }

    pub(super) fn share(&self) -> Share {
        match self {
            Self::Mux(mux) => mux.share(),
            Self::Single(_) => Share::Alone,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.is_empty(),
            Self::Single(single) => single.id().is_none(),
        }
    }

    pub(super) fn ids(&self) -> Vec<StreamId> {
        match self {
            Self::Mux(mux) => mux.ids().collect(),
            Self::Single(single) => single.id().into_iter().collect(),
        }
    }

    pub(super) fn suspect(&self) -> Option<StreamId> {
        match self {
            Self::Mux(mux) => mux.suspect(),
            Self::Single(single) => single.suspect(),
        }
    }

    /// Bytes of one stream: sent and received; nothing once it is forgotten.
    pub(super) fn traffic_of(&self, id: StreamId) -> (u64, u64) {
        match self {
            Self::Mux(mux) => mux.traffic_of(id),
            Self::Single(single) if single.id() == Some(id) => single.traffic(),
            Self::Single(_) => (0, 0),
        }
    }

    /// Bytes of all streams: sent and received.
    pub(super) fn traffic(&self) -> (u64, u64) {
        match self {
            Self::Mux(mux) => mux.traffic(),
            Self::Single(single) => single.traffic(),
        }
    }

    pub(super) fn assert_invariants(&self) {
        match self {
            Self::Mux(mux) => mux.assert_invariants(),
            Self::Single(single) => single.assert_invariants(),
        }
    }
}
