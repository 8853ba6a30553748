//! The message of a data channel: 120 bytes and a payload.
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
//! All integers are big-endian. The header length does not count the payload length, so the
//! payload begins four bytes after the header ends. Readers trust the frame and not the payload
//! length (protocol.md section 3).

use std::fmt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::wire::payload;

mod kind;

use kind::TYPE_LEN;
pub use kind::{Kind, PayloadType};

/// One decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The fields before the payload.
    pub header: Header,
    /// Everything behind the header.
    pub payload: Bytes,
}

impl Message {
    /// Takes a message apart. The payload is a slice of `frame`, not a copy.
    ///
    /// # Errors
    ///
    /// A frame that is too short, whose header length points outside of it, whose type is blank,
    /// whose date is zero or whose sequence number is negative is [`DecodeError`], and so is a
    /// payload that does not match its digest. Publication messages pass with a header alone
    /// (protocol.md section 3, "Validation on receipt").
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let Some((fixed, _)) = frame.split_first_chunk::<FIXED_LEN>() else {
            return Err(DecodeError::Short { len: frame.len() });
        };
        let fields = Fields::split(fixed);
        let header = fields.header()?;
        if matches!(header.kind, Kind::StartPublication | Kind::PausePublication) {
            let payload = Bytes::new();
            return Ok(Self { header, payload });
        }
        let payload = fields.payload(frame.clone())?;
        fields.verify(&payload)?;
        Ok(Self { header, payload })
    }

    /// As [`decode`](Self::decode), but never looks at the digest, and treats publication
    /// messages as all others: the reading of an agent (protocol.md section 3).
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

    /// The message as it travels.
    pub fn encode(&self) -> Bytes {
        let mut draft = Draft::with_capacity(self.payload.len());
        draft.payload().extend_from_slice(&self.payload);
        draft.seal(&self.header)
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
        if *kind != Kind::Acknowledge {
            return write!(f, "{kind} seq={seq} {payload_type:?} {len} B");
        }
        match payload::decode_acknowledge(&self.payload) {
            Ok(body) => write!(f, "{kind} of seq={}", body.seq),
            Err(_) => write!(f, "{kind} {len} B"),
        }
    }
}

/// What stands before the payload, but for what follows from the payload itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is for.
    pub kind: Kind,
    /// When it was made, in milliseconds since the Unix epoch; never 0.
    pub created: u64,
    /// Its place in its direction; 0 where the kind is not sequenced.
    pub seq: Seq,
    /// See [`SYN`] and [`FIN`].
    pub flags: u64,
    /// Its own id, repeated in its acknowledgement.
    pub id: MessageId,
    /// What the payload holds; 0 where the kind is not stream data.
    pub payload_type: PayloadType,
}

/// A message being built: room for the header, and a payload that grows in place.
#[derive(Debug)]
pub struct Draft {
    bytes: BytesMut,
}

impl Draft {
    /// Starts a message whose payload will take about `payload` bytes.
    pub fn with_capacity(payload: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + payload);
        bytes.resize(HEADER_LEN, 0);
        Self { bytes }
    }

    /// Where the payload is appended. What is there already must stay.
    pub fn payload(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The number of payload bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER_LEN
    }

    /// True while no payload was appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the header and the digest before the payload; the result is ready to travel.
    ///
    /// # Panics
    ///
    /// If the payload is longer than a `u32` can tell. No caller builds one of 4 GiB.
    pub fn seal(mut self, header: &Header) -> Bytes {
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

/// The place of a message in its direction. On the wire an `i64`; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a message, in canonical byte order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MessageId(Uuid);

impl MessageId {
    /// A version 4 UUID out of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The UUID itself.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Reads the wire form, whose halves are swapped.
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

/// Why a frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the fixed fields take.
    #[error("a message of {len} bytes is shorter than its header of {HEADER_LEN}")]
    Short {
        /// How many bytes there were.
        len: usize,
    },
    /// The header length does not lie inside the frame.
    #[error("a header length of {got} does not fit a message of {len} bytes")]
    HeaderLength {
        /// What the field said.
        got: u32,
        /// How many bytes there were.
        len: usize,
    },
    /// The type is blank.
    #[error("a message without a type")]
    NoType,
    /// The creation date is zero. What the service makes itself need not have one: of its fields
    /// little is known (protocol.md appendix C).
    #[error("a message without a creation date")]
    NoDate,
    /// The sequence number of stream data is below zero.
    #[error("a negative sequence number ({got})")]
    NegativeSeq {
        /// What the field said.
        got: i64,
    },
    /// The payload is not the one that was sent.
    #[error("the payload does not match its SHA-256 digest")]
    Digest,
}

/// The fixed fields, cut but not yet understood.
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
        let kind = Kind::from_wire(self.kind);
        if kind.as_str().is_empty() {
            return Err(DecodeError::NoType);
        }
        let is_sequenced = matches!(kind, Kind::Input | Kind::Output);
        if self.created == 0 && (is_sequenced || kind == Kind::Acknowledge) {
            return Err(DecodeError::NoDate);
        }
        let seq = u64::try_from(self.seq).or(match is_sequenced {
            true => Err(DecodeError::NegativeSeq { got: self.seq }),
            // What it says there means nothing.
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

    /// Everything behind the header.
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

    /// Whether the payload is what the digest says; an empty one always is.
    fn verify(&self, payload: &[u8]) -> Result<(), DecodeError> {
        if !payload.is_empty() && Sha256::digest(payload).as_slice() != self.digest {
            return Err(DecodeError::Digest);
        }
        Ok(())
    }
}

/// Cuts the next `N` bytes off.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> &'a [u8; N] {
    let (head, tail) = rest
        .split_first_chunk()
        .expect("the fields are shorter than the header");
    *rest = tail;
    head
}

/// Writes `field` at the front of `rest` and moves behind it.
fn put(rest: &mut &mut [u8], field: &[u8]) {
    let (head, tail) = std::mem::take(rest).split_at_mut(field.len());
    head.copy_from_slice(field);
    *rest = tail;
}

/// Flag of the first message of a direction, and of every acknowledgement.
pub const SYN: u64 = 1;
/// Flag of the last message of a direction, and of every acknowledgement.
pub const FIN: u64 = 2;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 120;

/// Bytes before the payload length: what every message must have.
const FIXED_LEN: usize = 116;

/// The value of the header length field: it does not count the payload length.
const HEADER_LENGTH: u32 = 116;
const SCHEMA_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
