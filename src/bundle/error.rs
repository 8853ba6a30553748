//! Errors of the protocol.

use super::ids::FlowId;
use crate::printable::Printable;

/// Error in a handshake message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The bytes are not those of a relay or daemon.
    #[error("expected the greeting of ssm-proxyd, got \"{0}\"")]
    NotRelay(Printable),
    /// Unknown kind of message.
    #[error("unknown handshake message {0}")]
    Kind(u8),
    /// The length does not fit the kind.
    #[error("handshake message {kind} of {len} bytes")]
    Length {
        /// Kind of message.
        kind: u8,
        /// Length of its body.
        len: usize,
    },
    /// A message that this end must not receive.
    #[error("unexpected handshake message")]
    Unexpected,
}

/// Error in the encoding of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Unknown type.
    #[error("unknown record type {0}")]
    Type(u8),
    /// The length does not fit the type.
    #[error("record type {kind} with a body of {len} bytes")]
    Length {
        /// Type of the record.
        kind: u8,
        /// Length of its body.
        len: usize,
    },
    /// Flags that are not defined for the type.
    #[error("record type {kind} with flags {flags:#04x}")]
    Flags {
        /// Type of the record.
        kind: u8,
        /// All flags.
        flags: u8,
    },
    /// A number where none belongs, or none where one does.
    #[error("record type {kind} with number {number}")]
    Number {
        /// Type of the record.
        kind: u8,
        /// Number of the record.
        number: u64,
    },
    /// A flow where none belongs, or none where one does.
    #[error("record type {kind} with flow {flow}")]
    Flow {
        /// Type of the record.
        kind: u8,
        /// Flow of the record.
        flow: FlowId,
    },
    /// A host that is empty, not UTF-8 or not printable.
    #[error("invalid host \"{0}\"")]
    Host(Printable),
}

/// Error in the bytes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The peer sent more than its credit permits.
    #[error("data beyond the credit")]
    CreditExceeded,
    /// Data beyond the end, or an end before data.
    #[error("data beyond the end")]
    BeyondEnd,
    /// Two different ends.
    #[error("two different ends")]
    TwoEnds,
    /// A byte that was sent in two records.
    #[error("overlapping data")]
    Overlap,
    /// A record that is not valid in the state of the flow.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
}

/// Violation of the protocol by the peer. It ends the bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Invalid encoding.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Invalid data or record of a flow.
    #[error("flow {flow}: {error}")]
    Flow {
        /// The flow.
        flow: FlowId,
        /// The error.
        error: FlowError,
    },
    /// A record of a flow that does not exist.
    #[error("{record} of flow {flow}, which does not exist")]
    UnknownFlow {
        /// The flow.
        flow: FlowId,
        /// Type of the record.
        record: &'static str,
    },
    /// A record that only the other end may send.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// A number too far ahead.
    #[error("number {number}, but {complete} is the last without a gap")]
    Number {
        /// The number of a record or flow.
        number: u64,
        /// All up to this one were received.
        complete: u64,
    },
    /// An acknowledgement of what was not sent, or of less than before.
    #[error("invalid acknowledgement of {0}")]
    Ack(u64),
    /// Too many pieces of flows beyond gaps.
    #[error("too much data out of order")]
    TooManyFragments,
    /// More flows than any daemon opens.
    #[error("too many flows")]
    TooManyFlows,
}

/// Error of opening a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The maximum number of flows is open.
    #[error(
        "too many connections through one relay (maximum {})",
        super::limits::MAX_FLOWS
    )]
    TooManyFlows,
    /// All identifiers were used.
    #[error("the relay bundle has no unused flow ids")]
    Exhausted,
    /// The host is empty, too long or not printable.
    #[error("invalid destination")]
    Destination,
    /// The bundle is closed or has ended, or is the relay's end.
    #[error("the relay bundle has ended")]
    Ended,
}
