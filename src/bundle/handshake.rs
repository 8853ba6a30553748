//! Handshake messages: what is sent first on a stripe.
//!
//! The daemon sends HELLO; the relay answers WELCOME or REFUSED (`docs/relay-protocol.md`,
//! section 3). Until WELCOME nothing else is sent, so that a port that belongs to another program
//! gets no more than a HELLO.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::HandshakeError;
use super::ids::BundleId;
use super::limits::MAX_TEXT;
use super::record::sent_text;
use crate::printable::Printable;

/// The version of the protocol that this program speaks.
pub const VERSION: u8 = 1;

/// A handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The daemon adds a stripe to a bundle, or creates the bundle.
    Hello(Hello),
    /// The relay accepts the stripe.
    Welcome(Welcome),
    /// The relay rejects the stripe.
    Refused(RefusalClass, Printable),
}

/// First message of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Highest version of the protocol that the daemon speaks.
    pub version: u8,
    /// Features that the daemon offers: a bit each.
    pub features: u32,
    /// The bundle.
    pub bundle: BundleId,
    /// 0 if the daemon has never received a WELCOME for this bundle: the relay may create it.
    pub stripe: u32,
    /// All records of the bundle up to this number were received.
    pub complete: u64,
}

/// Answer of the relay that accepts a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Version of the protocol that is used; not above that of the HELLO.
    pub version: u8,
    /// Features that are used; a part of those of the HELLO.
    pub features: u32,
    /// All records of the bundle up to this number were received.
    pub complete: u64,
}

/// Why a relay rejects a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The relay does not speak this version.
    Version,
    /// The bundle does not exist at the relay (any longer). It has ended.
    UnknownBundle,
    /// The relay has its maximum number of bundles.
    TooManyBundles,
    /// The bundle has its maximum number of stripes.
    TooManyStripes,
    /// The HELLO acknowledges records that were not sent.
    Invalid,
    /// Any other reason, such as the end of the relay.
    Other,
}

impl RefusalClass {
    const fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::UnknownBundle => 2,
            Self::TooManyBundles => 3,
            Self::TooManyStripes => 4,
            Self::Invalid => 5,
            Self::Other => 255,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::UnknownBundle,
            3 => Self::TooManyBundles,
            4 => Self::TooManyStripes,
            5 => Self::Invalid,
            _ => Self::Other,
        }
    }
}

impl Handshake {
    /// Returns the encoded message.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let (kind, version) = match self {
            Self::Hello(hello) => {
                body.put_u32(hello.features);
                body.put_slice(hello.bundle.bytes());
                body.put_u32(hello.stripe);
                body.put_u64(hello.complete);
                (HELLO, hello.version)
            }
            Self::Welcome(welcome) => {
                body.put_u32(welcome.features);
                body.put_u64(welcome.complete);
                (WELCOME, welcome.version)
            }
            Self::Refused(class, text) => {
                body.put_u8(class.code());
                body.put_slice(sent_text(text).as_bytes());
                (REFUSED, VERSION)
            }
        };
        let mut out = BytesMut::from(&MAGIC[..]);
        out.put_u8(kind);
        out.put_u8(version);
        out.put_u16(u16::try_from(body.len()).expect("a body has at most 513 bytes"));
        out.put_slice(&body);
        out.freeze()
    }
}

/// Decoder of one handshake message. Holds at most its bytes.
#[derive(Debug, Default)]
pub struct HandshakeDecoder {
    buffer: BytesMut,
}

impl HandshakeDecoder {
    /// Takes bytes from the front of `input`, and returns the message if it is complete. If it is
    /// not, all of `input` was taken. Bytes after the message remain in `input`.
    ///
    /// # Errors
    /// The message is invalid. The decoder cannot be used further.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Handshake>, HandshakeError> {
        self.take(input, HEAD);
        let got = self.buffer.len().min(MAGIC.len());
        if self.buffer[..got] != MAGIC[..got] {
            self.take(input, SHOWN);
            let shown = Printable::from_bytes(&self.buffer, SHOWN);
            return Err(HandshakeError::NotRelay(shown));
        }
        let Some((kind, len)) = self.head()? else {
            return Ok(None);
        };
        self.take(input, HEAD + len);
        if self.buffer.len() < HEAD + len {
            return Ok(None);
        }
        let version = self.buffer[9];
        Ok(Some(message(kind, version, &self.buffer[HEAD..])))
    }

    fn take(&mut self, input: &mut &[u8], len: usize) {
        let missing = len.saturating_sub(self.buffer.len());
        let (taken, rest) = input.split_at(input.len().min(missing));
        self.buffer.extend_from_slice(taken);
        *input = rest;
    }

    /// Returns kind and length of the body, after the head was received.
    fn head(&self) -> Result<Option<(u8, usize)>, HandshakeError> {
        let Some(head) = self.buffer.get(MAGIC.len()..HEAD) else {
            return Ok(None);
        };
        let (kind, len) = (head[0], usize::from(u16::from_be_bytes([head[2], head[3]])));
        let least = match kind {
            HELLO => HELLO_LEN,
            WELCOME => WELCOME_LEN,
            REFUSED => 1,
            _ => return Err(HandshakeError::Kind(kind)),
        };
        match (least..=1 + MAX_TEXT).contains(&len) {
            true => Ok(Some((kind, len))),
            false => Err(HandshakeError::Length { kind, len }),
        }
    }
}

/// Decodes a body, whose length was checked. More bytes than known belong to later versions.
fn message(kind: u8, version: u8, mut body: &[u8]) -> Handshake {
    match kind {
        HELLO => {
            let features = body.get_u32();
            let mut bundle = [0; 16];
            body.copy_to_slice(&mut bundle);
            Handshake::Hello(Hello {
                version,
                features,
                bundle: BundleId::new(bundle),
                stripe: body.get_u32(),
                complete: body.get_u64(),
            })
        }
        WELCOME => Handshake::Welcome(Welcome {
            version,
            features: body.get_u32(),
            complete: body.get_u64(),
        }),
        _ => {
            let class = RefusalClass::of(body.get_u8());
            Handshake::Refused(class, Printable::from_bytes(body, MAX_TEXT))
        }
    }
}

const MAGIC: [u8; 8] = *b"SSMRELAY";
const HEAD: usize = 12;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;

const HELLO_LEN: usize = 32;
const WELCOME_LEN: usize = 12;

/// How many bytes of another protocol are shown.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> [Handshake; 3] {
        let hello = Hello {
            version: VERSION,
            features: 3,
            bundle: BundleId::new([9; 16]),
            stripe: 7,
            complete: 1 << 33,
        };
        let welcome = Welcome {
            version: VERSION,
            features: 1,
            complete: 5,
        };
        let text = "no such bundle".into();
        [
            Handshake::Hello(hello),
            Handshake::Welcome(welcome),
            Handshake::Refused(RefusalClass::UnknownBundle, text),
        ]
    }

    #[test]
    fn messages_are_decoded_as_they_were_encoded_and_what_follows_is_left() {
        for message in messages() {
            for cut in 1..50 {
                let mut decoder = HandshakeDecoder::default();
                let bytes = [&message.encode()[..], b"rest"].concat();
                let (mut first, mut second) = bytes.split_at(cut.min(bytes.len() - 5));

                assert_eq!(decoder.decode(&mut first), Ok(None));
                assert!(first.is_empty());
                assert_eq!(decoder.decode(&mut second), Ok(Some(message.clone())));
                assert_eq!(second, b"rest");
            }
        }
    }

    #[test]
    fn another_protocol_is_recognized_at_its_first_byte_and_shown() {
        let mut input = &b"HTTP/1.1 400 Bad Request\r\n\x1b[2J"[..];

        let fault = HandshakeDecoder::default().decode(&mut input).unwrap_err();

        assert_eq!(
            fault.to_string(),
            "expected the greeting of ssm-proxyd, got \"HTTP/1.1 400 Bad Request  \u{fffd}[2J\""
        );
        assert!(HandshakeDecoder::default().decode(&mut &b"S2"[..]).is_err());
        assert_eq!(
            HandshakeDecoder::default().decode(&mut &b"SS"[..]),
            Ok(None)
        );
    }

    #[test]
    fn unknown_kinds_and_impossible_lengths_are_errors() {
        for tail in [
            [0, 1, 0, 1],
            [4, 1, 0, 1],
            [1, 1, 0, 31],
            [3, 1, 0, 0],
            [3, 1, 2, 2],
        ] {
            let bytes = [&MAGIC[..], &tail].concat();
            let fault = HandshakeDecoder::default().decode(&mut &bytes[..]);
            assert!(fault.is_err(), "{tail:?}");
        }
    }

    #[test]
    fn a_longer_message_of_a_later_version_is_understood() {
        let [hello, ..] = messages();
        let mut bytes = BytesMut::from(&hello.encode()[..]);
        bytes.put_u64(77);
        bytes[11] += 8;

        let decoded = HandshakeDecoder::default().decode(&mut &bytes[..]);

        assert_eq!(decoded, Ok(Some(hello)));
    }

    #[test]
    fn the_secret_is_not_displayed() {
        assert!(format!("{:?}", messages()).contains("BundleId(…)"));
    }
}
