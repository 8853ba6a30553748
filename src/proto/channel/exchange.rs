//! What a channel hands over: deliveries to its tunnel, frames to its driver.

use std::fmt;

use bytes::Bytes;

use super::version::AgentVersion;
use crate::wire::payload::Flag;

/// What a channel hands to its tunnel.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The handshake is over; the agent may not be ready yet.
    Complete {
        /// The agent's version.
        version: AgentVersion,
        /// A message for the user; may be empty.
        notice: String,
    },
    /// The next bytes of the agent's mux.
    Output(Bytes),
    /// The agent raised a flag.
    Flag(Flag),
    /// A message of ours was acknowledged.
    Arrived(Mark),
}

/// A message whose acknowledgement means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The agent's plugin is ready.
    Probe,
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

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening(_) => f.write_str("Opening(..)"),
            Self::Message(bytes) => write!(f, "Message({} B)", bytes.len()),
        }
    }
}
