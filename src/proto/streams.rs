//! The streams of a tunnel: many on a mux, or a single one without a mux.
//!
//! The handshake decides which (docs/protocol.md, sections 7, 8 and 10). Before it no stream can
//! be open, and the variant does not matter.

use bytes::Bytes;

use super::channel::Share;
use super::event::{Event, Read};
use super::mux::{Mux, Upload, Write};
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

/// Defines methods that both variants have.
macro_rules! delegate {
    ($(
        fn $name:ident($self:ident: $receiver:ty $(, $argument:ident: $type:ty)*) $(-> $output:ty)?;
    )*) => {$(
        pub(super) fn $name($self: $receiver $(, $argument: $type)*) $(-> $output)? {
            match $self {
                Self::Mux(streams) => streams.$name($($argument),*),
                Self::Single(streams) => streams.$name($($argument),*),
            }
        }
    )*};
}

impl Streams {
    delegate! {
        fn open(self: &mut Self) -> Option<StreamId>;
        fn write(self: &mut Self, id: StreamId, data: &[u8]) -> Write;
        fn read(self: &mut Self, id: StreamId, max: usize) -> Read;
        fn finish(self: &mut Self, id: StreamId);
        fn reset(self: &mut Self, id: StreamId);
        fn upload(self: &mut Self, id: StreamId) -> Upload;
        fn handle_refusal(self: &mut Self);
        fn poll_event(self: &mut Self) -> Option<Event>;
        fn has_output(self: &Self) -> bool;
        fn wants_input(self: &Self) -> bool;
        fn unread(self: &Self) -> usize;
        fn suspect(self: &Self) -> Option<StreamId>;
        fn traffic(self: &Self) -> (u64, u64);
        fn assert_invariants(self: &Self);
    }

    pub(super) fn handle_output(&mut self, bytes: Bytes) -> Result<(), FrameError> {
        match self {
            Self::Mux(mux) => mux.handle_output(bytes)?,
            Self::Single(single) => single.handle_output(bytes),
        }
        Ok(())
    }

    /// Everything sent is acknowledged. On a mux this does not mean that the destination has it.
    pub(super) fn handle_all_arrived(&mut self) {
        if let Self::Single(single) = self {
            single.handle_all_arrived();
        }
    }

    /// The agent closed the session cleanly and nothing is missing. On a mux, streams end earlier,
    /// each with its FIN.
    pub(super) fn handle_end(&mut self) {
        if let Self::Single(single) = self {
            single.handle_end();
        }
    }

    /// Returns the next stream whose FIN was received and is not confirmed.
    pub(super) fn poll_end(&mut self) -> Option<StreamId> {
        self.mux_mut()?.poll_end()
    }

    /// Returns true while it is not known of a stream that has ended whether it was refused.
    pub(super) fn has_undecided(&self) -> bool {
        matches!(self, Self::Mux(mux) if mux.has_undecided())
    }

    /// Streams that are undecided end as refused or closed.
    pub(super) fn end_undecided(&mut self) {
        if let Some(mux) = self.mux_mut() {
            mux.end_undecided();
        }
    }

    /// The FIN of a stream was sent because its destination closed.
    pub(super) fn confirm_end(&mut self, id: StreamId) {
        if let Some(mux) = self.mux_mut() {
            mux.confirm_end(id);
        }
    }

    /// The FIN of a stream was received before everything sent was acknowledged.
    pub(super) fn cut_short(&mut self, id: StreamId) {
        if let Some(mux) = self.mux_mut() {
            mux.cut_short(id);
        }
    }

    /// Returns the number of the last message with bytes of a stream. Without a mux an end counts
    /// only if everything was acknowledged, and the number does not matter.
    pub(super) fn last_data(&mut self, id: StreamId) -> Option<Seq> {
        self.mux_mut()?.last_data(id)
    }

    fn mux_mut(&mut self) -> Option<&mut Mux> {
        match self {
            Self::Mux(mux) => Some(mux),
            Self::Single(_) => None,
        }
    }

    /// Returns true if bytes are waiting for a stream that is not opened yet. Never on a mux.
    pub(super) fn has_remainder(&self) -> bool {
        matches!(self, Self::Single(single) if single.has_remainder())
    }

    pub(super) fn leave(&mut self, id: StreamId) {
        match self {
            Self::Mux(mux) => mux.leave(id),
            // Its state is kept for the lifetime of the tunnel.
            Self::Single(single) => single.reset(id),
        }
    }

    pub(super) fn fill(&mut self, draft: &mut Draft, max: usize, seq: Seq) {
        match self {
            Self::Mux(mux) => mux.fill(draft, max, seq),
            Self::Single(single) => single.fill(draft, max),
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

    /// Bytes sent and received on one stream; zero once it was removed.
    pub(super) fn traffic_of(&self, id: StreamId) -> (u64, u64) {
        match self {
            Self::Mux(mux) => mux.traffic_of(id),
            Self::Single(single) if single.id() == Some(id) => single.traffic(),
            Self::Single(_) => (0, 0),
        }
    }
}
