//! Incremental decoder of records.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    ACK, Ack, CREDIT, DATA, Destination, FAILED, FIN, FailureClass, Frame, GOODBYE, GoodbyeClass,
    HEADER, OPEN, OPENED, PING, PONG, RESET, Record, SATURATED,
};
use crate::bundle::error::RecordError;
use crate::bundle::ids::FlowId;
use crate::bundle::limits::{MAX_BODY, MAX_HOST, MAX_TEXT};
use crate::printable::{Printable, is_printable};

/// Decoder of the records of a stripe, which may be cut anywhere.
///
/// Holds at most one record. A body is copied once, into memory of its own size, so that a short
/// record does not keep a long read buffer alive.
#[derive(Debug, Default)]
pub struct Decoder {
    header: BytesMut,
    /// The header of the record whose body is being received.
    current: Option<Header>,
    body: BytesMut,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    flags: u8,
    len: usize,
    flow: FlowId,
    number: u64,
}

impl Decoder {
    /// Takes bytes from the front of `input`, and returns the next record if it is complete. If it
    /// is not, all of `input` was taken.
    ///
    /// # Errors
    /// The record is invalid. The decoder cannot be used further.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, RecordError> {
        let header = match self.current {
            Some(header) => header,
            None => {
                take(input, &mut self.header, HEADER);
                if self.header.len() < HEADER {
                    return Ok(None);
                }
                let header = Header::decode(&mut self.header.split())?;
                self.body = BytesMut::with_capacity(header.len);
                *self.current.insert(header)
            }
        };
        take(input, &mut self.body, header.len);
        if self.body.len() < header.len {
            return Ok(None);
        }
        self.current = None;
        let body = std::mem::take(&mut self.body).freeze();
        header.frame(body).map(Some)
    }
}

/// Moves bytes from `input` until `to` has `len`.
fn take(input: &mut &[u8], to: &mut BytesMut, len: usize) {
    let (taken, rest) = input.split_at(input.len().min(len - to.len()));
    to.extend_from_slice(taken);
    *input = rest;
}

impl Header {
    fn decode(bytes: &mut impl Buf) -> Result<Self, RecordError> {
        let header = Self {
            kind: bytes.get_u8(),
            flags: bytes.get_u8(),
            len: usize::from(bytes.get_u16()),
            flow: FlowId(bytes.get_u32()),
            number: bytes.get_u64(),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), RecordError> {
        let Self {
            kind,
            flags,
            len,
            flow,
            number,
        } = *self;
        let (lengths, is_numbered) = match kind {
            OPEN => (7..=6 + MAX_HOST, true),
            OPENED => (4..=4, true),
            FAILED => (1..=1 + MAX_TEXT, true),
            DATA => (9..=MAX_BODY, true),
            FIN | CREDIT => (8..=8, true),
            RESET => (0..=0, true),
            ACK => (16..=16, false),
            PING | PONG => (8..=8, false),
            GOODBYE => (1..=1 + MAX_TEXT, false),
            _ => return Err(RecordError::Type(kind)),
        };
        let allowed = if kind == ACK { SATURATED } else { 0 };
        if flags & !allowed != 0 {
            return Err(RecordError::Flags { kind, flags });
        }
        if !lengths.contains(&len) {
            return Err(RecordError::Length { kind, len });
        }
        if (number != 0) != is_numbered {
            return Err(RecordError::Number { kind, number });
        }
        // All numbered records belong to a flow, and no others.
        if (flow != FlowId::NONE) != is_numbered {
            return Err(RecordError::Flow { kind, flow });
        }
        Ok(())
    }

    /// Decodes the body, whose length was checked.
    fn frame(&self, mut body: Bytes) -> Result<Frame, RecordError> {
        let record = match self.kind {
            OPEN => {
                let (credit, port) = (body.get_u32(), body.get_u16());
                let host = host(&body)?;
                Record::Open(Destination { host, port }, credit)
            }
            OPENED => Record::Opened(body.get_u32()),
            FAILED => Record::Failed(FailureClass::of(body.get_u8()), text(&body)),
            DATA => Record::Data {
                offset: body.get_u64(),
                bytes: body,
            },
            FIN => Record::Fin(body.get_u64()),
            RESET => Record::Reset,
            CREDIT => Record::Credit(body.get_u64()),
            ACK => Record::Ack(Ack {
                count: body.get_u64(),
                complete: body.get_u64(),
                is_saturated: self.flags & SATURATED != 0,
            }),
            PING => Record::Ping(body.get_u64()),
            PONG => Record::Pong(body.get_u64()),
            GOODBYE => Record::Goodbye(GoodbyeClass::of(body.get_u8()), text(&body)),
            kind => return Err(RecordError::Type(kind)),
        };
        Ok(Frame {
            flow: self.flow,
            number: self.number,
            record,
        })
    }
}

fn text(body: &[u8]) -> Printable {
    Printable::from_bytes(body, MAX_TEXT)
}

/// Decodes a host. It is used, not only displayed, so it must be printable as it is.
fn host(body: &[u8]) -> Result<Printable, RecordError> {
    let invalid = || RecordError::Host(Printable::from_bytes(body, MAX_HOST));
    let host = std::str::from_utf8(body).map_err(|_| invalid())?;
    match is_host(host) {
        true => Ok(Printable::new(host)),
        false => Err(invalid()),
    }
}

/// Returns true if a host can be sent in OPEN.
pub(in crate::bundle) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= MAX_HOST
        && host.trim() == host
        && host.chars().all(is_printable)
}
