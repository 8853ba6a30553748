//! Multiplexes many streams over one byte stream.
//!
//! Streams take turns message by message, and those that send little go first: a keystroke never
//! waits behind a megabyte of another stream. Frames are cut when a message is about to be sent,
//! so a turn lasts one message at most; only the frames of the replay guard span two messages.
//!
//! ```text
//!   turns: 3 ─▶ 7 ─▶ 5        fill: [SYN 7][PSH 7 …]   then 7 goes behind 5, if it has more
//! ```
//!
//! Specification: docs/protocol.md, section 8.

mod ends;
mod outcome;
mod receive_budget;
mod refused_dials;
mod replay_guard;
mod scheduler;
mod stream;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tracing::trace;

pub use self::outcome::{Upload, Write};
use self::receive_budget::Budget;
use self::refused_dials::RefusedDials;
use self::replay_guard::ReplayGuard;
use self::scheduler::{Scheduler, SendQueue};
pub(crate) use self::stream::{NextFrame, RemoteSide, Stream};
use crate::proto::channel::Share;
use crate::proto::error::Reason;
use crate::proto::event::{Event, Read};
use crate::wire::message::{Draft, Seq};
use crate::wire::smux::{Command, Decoder, FrameError, FrameEvent, Header, StreamId};

pub(crate) use self::receive_budget::max_of_stream;
pub use self::receive_budget::{MAX_UNREAD_OF_STREAM, MAX_UNREAD_OF_TUNNEL};
pub use self::stream::MAX_UNSENT;

/// The streams of a tunnel.
#[derive(Debug)]
pub(crate) struct Mux {
    streams: BTreeMap<StreamId, Stream>,
    turns: Scheduler,
    next: StreamId,
    replay_guard: ReplayGuard,
    decoder: Decoder,
    budget: Budget,
    refused_dials: RefusedDials,
    events: VecDeque<Event>,
    /// Streams whose FIN was received but neither confirmed nor taken by [`Mux::poll_end`].
    ends: VecDeque<StreamId>,
    /// A NOP frame must be sent.
    nop_due: bool,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Mux {
    pub(crate) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            turns: Scheduler::default(),
            next: FIRST,
            replay_guard: ReplayGuard::default(),
            decoder: Decoder::new(),
            budget: Budget::new(),
            refused_dials: RefusedDials::new(),
            events: VecDeque::new(),
            ends: VecDeque::new(),
            nop_due: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Opens a stream. Returns `None` when the ids are used up; an id is never reused.
    pub(crate) fn open(&mut self) -> Option<StreamId> {
        let id = self.next;
        if id > replay_guard::MAX_STREAM {
            return None;
        }
        self.next = StreamId(id.0 + STEP);
        self.streams.insert(id, Stream::new());
        self.turns.push(SendQueue::Interactive, id);
        Some(id)
    }

    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) -> Write {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Write::Closed;
        };
        let idle = stream.intent() == NextFrame::Nothing;
        match stream.write(data) {
            None => Write::Closed,
            Some(0) if !data.is_empty() => {
                stream.writer_waits = true;
                Write::Full
            }
            Some(taken) => {
                if idle && stream.intent() != NextFrame::Nothing {
                    self.turns.push(stream.queue(), id);
                }
                Write::Accepted(taken)
            }
        }
    }

    /// Returns bytes from the agent, at most `max`.
    pub(crate) fn read(&mut self, id: StreamId, max: usize) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Read::Lost(Reason::Finished);
        };
        let unread = stream.unread();
        match (stream.read(max), stream.theirs()) {
            (Some(chunk), _) => {
                self.budget.remove(unread, chunk.len());
                Read::Data(chunk)
            }
            (None, RemoteSide::Ended) => Read::End,
            (None, RemoteSide::Refused) => Read::Lost(stream.refusal()),
            (None, RemoteSide::Open | RemoteSide::Ending | RemoteSide::Undecided) => {
                stream.reader_waits = true;
                Read::Blocked
            }
        }
    }

    /// Half-closes the local side; see [`Stream::finish`].
    pub(crate) fn finish(&mut self, id: StreamId) {
        self.change(id, Stream::finish);
    }

    /// The local side has disconnected; see [`Stream::reset`].
    pub(crate) fn reset(&mut self, id: StreamId) {
        let Some(unread) = self.streams.get(&id).map(Stream::unread) else {
            return;
        };
        let dropped = self.change(id, Stream::reset).unwrap_or_default();
        self.budget.remove(unread, dropped);
        self.forget_if_over(id);
    }

    /// Changes a stream and queues it if it now has something to send.
    fn change<T>(&mut self, id: StreamId, verb: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let stream = self.streams.get_mut(&id)?;
        let idle = stream.intent() == NextFrame::Nothing;
        let outcome = verb(stream);
        if idle && stream.intent() != NextFrame::Nothing {
            self.turns.push(stream.queue(), id);
        }
        Some(outcome)
    }

    /// Handles the next bytes of the agent's mux.
    ///
    /// # Errors
    ///
    /// If they are not valid frames. The error is final.
    pub(crate) fn handle_output(&mut self, input: Bytes) -> Result<(), FrameError> {
        self.decoder.push(input);
        while let Some(piece) = self.decoder.poll()? {
            trace!(%piece, "received");
            match piece {
                FrameEvent::Data(id, data) => self.handle_data(id, data),
                FrameEvent::Finish(id) => self.handle_finish(id),
                // Agents never open streams (docs/protocol.md, section 8.2).
                FrameEvent::Open(_) => {}
            }
        }
        Ok(())
    }

    fn handle_data(&mut self, id: StreamId, data: Bytes) {
        self.refused_dials.handle_data(id);
        self.end_refused();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        self.bytes_received += data.len() as u64;
        let unread = stream.unread();
        let kept = stream.handle_data(&data);
        self.budget.add(unread, kept);
        self.leave_discard_phase();
        self.wake_reader(id);
    }

    fn wake_reader(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut stream.reader_waits) {
            self.events.push_back(Event::Readable(id));
        }
    }

    fn wake_writer(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut stream.writer_waits) {
            self.events.push_back(Event::Writable(id));
        }
    }

    fn forget_if_over(&mut self, id: StreamId) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.wake_reader(id);
            self.streams.remove(&id);
            self.turns.remove(id);
        }
    }

    /// Fills message `seq` with frames of up to `max` bytes, stream by stream.
    pub(crate) fn fill(&mut self, draft: &mut Draft, max: usize, seq: Seq) {
        if !self.has_output() {
            return;
        }
        self.replay_guard.begin(draft);
        self.fill_by_turns(draft, max - self.replay_guard.len(), seq);
        self.replay_guard.end(draft);
    }

    fn fill_by_turns(&mut self, draft: &mut Draft, max: usize, seq: Seq) {
        if std::mem::take(&mut self.nop_due) {
            put(draft, Header::bare(Command::Nop, StreamId(0)));
        }
        let half = draft.len() + (max.saturating_sub(draft.len()) / 2).max(MIN_INTERACTIVE);
        self.fill_from(SendQueue::Interactive, draft, half.min(max), seq);
        self.fill_from(SendQueue::Bulk, draft, max, seq);
        self.fill_from(SendQueue::Interactive, draft, max, seq);
    }

    fn fill_from(&mut self, queue: SendQueue, draft: &mut Draft, max: usize, seq: Seq) {
        for _ in 0..self.turns.len(queue) {
            let Some(id) = self.turns.pop(queue) else {
                return;
            };
            if max.saturating_sub(draft.len()) <= Header::LEN {
                self.turns.push_front(queue, id);
                return;
            }
            self.send_from(id, draft, max, seq);
        }
    }

    fn send_from(&mut self, id: StreamId, draft: &mut Draft, max: usize, seq: Seq) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        loop {
            let room = max.saturating_sub(draft.len());
            match stream.intent() {
                NextFrame::Nothing => break,
                _ if room < Header::LEN => break,
                NextFrame::Open => {
                    put(draft, Header::bare(Command::Syn, id));
                    stream.sent_open();
                }
                NextFrame::Finish => {
                    put(draft, Header::bare(Command::Fin, id));
                    stream.sent_finish();
                }
                NextFrame::Data if room == Header::LEN => break,
                NextFrame::Data => {
                    let len = (room - Header::LEN).min(stream.unsent()).min(MAX_FRAME);
                    let length = u16::try_from(len).unwrap_or(u16::MAX);
                    put(draft, Header::push(id, length));
                    let sent = stream.drain_into(usize::from(length), draft.payload());
                    stream.last_data = Some(seq);
                    self.bytes_sent += sent as u64;
                }
            }
        }
        if stream.intent() != NextFrame::Nothing {
            self.turns.push(SendQueue::Bulk, id);
        }
        if stream.has_room() {
            self.wake_writer(id);
        }
        self.forget_if_over(id);
    }

    pub(crate) fn send_nop(&mut self) {
        self.nop_due = true;
    }

    /// Returns the next readiness change for the owner of a stream.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns true if a stream has something to send.
    pub(crate) fn has_output(&self) -> bool {
        self.nop_due || !self.turns.is_empty()
    }

    /// Returns false while the receive budget is used up.
    pub(crate) fn wants_input(&self) -> bool {
        self.budget.has_room()
    }

    /// Returns the number of unread bytes of all streams.
    pub(crate) fn unread(&self) -> usize {
        self.budget.unread()
    }

    /// Returns whether streams share the channel.
    pub(crate) fn share(&self) -> Share {
        match self.streams.len() {
            ..=1 => Share::Alone,
            _ => Share::Shared,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.streams.keys().copied()
    }

    /// Returns the stream with the most bytes sent since it last received any.
    pub(crate) fn suspect(&self) -> Option<StreamId> {
        let sent_since_receipt = |(_, stream): &(_, &Stream)| stream.sent_since_receipt();
        let streams = self.streams.iter().filter(|s| sent_since_receipt(s) > 0);
        streams.max_by_key(sent_since_receipt).map(|(id, _)| *id)
    }

    /// Bytes sent and received on one stream, without frame headers.
    pub(crate) fn traffic_of(&self, id: StreamId) -> (u64, u64) {
        let stream = self.streams.get(&id);
        stream.map_or((0, 0), |stream| (stream.sent, stream.received))
    }

    /// Bytes sent and received on all streams, without frame headers.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.bytes_sent, self.bytes_received)
    }

    /// Asserts the invariants; called in debug builds after every method of the tunnel.
    pub(crate) fn assert_invariants(&self) {
        let unread: usize = self.streams.values().map(Stream::unread).sum();
        assert_eq!(
            self.budget.unread(),
            unread,
            "the budget counts unread bytes"
        );
        for (id, stream) in &self.streams {
            let turns = self.turns.iter().filter(|turn| turn == id).count();
            let wanted = usize::from(stream.intent() != NextFrame::Nothing);
            assert_eq!(
                turns, wanted,
                "stream {id} with pending frames is queued once"
            );
            assert!(stream.unsent() <= MAX_UNSENT, "the outbox is bounded");
        }
        assert!(
            self.turns.iter().all(|id| self.streams.contains_key(&id)),
            "the queue contains open streams only"
        );
    }
}

fn put(draft: &mut Draft, header: Header) {
    trace!(%header, "sending");
    draft.payload().extend_from_slice(&header.encode());
}

/// The first id of the reference library's client, and its step (docs/protocol.md, section 8.2).
const FIRST: StreamId = StreamId(3);
const STEP: u32 = 2;

/// A frame of this size always fits the share of the interactive streams.
const MIN_INTERACTIVE: usize = 64;

/// Maximum data of a frame in the reference library (docs/protocol.md, section 8.3).
const MAX_FRAME: usize = 32_768;

#[cfg(test)]
mod tests;
