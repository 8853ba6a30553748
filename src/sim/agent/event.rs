//! Events from an agent to its driver.

use std::fmt;

use bytes::Bytes;

use crate::wire::smux::StreamId;

/// A request concerning a destination, or the end. Events must be handled in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Dial the destination; report with `handle_dialled` or `handle_dial_failed`.
    Dial(ConnectionId),
    /// Write data after all previous data; report progress with `handle_written`.
    Write(ConnectionId, Bytes),
    /// Close the destination completely and at once; unwritten data is discarded.
    Close(ConnectionId),
    /// The session has ended; Session Manager must report it to the client with this text.
    Ended(End),
}

/// Id of one dial of an agent; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(super) stream: StreamId,
    pub(super) serial: u64,
}

impl ConnectionId {
    /// Returns the stream to dial for; 0 without a mux.
    pub fn stream(self) -> StreamId {
        self.stream
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.serial)
    }
}

/// Reason why a destination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationEnd {
    /// The destination sent a FIN.
    Finished,
    /// The connection broke.
    Broken,
}

/// Result of a session, as seen by the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Success or failure.
    pub outcome: Outcome,
    /// Text for `channel_closed`; empty on success.
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

/// Success or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session was ended on purpose, or its destination ended.
    Success,
    /// The session failed.
    Failed,
}
