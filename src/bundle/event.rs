//! Events of a bundle, and the results of its methods.

use bytes::Bytes;

use super::error::{HandshakeError, ProtocolError};
use super::handshake::RefusalClass;
use super::ids::{FlowId, StripeId};
use super::record::{Destination, FailureClass};
use crate::printable::Printable;

/// An event of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Relay: connect a flow, then call `handle_dialled` or `handle_dial_failed`.
    Open(FlowId, Destination),
    /// Daemon: the relay has connected the flow.
    Opened(FlowId),
    /// Daemon: the relay could not connect the flow, which has ended.
    Failed(FlowId, FailureClass, Printable),
    /// A read that returned [`Read::Blocked`] would now return something else.
    Readable(FlowId),
    /// A write that accepted fewer bytes than it was given would now accept some.
    Writable(FlowId),
    /// The flow was aborted: by the peer, or because the bundle has ended.
    Reset(FlowId),
    /// Daemon: the number of stripes that the bundle should have has changed.
    StripesWanted(usize),
    /// The stripe is removed: poll it once more, let its byte stream take what was polled, and close
    /// it.
    StripeClosed(StripeId, StripeEnd),
    /// The bundle has ended. No event follows.
    Ended(End),
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes; never empty.
    Data(Bytes),
    /// No data yet; [`Event::Readable`] follows.
    Blocked,
    /// The peer has ended this direction, and every byte of it was read.
    End,
    /// The flow was aborted, or does not exist (any longer).
    Reset,
}

/// Why a stripe was removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeEnd {
    /// It was no longer needed, or the bundle has ended.
    #[error("no longer needed")]
    Unneeded,
    /// The peer is not a relay.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The relay chose a version that this program does not speak.
    #[error("the relay speaks version {0} of the protocol, which is not supported")]
    Version(u8),
    /// The relay uses features that were not offered, or others than on another stripe.
    #[error("the relay uses features ({0:#x}) that were not agreed")]
    Features(u32),
    /// No answer to HELLO.
    #[error("no answer from the relay within {} s", super::limits::GREETING_TIMEOUT.as_secs())]
    NoWelcome,
    /// The relay rejected the stripe.
    #[error("rejected by the relay: {1}")]
    Refused(RefusalClass, Printable),
    /// Nothing was received for a long time.
    #[error("nothing received for {} s", super::limits::SILENCE_LIMIT.as_secs())]
    Silent,
}

/// Why a bundle has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// It was closed here.
    #[error("closed")]
    Closed,
    /// It was closed by the peer.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The peer reported an error.
    #[error("error reported by the peer: {0}")]
    ErrorAtPeer(Printable),
    /// The peer violated the protocol.
    #[error("protocol error: {0}")]
    Protocol(#[from] ProtocolError),
    /// The relay does not know the bundle: it was restarted, or the bundle was without stripes for
    /// too long.
    #[error("the relay no longer knows this bundle: {0}")]
    Forgotten(Printable),
    /// There was no stripe for too long.
    #[error("no connection between daemon and relay for too long")]
    Lost,
}
