//! Parser for the response of a proxy to CONNECT (RFC 9110 section 9.3.6).

use httparse::{ParserConfig, Status};

use crate::printable::Printable;

/// Result of parsing the bytes received so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConnectResponse {
    /// The response is incomplete.
    Incomplete,
    /// The proxy has connected: the following bytes are from the remote host.
    Established,
    /// The proxy refuses to connect.
    Refused {
        /// From 0 to 999.
        status: u16,
        /// Reason phrase of the proxy.
        reason: Printable,
    },
    /// The peer is not an HTTP proxy, or sends more than allowed.
    Invalid,
}

/// Parses a response from its first byte. Invalid headers are ignored.
pub(super) fn read(bytes: &[u8]) -> ConnectResponse {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = ParserConfig::default()
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut response, bytes);
    let end = match parsed {
        Ok(Status::Complete(end)) => end,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return ConnectResponse::Incomplete,
        Ok(Status::Partial) | Err(_) => return ConnectResponse::Invalid,
    };
    match response.code.unwrap_or_default() {
        // The client must send first, as in TLS, so bytes after the head are an error.
        200..=299 if end < bytes.len() => ConnectResponse::Invalid,
        200..=299 => ConnectResponse::Established,
        status => {
            let reason = response.reason.unwrap_or_default().as_bytes();
            let reason = Printable::from_bytes(reason, MAX_REASON);
            ConnectResponse::Refused { status, reason }
        }
    }
}

/// Maximum length of a response in bytes; same as in the SDK.
pub(super) const MAX_HEAD: usize = 8192;

/// Same as in hyper.
const MAX_HEADERS: usize = 100;

/// Maximum number of characters of a quoted reason phrase.
const MAX_REASON: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, reason: &str) -> ConnectResponse {
        let reason = reason.into();
        ConnectResponse::Refused { status, reason }
    }

    #[test]
    fn a_response_is_established_refused_incomplete_or_invalid() {
        let long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        for (bytes, expected) in [
            (b"".as_slice(), ConnectResponse::Incomplete),
            (b"HTT", ConnectResponse::Incomplete),
            (
                b"HTTP/1.1 200 Connection established\r\n",
                ConnectResponse::Incomplete,
            ),
            (
                b"HTTP/1.1 200 Connection established\r\n\r\n",
                ConnectResponse::Established,
            ),
            (
                b"HTTP/1.0 200\r\nVia: x\r\n\r\n",
                ConnectResponse::Established,
            ),
            (b"HTTP/1.1 204 \r\n\r\n", ConnectResponse::Established),
            (b"HTTP/1.1 200 OK\r\n\r\nx", ConnectResponse::Invalid),
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n<html>",
                refused(407, "Proxy Authentication Required"),
            ),
            (b"HTTP/1.1 403 no\x1b[2J\r\n\r\n", ConnectResponse::Invalid),
            // The reason is not ASCII.
            (b"HTTP/1.1 403 r\xe9seau\r\n\r\n", refused(403, "")),
            (
                b"HTTP/1.1 200 OK\r\nVia : x\r\n\0\r\n\r\n",
                ConnectResponse::Invalid,
            ),
            (
                b"HTTP/1.1 200 OK\r\nVia : x\r\nno header\r\n\r\n",
                ConnectResponse::Established,
            ),
            (
                b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
                refused(302, "Found"),
            ),
            (b"HTTP/1.1 100 Continue\r\n\r\n", refused(100, "Continue")),
            (b"HTTP/1.1 20 OK\r\n\r\n", ConnectResponse::Invalid),
            (b"HTTP/1.1 2000 OK\r\n\r\n", ConnectResponse::Invalid),
            (b"HTTP/2 200\r\n\r\n", ConnectResponse::Invalid),
            (b"SSH-2.0-OpenSSH", ConnectResponse::Invalid),
            (b"\x05\x00", ConnectResponse::Invalid),
            (&long, ConnectResponse::Invalid),
        ] {
            assert_eq!(read(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_response_may_arrive_byte_by_byte() {
        let whole = b"HTTP/1.1 200 OK\r\n\r\n";

        for length in 0..whole.len() {
            assert_eq!(
                read(&whole[..length]),
                ConnectResponse::Incomplete,
                "{length}"
            );
        }
    }
}
