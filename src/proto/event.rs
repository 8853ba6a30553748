//! Options of a tunnel, its events, and the results of its methods.

use std::time::Duration;

use bytes::Bytes;

use super::channel::ClientVersion;
use super::error::Reason;
use crate::printable::Printable;
use crate::wire::smux::StreamId;

/// Options of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages per second towards the agent; 0 means no limit.
    pub upload_rate: u32,
    /// Payload bytes of a message towards the agent, frames included; at least 64.
    pub upload_payload: usize,
    /// Payload bytes that may be unacknowledged; at least one payload.
    pub upload_window: usize,
    /// True if open streams keep the session from reaching its idle timeout.
    pub keep_alive: bool,
    /// True if streams will share the session: one that carries a single stream is then refused.
    pub shared: bool,
    /// Client version sent to the agent; above 1.2.331.0.
    pub client_version: ClientVersion,
}

/// An event of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The agent is ready; streams may be opened.
    Ready {
        /// The agent's version.
        agent_version: Printable,
        /// Host and port that it connects to, from the resolved properties of the document.
        destination: Option<Printable>,
    },
    /// A read that returned [`Read::Blocked`] would now return something.
    Readable(StreamId),
    /// A write that was refused because the outbox was full would now be accepted.
    Writable(StreamId),
    /// The agent sent a message for the user.
    Notice(Printable),
    /// Session Manager limits our rate: messages are sent more slowly for a while.
    RateLowered {
        /// Messages per second.
        rate: u32,
    },
    /// No acknowledgement from the agent for a long time: a destination may have stopped reading.
    AckTimeout {
        /// Time without an acknowledgement.
        silent: Duration,
        /// The stream with the most bytes sent since it last received any: the likely cause.
        suspect: Option<StreamId>,
    },
    /// No acknowledgement for so long that the websocket should be replaced.
    WebsocketStale {
        /// Time without an acknowledgement.
        silent: Duration,
    },
    /// The tunnel has ended; no event follows.
    Closed(Reason),
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes; never empty.
    Data(Bytes),
    /// No data yet; [`Event::Readable`] follows.
    Blocked,
    /// The destination closed its side, and every byte of it was read.
    End,
    /// The stream ended for any other reason.
    Lost(Reason),
}

/// Error of opening a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The handshake and its readiness probes are not complete.
    #[error("the tunnel is not ready yet")]
    NotReady,
    /// 32,767 streams were opened on this tunnel; ids are not reused.
    #[error("the tunnel has no unused stream ids")]
    Exhausted,
    /// The tunnel has ended.
    #[error("the tunnel has ended")]
    Ended(#[source] Reason),
}
