//! A session with one connection and no mux: `AWS-StartSSHSession`.
//!
//! The payloads of each direction are the bytes of the connection and nothing else. The agent
//! dials before it is ready, so bytes may arrive before the stream is opened here; they are kept.
//!
//! ```text
//!   agent ready: connected ── bytes both ways ──┬── channel_closed, nothing missing ──▶ End
//!                                               └── anything else ──▶ Lost
//! ```
//!
//! "Nothing missing" is derived from the received bytes (`proto/channel/tail_check.rs`) and from
//! the acknowledgements (`proto/channel/accounts.rs`, `proto/inquiry.rs`). If the destination
//! closes before it has taken everything that was written, that is a loss.
//!
//! There is no frame for an end. Ours cannot be sent without closing both directions, so it is
//! held back, as in a mux; the destination's is the end of the session. After the local side has
//! disconnected, its bytes count as delivered when all of them are acknowledged.
//!
//! Limits: there is no replay guard, so bytes that an agent processes twice (docs/protocol.md,
//! section 6.5 item 2) arrive twice, which ssh detects. An end by Session Manager without a
//! reason, such as a timeout, cannot be distinguished from one by the destination; protocols that
//! need the distinction have an end marker of their own, as ssh does.
//!
//! Specification: docs/protocol.md, sections 7 and 10.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::Reason;
use super::event::{Event, Read};
use super::mux::{MAX_UNSENT, NextFrame, RemoteSide, Stream, Upload, Write, max_of_stream};
use crate::wire::message::Draft;
use crate::wire::smux::StreamId;

/// The only connection of a session.
#[derive(Debug)]
pub(super) struct SingleStream {
    stream: Stream,
    life: LocalSide,
    events: VecDeque<Event>,
}

impl SingleStream {
    /// Creates the connection, not yet opened on our side.
    pub(super) fn new() -> Self {
        let mut stream = Stream::new();
        // There is no SYN: the agent has already connected.
        stream.sent_open();
        Self {
            stream,
            life: LocalSide::Unopened,
            events: VecDeque::new(),
        }
    }

    /// Opens the stream. Returns `None` from the second call on.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        let is_first = self.life == LocalSide::Unopened;
        is_first.then(|| {
            self.life = LocalSide::Open;
            ONLY
        })
    }

    /// Returns true if bytes are waiting for a stream that is not opened yet.
    pub(super) fn has_remainder(&self) -> bool {
        self.life == LocalSide::Unopened && self.stream.unread() > 0
    }

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

    /// Returns bytes from the destination, at most `max`.
    pub(super) fn read(&mut self, id: StreamId, max: usize) -> Read {
        if !self.is_known(id) {
            return Read::Lost(Reason::Finished);
        }
        match (self.stream.read(max), self.stream.theirs()) {
            (Some(chunk), _) => Read::Data(chunk),
            (None, RemoteSide::Ended) => Read::End,
            (None, RemoteSide::Refused) => Read::Lost(Reason::Refused),
            (None, RemoteSide::Open | RemoteSide::Ending | RemoteSide::Undecided) => {
                self.stream.reader_waits = true;
                Read::Blocked
            }
        }
    }

    /// The local side will write no more. Nothing is sent for it.
    pub(super) fn finish(&mut self, id: StreamId) {
        if self.is_known(id) {
            self.stream.finish();
        }
    }

    /// The local side has disconnected. Queued bytes are still sent.
    pub(super) fn reset(&mut self, id: StreamId) {
        if self.is_known(id) {
            self.life = LocalSide::Reset;
            self.stream.reset();
        }
    }

    /// Bytes from the destination were received.
    pub(super) fn handle_output(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.stream.handle_data(&bytes);
            self.wake_reader();
        }
    }

    /// The agent could not connect to the destination.
    pub(super) fn handle_refusal(&mut self) {
        self.stream.handle_refusal();
        // There is no other stream that it could be about.
        self.stream.decide_refusal(true);
        self.wake_both();
    }

    /// The destination closed, and none of its bytes are missing.
    pub(super) fn handle_end(&mut self) {
        self.stream.handle_finish();
        self.stream.confirm_end();
        self.wake_both();
    }

    fn wake_both(&mut self) {
        self.wake_reader();
        self.wake_writer();
    }

    /// Everything sent is acknowledged.
    pub(super) fn handle_all_arrived(&mut self) {
        if self.life == LocalSide::Reset && self.stream.intent() != NextFrame::Data {
            self.life = LocalSide::Forgotten;
            self.wake_reader();
        }
    }

    fn wake_reader(&mut self) {
        if std::mem::take(&mut self.stream.reader_waits) {
            self.events.push_back(Event::Readable(ONLY));
        }
    }

    fn wake_writer(&mut self) {
        if std::mem::take(&mut self.stream.writer_waits) {
            self.events.push_back(Event::Writable(ONLY));
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

    /// Returns the result of the upload. If it is still pending, [`Event::Readable`] follows when
    /// it is known.
    pub(super) fn upload(&mut self, id: StreamId) -> Upload {
        match self.life {
            LocalSide::Forgotten if id == ONLY => return Upload::Delivered,
            LocalSide::Open | LocalSide::Reset | LocalSide::Forgotten | LocalSide::Unopened => {}
        }
        let upload = self.stream.upload();
        self.stream.reader_waits |= upload == Upload::Pending;
        upload
    }

    /// Returns the next readiness change for the owner of the stream.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns true if there are bytes to send.
    pub(super) fn has_output(&self) -> bool {
        self.stream.intent() == NextFrame::Data
    }

    /// Returns false while the receive budget is used up.
    pub(super) fn wants_input(&self) -> bool {
        self.stream.unread() < max_of_stream()
    }

    pub(super) fn unread(&self) -> usize {
        self.stream.unread()
    }

    /// Returns the stream while it is open and its state is still needed.
    pub(super) fn id(&self) -> Option<StreamId> {
        self.is_known(ONLY).then_some(ONLY)
    }

    /// Returns the stream if bytes were sent on it since it last received any.
    pub(super) fn suspect(&self) -> Option<StreamId> {
        self.id().filter(|_| self.stream.sent_since_receipt() > 0)
    }

    /// Bytes sent and received.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.stream.sent, self.stream.received)
    }

    fn is_known(&self, id: StreamId) -> bool {
        id == ONLY && matches!(self.life, LocalSide::Open | LocalSide::Reset)
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.stream.unsent() <= MAX_UNSENT, "the outbox is bounded");
    }
}

/// State of the local side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalSide {
    Unopened,
    Open,
    /// Reset, with unacknowledged bytes.
    Reset,
    /// Reset, and everything is acknowledged.
    Forgotten,
}

/// Id of the only stream; a mux never assigns it.
const ONLY: StreamId = StreamId(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_received_before_the_stream_is_opened_are_kept() {
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
    fn an_end_is_read_after_the_last_byte() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();
        assert_eq!(single.read(id, 1), Read::Blocked);

        single.handle_output(Bytes::from_static(b"by"));
        single.handle_end();

        assert_eq!(single.poll_event(), Some(Event::Readable(id)));
        assert_eq!(single.read(id, 1), Read::Data(Bytes::from_static(b"b")));
        assert_eq!(single.read(id, 1), Read::Data(Bytes::from_static(b"y")));
        assert_eq!(single.read(id, 1), Read::End);
        assert_eq!(single.write(id, b"x"), Write::Closed);
    }

    #[test]
    fn the_upload_of_a_reset_stream_is_delivered_when_all_of_it_was_sent_and_acknowledged() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();
        assert_eq!(single.write(id, b"last bytes"), Write::Accepted(10));

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
        assert_eq!(single.poll_event(), Some(Event::Readable(id)));
        assert_eq!(draft.len(), 10);
        assert_eq!(single.traffic(), (10, 0));
    }

    #[test]
    fn the_writer_of_a_full_outbox_is_woken_when_it_has_room() {
        let mut single = SingleStream::new();
        let id = single.open().unwrap();

        assert_eq!(
            single.write(id, &vec![7; MAX_UNSENT + 1]),
            Write::Accepted(MAX_UNSENT)
        );
        assert_eq!(single.write(id, b"more"), Write::Full);
        let mut draft = Draft::with_capacity(MAX_UNSENT);
        single.fill(&mut draft, MAX_UNSENT);

        assert_eq!(single.poll_event(), Some(Event::Writable(id)));
        assert!(!single.has_output());
    }
}
