//! The streams of a tunnel: many on a mux, or a single one without a mux.
//!
//! The handshake decides which (docs/protocol.md, sections 7, 8 and 10). Before it no stream can
//! be open, and the variant does not matter.

use bytes::Bytes;

use super::channel::Share;
use super::mux::{Change, Mux, Read, Upload, Write};
use super::single_stream::SingleStream;
use crate::wire::message::{Draft, Seq};
use crate::wire::smux::{FrameError, StreamId};

/// Content of the payloads of a channel.
#[derive(Debug)]
pub(super) enum Streams {
    /// Frames of many streams.
    Mux(Mux),
    /// The bytes of one stream.
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

    /// Everything sent is acknowledged. On a mux this does not mean that the destination has it.
    pub(super) fn handle_all_arrived(&mut self) {
        match self {
            Self::Mux(_) => {}
            Self::Single(single) => single.handle_all_arrived(),
        }
    }

    /// The agent closed the session cleanly and nothing is missing. On a mux, streams end earlier,
    /// each with its FIN.
    pub(super) fn handle_end(&mut self) {
        match self {
            Self::Mux(_) => {}
            Self::Single(single) => single.handle_end(),
        }
    }

    /// Returns the next stream whose FIN was received and is not confirmed.
    pub(super) fn poll_end(&mut self) -> Option<StreamId> {
        match self {
            Self::Mux(mux) => mux.poll_end(),
            Self::Single(_) => None,
        }
    }

    /// The FIN of a stream was sent because its destination closed.
    pub(super) fn confirm_end(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.confirm_end(id),
            Self::Single(_) => {}
        }
    }

    /// Returns true if bytes are waiting for a stream that is not opened yet. Never on a mux.
    pub(super) fn has_remainder(&self) -> bool {
        match self {
            Self::Mux(_) => false,
            Self::Single(single) => single.has_remainder(),
        }
    }

    pub(super) fn leave(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.leave(id),
            // Its state is kept for the lifetime of the tunnel.
            Self::Single(single) => single.reset(id),
        }
    }

    pub(super) fn upload(&mut self, id: StreamId) -> Upload {
        match self {
            Self::Mux(mux) => mux.upload(id),
            Self::Single(single) => single.upload(id),
        }
    }

    /// Returns the number of the last message with bytes of a stream. Without a mux an end counts
    /// only if everything was acknowledged, and the number does not matter.
    pub(super) fn last_data(&self, id: StreamId) -> Option<Seq> {
        match self {
            Self::Mux(mux) => mux.last_data(id),
            Self::Single(_) => None,
        }
    }

    /// The FIN of a stream was received before everything sent was acknowledged.
    pub(super) fn cut_short(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.cut_short(id),
            Self::Single(_) => {}
        }
    }

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

    /// Bytes sent and received on one stream; zero once it was removed.
    pub(super) fn traffic_of(&self, id: StreamId) -> (u64, u64) {
        match self {
            Self::Mux(mux) => mux.traffic_of(id),
            Self::Single(single) if single.id() == Some(id) => single.traffic(),
            Self::Single(_) => (0, 0),
        }
    }

    /// Bytes sent and received on all streams.
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
