//! What an agent asks of its driver.

use std::fmt;

use bytes::Bytes;

use crate::wire::smux::StreamId;

/// Something to do with a destination, or the end. The order is the order of doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Dial the destination; answer with `handle_dialled` or `handle_dial_failed`.
    Dial(ConnectionId),
    /// Write this behind what was written before; answer with `handle_written` as it is taken.
    Write(ConnectionId, Bytes),
    /// Close the destination fully and at once; what is unwritten is discarded.
    Close(ConnectionId),
    /// The session is over; the service is to say so with this text.
    Ended(End),
}

/// One dial of one agent; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(super) stream: StreamId,
    pub(super) serial: u64,
}

impl ConnectionId {
    /// The stream that is dialled for; 0 without a mux.
    pub fn stream(self) -> StreamId {
        self.stream
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.serial)
    }
}

/// How a destination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationEnd {
    /// It sent a FIN.
    Finished,
    /// Its connection broke.
    Broken,
}

/// How a session ended, seen from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Well or not.
    pub outcome: Outcome,
    /// The text that `channel_closed` carries; empty on success.
    pub output: String,
}

impl End {
    pub(super) fn success() -> Self {
        Self {
            outcome: Outcome::Success,
            output: String::new(),
        }
    }

    pub(super) fn failed(output: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failed,
            output: output.into(),
        }
    }
}

/// Well or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody ended it on purpose, or its destination did.
    Success,
    /// Something went wrong.
    Failed,
}
