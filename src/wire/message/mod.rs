//! A data channel message: a header of 120 bytes and a payload.
//!
//! ```text
//!     0   4  header length, always 116     48   8  sequence number
//!     4  32  message type, space-padded    56   8  flags
//!    36   4  schema version, always 1      64  16  message id, halves swapped
//!    40   8  creation date, Unix ms        80  32  SHA-256 of the payload
//!                                         112   4  payload type
//!                                         116   4  payload length
//!                                         120   n  payload
//! ```
//!
//! All integers are big-endian. The header length excludes the payload length field, so the payload
//! begins four bytes after the end of the header. Receivers take the payload to be the rest of the
//! frame and ignore the payload length field (docs/protocol.md, section 3).

use std::fmt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::wire::payload;

mod kind;

use kind::TYPE_LEN;
pub use kind::{MessageType, PayloadType};

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The fields before the payload.
    pub header: Header,
    /// The bytes after the header.
    pub payload: Bytes,
}

impl Message {
    /// Decodes a message. The payload is a slice of `frame`, not a copy.
    ///
    /// # Errors
    ///
    /// Fails with [`DecodeError`] if the frame is too short, the header length points outside of
    /// it, the type is blank, the date is zero, the sequence number is negative, or the payload
    /// does not match its digest. Publication messages need only a header (docs/protocol.md,
    /// section 3, "Validation on receipt").
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let Some((fixed, _)) = frame.split_first_chunk::<FIXED_LEN>() else {
            return Err(DecodeError::Short { len: frame.len() });
        };
        let fields = Fields::split(fixed);
        let header = fields.header()?;
        if matches!(
            header.kind,
            MessageType::StartPublication | MessageType::PausePublication
        ) {
            let payload = Bytes::new();
            return Ok(Self { header, payload });
        }
        let payload = fields.payload(frame.clone())?;
        fields.verify(&payload)?;
        Ok(Self { header, payload })
    }

    /// Like [`decode`](Self::decode), but ignores the digest and treats publication messages like
    /// all others, as agents do (docs/protocol.md, section 3).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), without [`DecodeError::Digest`].
    pub fn decode_unverified(frame: Bytes) -> Result<Self, DecodeError> {
        let Some((fixed, _)) = frame.split_first_chunk::<FIXED_LEN>() else {
            return Err(DecodeError::Short { len: frame.len() });
        };
        let fields = Fields::split(fixed);
        let header = fields.header()?;
        let payload = fields.payload(frame.clone())?;
        Ok(Self { header, payload })
    }

    /// Encodes the message into a frame.
    pub fn encode(&self) -> Bytes {
        let mut draft = Draft::with_capacity(self.payload.len());
        draft.payload().extend_from_slice(&self.payload);
        draft.finish_message(&self.header)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header {
            kind,
            seq,
            payload_type,
            ..
        } = &self.header;
        let len = self.payload.len();
        if *kind != MessageType::Acknowledge {
            return write!(f, "{kind} seq={seq} {payload_type:?} {len} B");
        }
        match payload::decode_acknowledge(&self.payload) {
            Ok(body) => write!(f, "{kind} of seq={}", body.seq),
            Err(_) => write!(f, "{kind} {len} B"),
        }
    }
}

/// The header fields, except those derived from the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Purpose of the message.
    pub kind: MessageType,
    /// Creation time in milliseconds since the Unix epoch; never 0.
    pub created: u64,
    /// Position in its direction; 0 if messages of this type are not sequenced.
    pub seq: Seq,
    /// Combination of [`SYN`] and [`FIN`].
    pub flags: u64,
    /// Id of the message, repeated in its acknowledgement.
    pub id: MessageId,
    /// Content of the payload; 0 if the message is not stream data.
    pub payload_type: PayloadType,
}

/// A message under construction: space for the header, and a payload that grows in place.
#[derive(Debug)]
pub struct Draft {
    bytes: BytesMut,
}

impl Draft {
    /// Creates a draft with capacity for `payload` payload bytes.
    pub fn with_capacity(payload: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload);
        bytes.resize(HEADER_LEN, 0);
        Self { bytes }
    }

    /// Returns the buffer to append the payload to. Bytes already in it must be kept.
    pub fn payload(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Returns the number of payload bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER_LEN
    }

    /// Returns true if no payload was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the header, with the payload's digest, and returns the complete frame.
    ///
    /// # Panics
    ///
    /// Panics if the payload length does not fit a `u32`. No caller builds a payload of 4 GiB.
    pub fn finish_message(mut self, header: &Header) -> Bytes {
        let len = u32::try_from(self.len()).expect("a payload is far smaller than 4 GiB");
        let (head, payload) = self.bytes.split_at_mut(HEADER_LEN);
        let digest = Sha256::digest(&*payload);
        let mut rest = head;
        put(&mut rest, &HEADER_LENGTH.to_be_bytes());
        put(&mut rest, &header.kind.to_wire());
        put(&mut rest, &SCHEMA_VERSION.to_be_bytes());
        put(&mut rest, &header.created.to_be_bytes());
        put(&mut rest, &header.seq.0.to_be_bytes());
        put(&mut rest, &header.flags.to_be_bytes());
        put(&mut rest, &header.id.to_wire());
        put(&mut rest, &digest);
        put(&mut rest, &header.payload_type.to_wire().to_be_bytes());
        put(&mut rest, &len.to_be_bytes());
        self.bytes.freeze()
    }
}

/// Sequence number of a message in its direction. An `i64` on the wire; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Id of a message, in canonical byte order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MessageId(Uuid);

impl MessageId {
    /// Creates a version 4 UUID from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Returns the UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Reads the wire format, in which the two halves are swapped.
    fn from_wire(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_u128(u128::from_be_bytes(bytes).rotate_left(64)))
    }

    fn to_wire(self) -> [u8; 16] {
        self.0.as_u128().rotate_left(64).to_be_bytes()
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Error of decoding a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is shorter than the fixed fields.
    #[error("message of {len} bytes, shorter than the header of {HEADER_LEN} bytes")]
    Short {
        /// Length of the frame.
        len: usize,
    },
    /// The header length points outside of the frame.
    #[error("header length {got} does not fit a message of {len} bytes")]
    HeaderLength {
        /// Value of the field.
        got: u32,
        /// Length of the frame.
        len: usize,
    },
    /// The type is blank.
    #[error("message without a type")]
    NoType,
    /// The creation date is zero. Accepted for messages made by Session Manager itself, about whose
    /// fields little is known (docs/protocol.md, appendix C).
    #[error("message without a creation date")]
    NoDate,
    /// The sequence number of stream data is negative.
    #[error("negative sequence number {got}")]
    NegativeSeq {
        /// Value of the field.
        got: i64,
    },
    /// The payload does not match its digest.
    #[error("the payload does not match its SHA-256 digest")]
    Digest,
}

/// The fixed fields, split but not yet interpreted.
struct Fields<'a> {
    header_length: u32,
    kind: &'a [u8; TYPE_LEN],
    created: u64,
    seq: i64,
    flags: u64,
    id: [u8; 16],
    digest: &'a [u8; 32],
    payload_type: u32,
}

impl<'a> Fields<'a> {
    fn split(fixed: &'a [u8; FIXED_LEN]) -> Self {
        let mut rest = fixed.as_slice();
        Self {
            header_length: u32::from_be_bytes(*take(&mut rest)),
            kind: take(&mut rest),
            created: {
                let _schema: &[u8; 4] = take(&mut rest);
                u64::from_be_bytes(*take(&mut rest))
            },
            seq: i64::from_be_bytes(*take(&mut rest)),
            flags: u64::from_be_bytes(*take(&mut rest)),
            id: *take(&mut rest),
            digest: take(&mut rest),
            payload_type: u32::from_be_bytes(*take(&mut rest)),
        }
    }

    fn header(&self) -> Result<Header, DecodeError> {
        let kind = MessageType::from_wire(self.kind);
        if kind.as_str().is_empty() {
            return Err(DecodeError::NoType);
        }
        let is_sequenced = matches!(kind, MessageType::Input | MessageType::Output);
        if self.created == 0 && (is_sequenced || kind == MessageType::Acknowledge) {
            return Err(DecodeError::NoDate);
        }
        let seq = u64::try_from(self.seq).or(match is_sequenced {
            true => Err(DecodeError::NegativeSeq { got: self.seq }),
            // The field has no meaning for messages of this type.
            false => Ok(0),
        })?;
        Ok(Header {
            kind,
            created: self.created,
            seq: Seq(seq),
            flags: self.flags,
            id: MessageId::from_wire(self.id),
            payload_type: PayloadType::from_wire(self.payload_type),
        })
    }

    /// Returns the bytes after the header.
    fn payload(&self, mut frame: Bytes) -> Result<Bytes, DecodeError> {
        let len = frame.len();
        let got = self.header_length;
        let start = usize::try_from(got)
            .ok()
            .and_then(|length| length.checked_add(4));
        let start = start
            .filter(|start| (HEADER_LEN..=len).contains(start))
            .ok_or(DecodeError::HeaderLength { got, len })?;
        Ok(frame.split_off(start))
    }

    /// Checks the payload against the digest. An empty payload always matches.
    fn verify(&self, payload: &[u8]) -> Result<(), DecodeError> {
        if !payload.is_empty() && Sha256::digest(payload).as_slice() != self.digest {
            return Err(DecodeError::Digest);
        }
        Ok(())
    }
}

/// Splits off the next `N` bytes.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> &'a [u8; N] {
    let (head, tail) = rest
        .split_first_chunk()
        .expect("the fields are shorter than the header");
    *rest = tail;
    head
}

/// Writes `field` at the front of `rest` and advances `rest` past it.
fn put(rest: &mut &mut [u8], field: &[u8]) {
    let (head, tail) = std::mem::take(rest).split_at_mut(field.len());
    head.copy_from_slice(field);
    *rest = tail;
}

/// Set on the first message of a direction, and on every acknowledgement.
pub const SYN: u64 = 1;
/// Set on the last message of a direction, and on every acknowledgement.
pub const FIN: u64 = 2;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 120;

/// Length of the header without the payload length field: the minimum of a valid message.
const FIXED_LEN: usize = 116;

/// Value of the header length field, which excludes the payload length field.
const HEADER_LENGTH: u32 = 116;
const SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
