//! What a channel hands over: deliveries to its tunnel, frames to its driver; and what it owes.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::handshake::Mode;
use super::version::AgentVersion;
use crate::printable::Printable;
use crate::proto::event::Event;
use crate::wire::message::{Message, MessageId, Seq};
use crate::wire::payload::Flag;

/// What a channel hands to its tunnel.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    /// The handshake is over; the agent may not be ready yet.
    Complete {
        /// The agent's version.
        version: AgentVersion,
        /// What its payloads carry.
        mode: Mode,
        /// A message for the user; may be empty.
        notice: Printable,
    },
    /// The next bytes of the agent's mux, or of its one connection.
    Output(Bytes),
    /// The agent raised a flag.
    Flag(Flag),
    /// A message of ours was acknowledged that first left then.
    Arrived(AckMarker, Instant),
    /// What the driver shall know, as it is.
    Tell(Event),
}

/// A message whose acknowledgement means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMarker {
    /// The probe of readiness with this number.
    Probe(u32),
    /// The agent is ending the session.
    Termination,
}

/// One frame for the websocket.
pub enum Transmit {
    /// Text: opens the channel. It carries the token.
    Opening(String),
    /// Binary: a message.
    Message(Bytes),
}

impl Transmit {
    /// Its bytes on the websocket, without the websocket's own.
    pub fn len(&self) -> usize {
        match self {
            Self::Opening(text) => text.len(),
            Self::Message(bytes) => bytes.len(),
        }
    }

    /// Never true: there are no empty frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// In one line, and without what it carries.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening(_) => f.write_str("Opening(..)"),
            Self::Message(bytes) => match Message::decode_unverified(bytes.clone()) {
                Ok(message) => fmt::Display::fmt(&message, f),
                Err(error) => fmt::Display::fmt(&error, f),
            },
        }
    }
}

/// An acknowledgement that is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingAck {
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    /// False for a duplicate.
    pub(super) is_new: bool,
}

/// Acknowledgements that may wait for the websocket.
pub(super) const MAX_ACKNOWLEDGEMENTS: usize = 10_000;
