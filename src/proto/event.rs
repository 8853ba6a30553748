//! What the owner of a tunnel chooses, and what it is told.

use std::time::Duration;

use bytes::Bytes;

use super::channel::ClientVersion;
use super::error::Reason;
use crate::printable::Printable;
use crate::wire::smux::StreamId;

/// What the owner of a tunnel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages per second towards the agent; 0 means no limit.
    pub upload_rate: u32,
    /// Payload bytes of a message towards the agent, frames included; at least 64.
    pub upload_payload: usize,
    /// Payload bytes that may be unacknowledged; at least one payload.
    pub upload_window: usize,
    /// Whether open streams keep the session from idling out.
    pub keep_alive: bool,
    /// Whether streams will share it: a session that carries only one is refused then.
    pub shared: bool,
    /// What the client claims to be; above 1.2.331.0.
    pub client_version: ClientVersion,
}

/// What happened in a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The agent is ready; streams may be opened.
    Ready {
        /// The agent's version.
        agent_version: Printable,
    },
    /// A read that was blocked would not block now.
    Readable(StreamId),
    /// A write that found no room would find some now.
    Writable(StreamId),
    /// The agent has a message for the user.
    Notice(Printable),
    /// The service objected to our rate: messages leave more slowly for a while.
    Lowered {
        /// Messages per second.
        rate: u32,
    },
    /// The agent has acknowledged nothing for long: a destination may not be reading.
    Silent {
        /// How long.
        silent: Duration,
        /// The stream that was sent most since it was last heard: its destination may be the one.
        suspect: Option<StreamId>,
    },
    /// For so long that the websocket should be replaced.
    Stale {
        /// How long.
        silent: Duration,
    },
    /// The tunnel has ended; nothing follows.
    Closed(Reason),
}

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes; never empty.
    Data(Bytes),
    /// None yet; [`Event::Readable`] follows.
    Blocked,
    /// The destination ended its side, and every byte of it was read.
    End,
    /// Whatever else ended the stream.
    Lost(Reason),
}

/// Why a stream was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The handshake and its probe are not over.
    #[error("the tunnel is not ready yet")]
    NotReady,
    /// 32,767 streams were opened on this tunnel, and no number is given twice.
    #[error("the tunnel has no more stream numbers")]
    Exhausted,
    /// The tunnel has ended.
    #[error("the tunnel ended")]
    Ended(#[source] Reason),
}
