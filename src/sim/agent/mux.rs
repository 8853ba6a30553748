//! The smux server of an agent: streams, serial dials, and one budget for what waits unwritten.
//!
//! ```text
//!  SYN ─▶ queued ─▶ dialling ─▶ open ──┬─ client's FIN: write what came, close, FIN ─▶ gone
//!                       │              └─ destination's end: FIN after all it said ──▶ gone
//!                       └─ refused: flag 3, FIN ─▶ gone
//! ```
//!
//! A single loop dials, one stream after the other. Whatever arrives for a stream that is gone
//! is swallowed, and every stream ends with exactly one FIN (protocol.md sections 8.3 to 8.6).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::smux::{Command, Decoder, FrameError, FrameEvent, Header, StreamId};

use super::{ConnectionId, Event, Out};

/// The streams of one session.
#[derive(Debug, Default)]
pub(super) struct Mux {
    decoder: Decoder,
    streams: BTreeMap<StreamId, Stream>,
    /// SYNs that the accept loop has not taken up.
    backlog: VecDeque<StreamId>,
    dialling: Option<StreamId>,
    /// Bytes in all streams that no destination has taken.
    unwritten: usize,
    serial: u64,
    /// A bad frame came while no stream was open: it acknowledges, and does nothing else.
    zombie: bool,
    keep_alive: Option<KeepAlive>,
}

impl Mux {
    pub(super) fn new(keep_alive: Option<Instant>) -> Self {
        Self {
            keep_alive: keep_alive.map(KeepAlive::new),
            ..Self::default()
        }
    }

    /// Takes in the next bytes of the client.
    ///
    /// # Errors
    ///
    /// If they are no frames while a stream is open; the session is over then.
    pub(super) fn receive(&mut self, out: &mut Out, input: Bytes) -> Result<(), FrameError> {
        if self.zombie {
            return Ok(());
        }
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard = true;
        }
        self.decoder.push(input);
        loop {
            match self.decoder.poll() {
                Ok(Some(piece)) => self.take(out, piece),
                Ok(None) => return Ok(()),
                Err(error) if !self.streams.is_empty() => return Err(error),
                Err(_) => {
                    self.zombie = true;
                    return Ok(());
                }
            }
        }
    }

    /// A dial has ended, well or not. False if it failed and the client must be told.
    pub(super) fn dialled(&mut self, out: &mut Out, id: ConnectionId, connected: bool) {
        if self.dialling != Some(id.stream) {
            return;
        }
        self.dialling = None;
        if connected {
            self.open(out, id);
        } else {
            self.drop_stream(out, id.stream);
        }
        self.dial_next(out);
    }

    /// The destination said something.
    pub(super) fn read(&mut self, out: &mut Out, id: ConnectionId, mut data: Bytes) {
        if !self.is_open(id) {
            return;
        }
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(MAX_FRAME));
            let length = u16::try_from(chunk.len()).expect("a frame is at most 32,768 bytes");
            out.outbox.push(encoded(Header::push(id.stream, length)));
            out.outbox.push(chunk);
        }
    }

    /// The destination ended its side, or the connection broke: the two look the same.
    pub(super) fn ended(&mut self, out: &mut Out, id: ConnectionId) {
        if self.is_open(id) {
            self.drop_stream(out, id.stream);
        }
    }

    /// The destination took `len` bytes.
    pub(super) fn written(&mut self, out: &mut Out, id: ConnectionId, len: usize) {
        if !self.is_open(id) {
            return;
        }
        let Some(stream) = self.streams.get_mut(&id.stream) else {
            return;
        };
        let len = len.min(stream.unwritten);
        stream.unwritten -= len;
        self.unwritten -= len;
        if stream.is_done() {
            self.drop_stream(out, id.stream);
        }
    }

    /// Sends and expects signs of life.
    ///
    /// # Errors
    ///
    /// If nothing at all came for a whole window; the session is over then.
    pub(super) fn handle_timeout(&mut self, out: &mut Out, now: Instant) -> Result<(), Silent> {
        let Some(keep_alive) = &mut self.keep_alive else {
            return Ok(());
        };
        if keep_alive.next_nop <= now {
            keep_alive.next_nop = now + NOP_INTERVAL;
            out.outbox
                .push(encoded(Header::bare(Command::Nop, StreamId(0))));
        }
        if keep_alive.next_check <= now {
            keep_alive.next_check = now + SILENCE_LIMIT;
            if !std::mem::take(&mut keep_alive.heard) {
                return Err(Silent);
            }
        }
        Ok(())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.as_ref()?;
        Some(keep_alive.next_nop.min(keep_alive.next_check))
    }

    /// Closes every destination; the session is over.
    pub(super) fn close(&mut self, out: &mut Out) {
        for stream in self.streams.values() {
            out.events.extend(stream.connection.map(Event::Close));
        }
        *self = Self::default();
        self.zombie = true;
    }

    /// The bytes of the client are no frames: every destination is closed, and each stream gets its
    /// FIN, although its destination has not ended. From now on input is taken and ignored.
    pub(super) fn disconnect(&mut self, out: &mut Out) {
        for (id, stream) in std::mem::take(&mut self.streams) {
            out.events.extend(stream.connection.map(Event::Close));
            out.outbox.push(encoded(Header::bare(Command::Fin, id)));
        }
        *self = Self::default();
        self.zombie = true;
    }

    /// Whether the receive loop runs; if not, nothing at all is read.
    pub(super) fn has_room(&self) -> bool {
        self.unwritten < BUDGET && self.backlog.len() <= MAX_BACKLOG
    }

    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        self.streams
            .get(&id.stream)
            .is_some_and(|stream| stream.open && stream.connection == Some(id))
    }

    fn take(&mut self, out: &mut Out, piece: FrameEvent) {
        match piece {
            FrameEvent::Open(id) => self.accept(out, id),
            FrameEvent::Data(id, data) => self.push(out, id, data),
            FrameEvent::Finish(id) => self.finish(out, id),
        }
    }

    fn accept(&mut self, out: &mut Out, id: StreamId) {
        if self.streams.contains_key(&id) {
            return;
        }
        self.streams.insert(id, Stream::default());
        self.backlog.push_back(id);
        self.dial_next(out);
    }

    fn push(&mut self, out: &mut Out, id: StreamId, data: Bytes) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.unwritten += data.len();
        self.unwritten += data.len();
        match stream.connection.filter(|_| stream.open) {
            Some(connection) => out.events.push_back(Event::Write(connection, data)),
            None => stream.early.push(data),
        }
    }

    fn finish(&mut self, out: &mut Out, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.finished = true;
        if stream.is_done() {
            self.drop_stream(out, id);
        }
    }

    fn dial_next(&mut self, out: &mut Out) {
        if self.dialling.is_some() {
            return;
        }
        let Some(id) = self.backlog.pop_front() else {
            return;
        };
        self.serial += 1;
        let connection = ConnectionId {
            stream: id,
            serial: self.serial,
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.connection = Some(connection);
        }
        self.dialling = Some(id);
        out.events.push_back(Event::Dial(connection));
    }

    fn open(&mut self, out: &mut Out, id: ConnectionId) {
        let Some(stream) = self.streams.get_mut(&id.stream) else {
            return;
        };
        stream.open = true;
        let early = stream.early.drain(..);
        out.events.extend(early.map(|data| Event::Write(id, data)));
        if stream.is_done() {
            self.drop_stream(out, id.stream);
        }
    }

    /// Ends a stream: its FIN goes behind all that its destination said.
    fn drop_stream(&mut self, out: &mut Out, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        self.unwritten -= stream.unwritten;
        let connection = stream.connection.filter(|_| stream.open);
        out.events.extend(connection.map(Event::Close));
        out.outbox.push(encoded(Header::bare(Command::Fin, id)));
    }
}

/// Nothing came for a whole window of the keep-alive.
#[derive(Debug)]
pub(super) struct Silent;

#[derive(Debug, Default)]
struct Stream {
    /// Its dial, once that has begun.
    connection: Option<ConnectionId>,
    open: bool,
    /// What came before the dial was done.
    early: Vec<Bytes>,
    unwritten: usize,
    /// The client's FIN came.
    finished: bool,
}

impl Stream {
    /// Everything that the client said is with the destination.
    fn is_done(&self) -> bool {
        self.finished && self.open && self.unwritten == 0
    }
}

/// NOPs, and how long the client may say nothing (protocol.md section 8.6).
#[derive(Debug)]
struct KeepAlive {
    next_nop: Instant,
    next_check: Instant,
    heard: bool,
}

impl KeepAlive {
    fn new(now: Instant) -> Self {
        Self {
            next_nop: now + NOP_INTERVAL,
            next_check: now + SILENCE_LIMIT,
            heard: false,
        }
    }
}

fn encoded(header: Header) -> Bytes {
    Bytes::copy_from_slice(&header.encode())
}

// The constants of smux (protocol.md section 8.3).
const BUDGET: usize = 4 << 20;
const MAX_FRAME: usize = 32_768;
const MAX_BACKLOG: usize = 1024;
const NOP_INTERVAL: Duration = Duration::from_secs(10);
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
