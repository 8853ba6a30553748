//! FINs of the agent: refused dials, ends, unconfirmed ends, and the resulting state of the upload.

use super::refused_dials::Dial;
use super::{Mux, NextFrame, RemoteSide, Stream, Upload};
use crate::wire::message::Seq;
use crate::wire::smux::StreamId;

impl Mux {
    /// The agent could not connect to the destination of some stream that was open by now.
    pub(crate) fn handle_refusal(&mut self) {
        self.refused_dials.handle_flag(self.next);
    }

    /// Handles a FIN, after a refused dial or not.
    pub(super) fn handle_finish(&mut self, id: StreamId) {
        let dial = self.refused_dials.handle_finish(id);
        let refused = dial != Dial::Connected;
        let was_open = self.change(id, |stream| {
            let was_open = stream.theirs() == RemoteSide::Open;
            stream.handle_finish(refused);
            if dial == Dial::MayBeRefused {
                stream.doubt_refusal();
            }
            was_open
        });
        if was_open.is_some() {
            self.leave_discard_phase();
        }
        if refused {
            self.wake_reader(id);
        } else if was_open == Some(true) {
            self.ends.push_back(id);
        }
        self.wake_writer(id);
        self.forget_if_over(id);
    }

    /// Returns the next stream whose FIN was received. [`Mux::confirm_end`] makes it final.
    pub(crate) fn poll_end(&mut self) -> Option<StreamId> {
        self.ends.pop_front()
    }

    /// The local side has disconnected and will query the upload; see [`Stream::leave`].
    pub(crate) fn leave(&mut self, id: StreamId) {
        let Some(unread) = self.streams.get(&id).map(Stream::unread) else {
            return;
        };
        let dropped = self.change(id, Stream::leave).unwrap_or_default();
        self.budget.remove(unread, dropped);
        // A stream whose SYN was not sent now has nothing to send.
        let is_silent = |stream: &Stream| stream.intent() == NextFrame::Nothing;
        if self.streams.get(&id).is_some_and(is_silent) {
            self.turns.remove(id);
        }
    }

    /// Returns the result of the upload. If it is still pending,
    /// [`Event::Readable`](crate::proto::Event::Readable) follows when it is known.
    pub(crate) fn upload(&mut self, id: StreamId) -> Upload {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Upload::CutShort;
        };
        let upload = stream.upload();
        stream.reader_waits |= upload == Upload::Pending;
        upload
    }

    /// Returns the number of the last message with bytes of a stream.
    pub(crate) fn last_data(&self, id: StreamId) -> Option<Seq> {
        self.streams.get(&id)?.last_data
    }

    /// The FIN of a stream was received before everything sent was acknowledged.
    pub(crate) fn cut_short(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.cut_short();
        }
    }

    /// The FIN of a stream was sent because its destination closed.
    pub(crate) fn confirm_end(&mut self, id: StreamId) {
        self.change(id, Stream::confirm_end);
        self.wake_reader(id);
        self.forget_if_over(id);
    }
}
