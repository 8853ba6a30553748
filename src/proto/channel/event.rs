//! Events of a channel for its tunnel, frames for its driver, and pending acknowledgements.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::handshake::Completed;
use crate::wire::message::{Message, MessageId, Seq};
use crate::wire::payload::Flag;

/// An event of a channel for its tunnel.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    /// The handshake is complete; the agent may not be ready yet.
    HandshakeComplete(Completed),
    /// The next bytes of the agent's mux, or of its single connection.
    Output(Bytes),
    /// The agent sent a flag.
    Flag(Flag),
    /// A marked message was acknowledged. The time is when it was first sent.
    Acknowledged(AckMarker, Instant),
}

/// A message whose acknowledgement is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMarker {
    /// The readiness probe with this number.
    Probe(u32),
    /// The terminate flag: the agent is ending the session.
    Termination,
}

/// A frame to send on the websocket.
pub enum Transmit {
    /// A text frame that opens the channel. It contains the token.
    Opening(String),
    /// A binary frame with a message.
    Message(Bytes),
}

impl Transmit {
    /// Returns the length of the payload of the websocket frame, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Opening(text) => text.len(),
            Self::Message(bytes) => bytes.len(),
        }
    }

    /// Always false: there are no empty frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Prints one line, without the token and without payloads.
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

/// An acknowledgement to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingAck {
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    /// False for a duplicate.
    pub(super) is_new: bool,
}

/// Maximum number of acknowledgements queued for the websocket.
pub(super) const MAX_ACKNOWLEDGEMENTS: usize = 10_000;
