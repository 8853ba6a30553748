//! FINs of the agent: refused dials, ends, unconfirmed ends, and the resulting state of the upload.

use super::refused_dials::Dial;
use super::{Mux, NextFrame, RemoteSide, Stream, Upload};
use crate::wire::message::Seq;
use crate::wire::smux::StreamId;

impl Mux {
    /// The agent could not connect to the destination of some stream that was open by now.
    pub(crate) fn handle_refusal(&mut self) {
        self.refused_dials.handle_flag(self.next);
        self.end_refused();
    }

    /// Returns true while it is not known of a stream that has ended whether it was refused.
    pub(crate) fn has_undecided(&self) -> bool {
        self.refused_dials.has_undecided()
    }

    /// Nothing more is waited for: streams that are undecided end as refused or closed.
    pub(crate) fn end_undecided(&mut self) {
        self.refused_dials.handle_timeout();
        self.end_refused();
    }

    /// Ends the streams of refused dials, as far as they are decided.
    pub(super) fn end_refused(&mut self) {
        while let Some((id, is_certain)) = self.refused_dials.poll_decided() {
            self.change(id, |stream| stream.decide_refusal(is_certain));
            self.wake_reader(id);
            self.forget_if_over(id);
        }
    }

    /// Handles a FIN, after a refused dial or not.
    pub(super) fn handle_finish(&mut self, id: StreamId) {
        let is_connected = self.refused_dials.handle_finish(id) == Dial::Connected;
        let changed = self.change(id, |stream| {
            let before = stream.theirs();
            match is_connected {
                true => stream.handle_finish(),
                false => stream.handle_refusal(),
            }
            (before, stream.theirs())
        });
        if changed.is_some() {
            self.leave_discard_phase();
        }
        match changed {
            Some((RemoteSide::Open, RemoteSide::Ending)) => self.ends.push_back(id),
            Some((_, RemoteSide::Refused)) => self.wake_reader(id),
            Some(_) | None => {}
        }
        self.wake_writer(id);
        self.forget_if_over(id);
        self.end_refused();
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
