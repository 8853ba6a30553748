//! The agent's smux server: streams, serial dials, and one budget for unwritten bytes.
//!
//! ```text
//!   SYN ─▶ queued ─▶ dialling ─▶ open ──┬─ client's FIN: write all data, close, FIN ─▶ closed
//!                        │              └─ destination's end: FIN after its data ────▶ closed
//!                        └─ refused: flag 3, FIN ─▶ closed
//! ```
//!
//! A single loop dials, one stream after the other. Data for a closed stream is discarded, and
//! every stream ends with exactly one FIN (docs/protocol.md, sections 8.3 to 8.6).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::smux::{Command, Decoder, FrameError, FrameEvent, Header, StreamId};

use super::{ConnectionId, Event, Out};

/// The streams of a session.
#[derive(Debug, Default)]
pub(super) struct Mux {
    decoder: Decoder,
    streams: BTreeMap<StreamId, AgentStream>,
    /// Streams opened by the client and not yet taken by the accept loop.
    backlog: VecDeque<StreamId>,
    dialling: Option<StreamId>,
    /// Bytes in all streams that no destination has accepted.
    unwritten: usize,
    serial: u64,
    /// An invalid frame arrived while no stream was open: input is acknowledged and ignored.
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

    /// Handles the next bytes of the client.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not valid frames and a stream is open; the session then ends.
    pub(super) fn receive(&mut self, out: &mut Out, input: Bytes) -> Result<(), FrameError> {
        if self.zombie {
            return Ok(());
        }
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.received = true;
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

    /// Handles the result of a dial: opens the stream, or ends it if the dial failed.
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

    /// Forwards data of a destination to the client.
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

    /// Handles the end of a destination; FIN and a broken connection are treated alike.
    pub(super) fn ended(&mut self, out: &mut Out, id: ConnectionId) {
        if self.is_open(id) {
            self.drop_stream(out, id.stream);
        }
    }

    /// Handles the write of `len` bytes to a destination.
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

    /// Sends NOPs and checks for input when due.
    ///
    /// # Errors
    ///
    /// Fails if nothing arrived within [`SILENCE_LIMIT`]; the session then ends.
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
            if !std::mem::take(&mut keep_alive.received) {
                return Err(Silent);
            }
        }
        Ok(())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.as_ref()?;
        Some(keep_alive.next_nop.min(keep_alive.next_check))
    }

    /// Closes all destinations at the end of the session.
    pub(super) fn close(&mut self, out: &mut Out) {
        for stream in self.streams.values() {
            out.events.extend(stream.connection.map(Event::Close));
        }
        *self = Self::default();
        self.zombie = true;
    }

    /// Handles invalid frames: closes every destination and sends a FIN for each stream, although
    /// its destination has not ended. Further input is accepted and ignored.
    pub(super) fn disconnect(&mut self, out: &mut Out) {
        for (id, stream) in std::mem::take(&mut self.streams) {
            out.events.extend(stream.connection.map(Event::Close));
            out.outbox.push(encoded(Header::bare(Command::Fin, id)));
        }
        *self = Self::default();
        self.zombie = true;
    }

    /// Returns true if the receive loop runs; if not, no messages are read at all.
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
        self.streams.insert(id, AgentStream::default());
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

    /// Ends a stream; its FIN is queued after all data of its destination.
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

/// Nothing was received within the keep-alive window.
#[derive(Debug)]
pub(super) struct Silent;

#[derive(Debug, Default)]
struct AgentStream {
    /// The dial, once started.
    connection: Option<ConnectionId>,
    open: bool,
    /// Data received before the dial has succeeded.
    early: Vec<Bytes>,
    unwritten: usize,
    /// Whether the client's FIN was received.
    finished: bool,
}

impl AgentStream {
    /// Returns true if the client has finished and all its data was written.
    fn is_done(&self) -> bool {
        self.finished && self.open && self.unwritten == 0
    }
}

/// NOP schedule and silence check (docs/protocol.md, section 8.6).
#[derive(Debug)]
struct KeepAlive {
    next_nop: Instant,
    next_check: Instant,
    received: bool,
}

impl KeepAlive {
    fn new(now: Instant) -> Self {
        Self {
            next_nop: now + NOP_INTERVAL,
            next_check: now + SILENCE_LIMIT,
            received: false,
        }
    }
}

fn encoded(header: Header) -> Bytes {
    Bytes::copy_from_slice(&header.encode())
}

// Constants of smux (docs/protocol.md, section 8.3).
const BUDGET: usize = 4 << 20;
const MAX_FRAME: usize = 32_768;
const MAX_BACKLOG: usize = 1024;
const NOP_INTERVAL: Duration = Duration::from_secs(10);
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
