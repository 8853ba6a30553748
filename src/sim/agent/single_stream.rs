//! A single destination without a mux: old clients, old agents, and `AWS-StartSSHSession`.
//!
//! ```text
//!             dialled                    read end, flag 1
//!  Dialling ──────────▶ Open ─────────────────────────────▶ Closed   (SSH: session ends)
//!     ▲   └─ refused: the worker crashes                      │
//!     └────────────── the next Output payload ────────────────┘
//! ```
//!
//! A payload is written before it is acknowledged, so only one message is in hand and nothing else
//! is read meanwhile (docs/protocol.md, sections 7 and 10).

use bytes::Bytes;

use crate::wire::smux::StreamId;

use super::{ConnectionId, Event, Out};

/// The destination of a session.
#[derive(Debug)]
pub(super) struct SingleStream {
    state: DestinationState,
    serial: u64,
    /// Payload that waits for the dial.
    payload: Option<Bytes>,
    unwritten: usize,
}

impl SingleStream {
    /// Starts with a dial.
    pub(super) fn new(out: &mut Out) -> Self {
        let mut basic = Self {
            state: DestinationState::Closed,
            serial: 0,
            payload: None,
            unwritten: 0,
        };
        basic.dial(out);
        basic
    }

    /// Starts to write a payload; no other is accepted until it is written or has failed.
    pub(super) fn receive(&mut self, out: &mut Out, payload: Bytes) {
        self.unwritten = payload.len();
        match self.state {
            DestinationState::Open(id) => out.events.push_back(Event::Write(id, payload)),
            DestinationState::Closed => {
                self.payload = Some(payload);
                self.dial(out);
            }
            DestinationState::Dialling(_) => self.payload = Some(payload),
        }
    }

    /// Handles a successful dial.
    pub(super) fn connected(&mut self, out: &mut Out, id: ConnectionId) {
        if !matches!(self.state, DestinationState::Dialling(dialled) if dialled == id) {
            return;
        }
        self.state = DestinationState::Open(id);
        let payload = self.payload.take();
        out.events
            .extend(payload.map(|data| Event::Write(id, data)));
    }

    /// Handles the write of `len` bytes. Returns true if the payload in hand is now written.
    pub(super) fn written(&mut self, id: ConnectionId, len: usize) -> bool {
        if !self.is_open(id) || self.unwritten == 0 {
            return false;
        }
        self.unwritten = self.unwritten.saturating_sub(len);
        self.unwritten == 0
    }

    /// Closes the destination, because it ended or the client requested it.
    pub(super) fn close(&mut self, out: &mut Out) {
        if let DestinationState::Open(id) | DestinationState::Dialling(id) = self.state {
            out.events.push_back(Event::Close(id));
        }
        self.state = DestinationState::Closed;
        self.payload = None;
        self.unwritten = 0;
    }

    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        matches!(self.state, DestinationState::Open(open) if open == id)
    }

    pub(super) fn is_dialling(&self, id: ConnectionId) -> bool {
        matches!(self.state, DestinationState::Dialling(dialled) if dialled == id)
    }

    fn dial(&mut self, out: &mut Out) {
        self.serial += 1;
        let id = ConnectionId {
            stream: StreamId(0),
            serial: self.serial,
        };
        self.state = DestinationState::Dialling(id);
        out.events.push_back(Event::Dial(id));
    }
}

#[derive(Clone, Copy, Debug)]
enum DestinationState {
    Dialling(ConnectionId),
    Open(ConnectionId),
    Closed,
}
