//! PostgreSQL: packets before the startup, and `ErrorResponse` (protocol 3, "Message Formats").
//!
//! The SQLSTATE is always 57P03, `cannot_connect_now`. It is the only one for which libpq tries the
//! next host of a list, as it does after a reset, and for which `pg_isready` does not report that the
//! server accepts connections.

use super::explanation::Explanation;

/// A packet before the authentication.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Incomplete,
    /// `SSLRequest` or `GSSENCRequest`.
    Encryption,
    Startup,
    /// `CancelRequest`, which has no response, a TLS handshake without `SSLRequest`, or nothing that
    /// is valid.
    Other,
}

/// Parses the first packet. The server does not accept longer ones either.
pub(super) fn packet(bytes: &[u8]) -> Packet {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        // The first byte of a length is 0, that of a TLS record is not.
        return match bytes.first() {
            None | Some(0) => Packet::Incomplete,
            Some(_) => Packet::Other,
        };
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(REQUEST_LENGTH..=MAX_PACKET).contains(&length) {
        return Packet::Other;
    }
    let Some(code) = rest.first_chunk() else {
        return Packet::Incomplete;
    };
    match (u32::from_be_bytes(*code), length) {
        (SSL_REQUEST | GSSENC_REQUEST, REQUEST_LENGTH) => Packet::Encryption,
        (code, _) if code >> 16 != MAJOR_VERSION => Packet::Other,
        _ if bytes.len() < length => Packet::Incomplete,
        _ => Packet::Startup,
    }
}

/// Returns the `ErrorResponse`. The client takes what follows as another message, so the connection
/// must be closed after it.
pub(super) fn message(explanation: &Explanation) -> Vec<u8> {
    let fields = [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', "57P03"),
        (b'M', &explanation.cause()),
        (b'D', &explanation.detail()),
        (b'H', &explanation.hint),
    ];
    let mut body = Vec::new();
    for (field, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
        body.push(field);
        body.extend(text.bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("texts are cut");
    let mut message = vec![b'E'];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

/// Response to a request for encryption: none.
pub(super) const DECLINED: &[u8] = b"N";

/// A client asks for each kind of encryption at most once.
pub(super) const MAX_DECLINED: usize = 2;

/// Length of a request for encryption, and of the shortest packet.
pub(super) const REQUEST_LENGTH: usize = 8;

/// Maximum length of a startup packet (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_PACKET: usize = 10_000;

const MAJOR_VERSION: u32 = 3;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
