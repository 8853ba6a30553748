//! Records: what is sent on a stripe after the handshake.
//!
//! A record has a header of 16 bytes and a body (`docs/relay-protocol.md`, section 4):
//!
//! ```text
//!   0      1       2        4       8                16
//!   ├ type ┼ flags ┼ length ┼ flow ─┼ number ────────┼ body …
//! ```

mod decoder;

use bytes::{BufMut, Bytes, BytesMut};

pub use decoder::Decoder;
pub(super) use decoder::is_host;

use super::ids::FlowId;
use super::limits::MAX_TEXT;
use crate::printable::Printable;

/// Length of the header of a record, in bytes.
pub const HEADER: usize = 16;

/// A record with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The flow; [`FlowId::NONE`] for records of the bundle or of a stripe.
    pub flow: FlowId,
    /// Sequence number within the bundle, from 1; 0 for records that are not numbered.
    pub number: u64,
    /// The content.
    pub record: Record,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The daemon opens a flow.
    Open(Destination, u32),
    /// The relay has connected the flow. Credit of the daemon.
    Opened(u32),
    /// The relay could not connect the flow.
    Failed(FailureClass, Printable),
    /// Bytes of a flow.
    Data {
        /// Offset of the first byte in its direction of the flow.
        offset: u64,
        /// At least one byte.
        bytes: Bytes,
    },
    /// End of a direction of a flow: the offset after its last byte.
    Fin(u64),
    /// Both directions of the flow are aborted.
    Reset,
    /// Offset up to which the receiver of this record may send.
    Credit(u64),
    /// Acknowledgement.
    Ack(Ack),
    /// Request for a PONG with the same value.
    Ping(u64),
    /// Answer to PING.
    Pong(u64),
    /// Orderly end of a stripe or of the bundle.
    Goodbye(GoodbyeClass, Printable),
}

/// The host and port to which the relay connects a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Host name or address, or the path of a Unix socket.
    pub host: Printable,
    /// Port; 0 for a Unix socket.
    pub port: u16,
}

/// Acknowledgement of numbered records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// How many numbered records were received on this stripe, copies included.
    pub count: u64,
    /// All records of the bundle up to this number were received, on any stripe.
    pub complete: u64,
    /// The sender of the acknowledgement has more to send than its stripes can carry.
    pub is_saturated: bool,
}

/// Why a relay could not connect a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The relay does not allow the destination.
    NotAllowed,
    /// The name could not be resolved.
    NotResolved,
    /// The destination refused the connection.
    Refused,
    /// The destination cannot be reached.
    Unreachable,
    /// The destination did not answer in time.
    TimedOut,
    /// A limit of the relay is reached.
    Limit,
    /// Any other error.
    Other,
}

impl FailureClass {
    /// Returns the code that is sent.
    pub const fn code(self) -> u8 {
        match self {
            Self::NotAllowed => 1,
            Self::NotResolved => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::TimedOut => 5,
            Self::Limit => 6,
            Self::Other => 255,
        }
    }

    /// Returns the class of a code; [`FailureClass::Other`] if it is unknown.
    pub const fn of(code: u8) -> Self {
        match code {
            1 => Self::NotAllowed,
            2 => Self::NotResolved,
            3 => Self::Refused,
            4 => Self::Unreachable,
            5 => Self::TimedOut,
            6 => Self::Limit,
            _ => Self::Other,
        }
    }
}

/// What a GOODBYE ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoodbyeClass {
    /// This stripe: it is no longer needed.
    Stripe,
    /// The bundle, as planned.
    Bundle,
    /// The bundle, because of an error.
    Error,
}

impl GoodbyeClass {
    /// Returns the code that is sent.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stripe => 0,
            Self::Bundle => 1,
            Self::Error => 2,
        }
    }

    /// Returns the class of a code; [`GoodbyeClass::Error`] if it is unknown.
    pub const fn of(code: u8) -> Self {
        match code {
            0 => Self::Stripe,
            1 => Self::Bundle,
            _ => Self::Error,
        }
    }
}

impl Record {
    /// Returns the name of the type, as in the specification.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open(..) => "OPEN",
            Self::Opened(_) => "OPENED",
            Self::Failed(..) => "FAILED",
            Self::Data { .. } => "DATA",
            Self::Fin(_) => "FIN",
            Self::Reset => "RESET",
            Self::Credit(_) => "CREDIT",
            Self::Ack(_) => "ACK",
            Self::Ping(_) => "PING",
            Self::Pong(_) => "PONG",
            Self::Goodbye(..) => "GOODBYE",
        }
    }

    /// Returns the length of the body, in bytes.
    pub fn body_len(&self) -> usize {
        match self {
            Self::Open(destination, _) => 6 + destination.host.len(),
            Self::Opened(_) => 4,
            Self::Failed(_, text) | Self::Goodbye(_, text) => 1 + sent_text(text).len(),
            Self::Data { bytes, .. } => 8 + bytes.len(),
            Self::Fin(_) | Self::Credit(_) | Self::Ping(_) | Self::Pong(_) => 8,
            Self::Reset => 0,
            Self::Ack(_) => 16,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Open(..) => OPEN,
            Self::Opened(_) => OPENED,
            Self::Failed(..) => FAILED,
            Self::Data { .. } => DATA,
            Self::Fin(_) => FIN,
            Self::Reset => RESET,
            Self::Credit(_) => CREDIT,
            Self::Ack(_) => ACK,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::Goodbye(..) => GOODBYE,
        }
    }

    const fn flags(&self) -> u8 {
        let Self::Ack(ack) = self else {
            return 0;
        };
        if ack.is_saturated { SATURATED } else { 0 }
    }

    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Open(destination, credit) => {
                out.put_u32(*credit);
                out.put_u16(destination.port);
                out.put_slice(destination.host.as_bytes());
            }
            Self::Opened(credit) => out.put_u32(*credit),
            Self::Failed(class, text) => put_class(out, class.code(), text),
            Self::Data { offset, bytes } => {
                out.put_u64(*offset);
                out.put_slice(bytes);
            }
            Self::Fin(value) | Self::Credit(value) | Self::Ping(value) | Self::Pong(value) => {
                out.put_u64(*value);
            }
            Self::Reset => {}
            Self::Ack(ack) => {
                out.put_u64(ack.count);
                out.put_u64(ack.complete);
            }
            Self::Goodbye(class, text) => put_class(out, class.code(), text),
        }
    }
}

/// Appends the encoding of a record.
pub fn encode(flow: FlowId, number: u64, record: &Record, out: &mut BytesMut) {
    let len = u16::try_from(record.body_len()).expect("bodies have at most 16 KiB");
    out.put_u8(record.kind());
    out.put_u8(record.flags());
    out.put_u16(len);
    out.put_u32(flow.0);
    out.put_u64(number);
    record.encode_body(out);
}

fn put_class(out: &mut BytesMut, code: u8, text: &Printable) {
    out.put_u8(code);
    out.put_slice(sent_text(text).as_bytes());
}

/// Returns the part of a text that is sent.
pub(super) fn sent_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

const OPEN: u8 = 1;
const OPENED: u8 = 2;
const FAILED: u8 = 3;
const DATA: u8 = 4;
const FIN: u8 = 5;
const RESET: u8 = 6;
const CREDIT: u8 = 7;
const ACK: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const GOODBYE: u8 = 11;

/// Flag of ACK.
const SATURATED: u8 = 1;

#[cfg(test)]
mod tests;
