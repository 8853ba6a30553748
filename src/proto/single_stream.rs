//! One connection without a mux: `AWS-StartSSHSession`.
//!
//! The payloads of each direction are the bytes of the connection and nothing else. The agent dials
//! before it is ready, so what comes may come before anybody has opened the stream, and is kept.
//!
//! ```text
//!   agent ready: dialled ── bytes both ways ──┬── channel_closed, nothing missing ──▶ End
//!                                             └── whatever else ──▶ Lost
//! ```
//!
//! Nothing is missing as far as can be told from what came (`proto/channel/remainder.rs`) and from
//! what was acknowledged (`proto/channel/accounts.rs`, `proto/inquiry.rs`). A destination that ends
//! before it has taken everything that was written is a loss.
//!
//! There is no frame for an end: ours cannot be told without closing both directions, so it is
//! held, as in a mux; theirs is the end of the session. What was written before the local side left
//! has reached the destination when all of it is acknowledged. And there is no seam: bytes that an
//! agent processes twice (protocol.md section 6.5 item 2) arrive twice, which ssh notices. Nor is an
//! end by the service without a word, such as a timeout, told from one of the destination; what
//! matters over such a session has an end of its own, as ssh has.
//!
//! Specification: protocol.md sections 7 and 10.

use std::collections::VecDeque;

use bytes::Bytes;

use super::mux::{
    Change, MAX_UNREAD_OF_STREAM, MAX_UNSENT, NextFrame, Read, RemoteSide, Stream, Upload, Write,
};
use crate::wire::message::Draft;
use crate::wire::smux::StreamId;

/// The one connection of a session.
#[derive(Debug)]
pub(super) struct SingleStream {
    stream: Stream,
    life: Life,
    changes: VecDeque<Change>,
}

impl SingleStream {
    /// A connection that nobody has opened here.
    pub(super) fn new() -> Self {
        let mut stream = Stream::new();
        // There is no SYN: the agent has dialled.
        stream.sent_open();
        Self {
            stream,
            life: Life::Unopened,
            changes: VecDeque::new(),
        }
    }

    /// Opens the stream, once.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        let is_first = self.life == Life::Unopened;
        is_first.then(|| {
            self.life = Life::Open;
            ONLY
        })
    }

    /// True if bytes wait for a stream that nobody has opened.
    pub(super) fn has_remainder(&self) -> bool {
        self.life == Life::Unopened && self.stream.unread() > 0
    }

    /// Takes bytes for the destination.
    pub(super) fn write(&mut self, id: StreamId, data: &[u8]) -> Write {
        if !self.is_known(id) {
            return Write::Closed;
        }
        match self.stream.write(data) {
            None => Write::Closed,
            Some(0) if !data.is_empty() => {
                self.stream.writer_waits = true;
                Write::Full
            }
            Some(taken) => Write::Accepted(taken),
        }
    }

    /// Gives bytes of the destination, at most `max`.
    pub(super) fn read(&mut self, id: StreamId, max: usize) -> Read {
        if !self.is_known(id) {
            return Read::Gone;
        }
        match (self.stream.read(max), self.stream.theirs()) {
            (Some(chunk), _) => Read::Data(chunk),
            (None, RemoteSide::Ended) => Read::End,
            (None, RemoteSide::Refused) => Read::Refused,
            (None, RemoteSide::Open | RemoteSide::Ending) => {
                self.stream.reader_waits = true;
                Read::Blocked
            }
        }
    }

    /// The local side will write no more, which nobody is told.
    pub(super) fn finish(&mut self, id: StreamId) {
        if self.is_known(id) {
            self.stream.finish();
        }
    }

    /// The local side is gone. What was written still leaves.
    pub(super) fn reset(&mut self, id: StreamId) {
        if self.is_known(id) {
            self.life = Life::Left;
            self.stream.reset();
        }
    }

    /// The next bytes of the destination came.
    pub(super) fn handle_output(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.stream.handle_data(&bytes);
            self.wake_reader();
        }
    }

    /// The agent could not reach the destination.
    pub(super) fn handle_refusal(&mut self) {
        self.handle_finish(true);
    }

    /// The destination ended, and nothing of it is missing.
    pub(super) fn handle_end(&mut self) {
        self.handle_finish(false);
    }

    fn handle_finish(&mut self, refused: bool) {
        self.stream.handle_finish(refused);
        self.stream.confirm_end();
        self.wake_reader();
        self.wake_writer();
    }

    /// Everything that was sent is acknowledged.
    pub(super) fn handle_all_arrived(&mut self) {
        if self.life == Life::Left && self.stream.intent() != NextFrame::Data {
            self.life = Life::Over;
            self.wake_reader();
        }
    }

    fn wake_reader(&mut self) {
        if std::mem::take(&mut self.stream.reader_waits) {
            self.changes.push_back(Change::Readable(ONLY));
        }
    }

    fn wake_writer(&mut self) {
        if std::mem::take(&mut self.stream.writer_waits) {
            self.changes.push_back(Change::Writable(ONLY));
        }
    }

    /// Fills a message with up to `max` bytes.
    pub(super) fn fill(&mut self, draft: &mut Draft, max: usize) {
        let len = max.min(self.stream.unsent());
        self.stream.drain_into(len, draft.payload());
        if self.stream.has_room() {
            self.wake_writer();
        }
    }

    /// What became of the bytes that were written. If that is not known yet, [`Change::Readable`]
    /// follows when it is.
    pub(super) fn upload(&mut self, id: StreamId) -> Upload {
        match self.life {
            Life::Over if id == ONLY => return Upload::Delivered,
            Life::Open | Life::Left | Life::Over | Life::Unopened => {}
        }
        let upload = self.stream.upload();
        self.stream.reader_waits |= upload == Upload::Pending;
        upload
    }

    /// What the owner of the stream waits for.
    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// True if there are bytes to send.
    pub(super) fn has_output(&self) -> bool {
        self.stream.intent() == NextFrame::Data
    }

    /// False while more input would wait unread beyond its budget.
    pub(super) fn wants_input(&self) -> bool {
        self.stream.unread() < MAX_UNREAD_OF_STREAM
    }

    /// Bytes that wait to be read.
    pub(super) fn unread(&self) -> usize {
        self.stream.unread()
    }

    /// The stream, while it is open and not forgotten.
    pub(super) fn id(&self) -> Option<StreamId> {
        self.is_known(ONLY).then_some(ONLY)
    }

    /// The stream, if it was sent something since it was last heard.
    pub(super) fn suspect(&self) -> Option<StreamId> {
        self.id().filter(|_| self.stream.unheard() > 0)
    }

    /// Bytes that were sent and received.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.stream.sent, self.stream.received)
    }

    fn is_known(&self, id: StreamId) -> bool {
        id == ONLY && matches!(self.life, Life::Open | Life::Left)
    }

    /// Asserts what must always hold.
    pub(super) fn assert_invariants(&self) {
        assert!(self.stream.unsent() <= MAX_UNSENT, "the outbox is bounded");
    }
}

/// What became of the local side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nobody has opened the stream.
    Unopened,
    Open,
    /// Reset, with bytes that are not acknowledged.
    Left,
    /// Reset, and forgotten.
    Over,
}

/// The id of the one stream; no mux gives it.
const ONLY: StreamId = StreamId(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_stream_is_opened_is_kept() {
        let mut single = SingleStream::new();

        single.handle_output(Bytes::from_static(b"SSH-2.0-"));
        let id = single.open().unwrap();

        assert_eq!(single.open(), None, "there is one");
        assert_eq!(
            single.read(id, 100),
            Read::Data(Bytes::from_static(b"SSH-2.0-"))
        );
        assert_eq!(single.read(id, 100), Read::Blocked);
    }

    #[test]
    fn an_end_comes_behind_the_last_byte() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();
        assert_eq!(single.read(id, 1), Read::Blocked);

        single.handle_output(Bytes::from_static(b"by"));
        single.handle_end();

        assert_eq!(single.poll_change(), Some(Change::Readable(id)));
        assert_eq!(single.read(id, 1), Read::Data(Bytes::from_static(b"b")));
        assert_eq!(single.read(id, 1), Read::Data(Bytes::from_static(b"y")));
        assert_eq!(single.read(id, 1), Read::End);
        assert_eq!(single.write(id, b"x"), Write::Closed);
    }

    #[test]
    fn a_stream_that_was_left_is_over_when_all_is_sent_and_arrived() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();
        assert_eq!(single.write(id, b"last words"), Write::Accepted(10));

        single.reset(id);
        single.handle_all_arrived();
        assert_eq!(single.upload(id), Upload::Pending, "nothing was sent yet");
        let mut draft = Draft::with_capacity(100);
        single.fill(&mut draft, 4);
        single.handle_all_arrived();
        assert_eq!(single.upload(id), Upload::Pending, "some of it was sent");
        single.fill(&mut draft, 100);
        single.handle_all_arrived();

        assert_eq!(single.upload(id), Upload::Delivered);
        assert_eq!(single.poll_change(), Some(Change::Readable(id)));
        assert_eq!(draft.len(), 10);
        assert_eq!(single.traffic(), (10, 0));
    }

    #[test]
    fn a_full_outbox_is_told_when_it_has_room() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();

        assert_eq!(
            single.write(id, &vec![7; MAX_UNSENT + 1]),
            Write::Accepted(MAX_UNSENT)
        );
        assert_eq!(single.write(id, b"more"), Write::Full);
        let mut draft = Draft::with_capacity(MAX_UNSENT);
        single.fill(&mut draft, MAX_UNSENT);

        assert_eq!(single.poll_change(), Some(Change::Writable(id)));
        assert!(!single.has_output());
    }
}
