//! Parser for the response of a proxy to CONNECT (RFC 9110 section 9.3.6).

use crate::printable::Printable;

/// Result of parsing the bytes received so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The response is incomplete.
    More,
    /// The proxy has connected: the following bytes are from the remote host.
    Open,
    /// The proxy refuses to connect.
    Refused {
        /// From 100 to 999.
        status: u16,
        /// Reason phrase of the proxy.
        reason: Printable,
    },
    /// The peer is not an HTTP proxy, or sends more than allowed.
    Nonsense,
}

/// Parses a response from its first byte.
pub(super) fn read(bytes: &[u8]) -> Answer {
    let Some(end) = end_of_head(bytes) else {
        let begins_well = bytes.iter().zip(START).all(|(byte, good)| byte == good);
        return match begins_well && bytes.len() < MAX_HEAD {
            true => Answer::More,
            false => Answer::Nonsense,
        };
    };
    let line = bytes.split(|byte| *byte == b'\r' || *byte == b'\n').next();
    let Some((status, reason)) = line.and_then(status_line) else {
        return Answer::Nonsense;
    };
    match status {
        // The client must send first, as in TLS, so bytes after the head are an error.
        200..=299 if end < bytes.len() => Answer::Nonsense,
        200..=299 => Answer::Open,
        _ => Answer::Refused { status, reason },
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.windows(END.len()).position(|bytes| bytes == END)?;
    Some(begin + END.len())
}

fn status_line(line: &[u8]) -> Option<(u16, Printable)> {
    let rest = line.strip_prefix(START)?;
    let rest = rest.get(1..)?.strip_prefix(b" ")?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let is_good = status >= 100 && reason.first().is_none_or(|byte| *byte == b' ');
    is_good.then(|| (status, Printable::from_bytes(reason, MAX_REASON)))
}

const START: &[u8] = b"HTTP/1.";
const END: &[u8] = b"\r\n\r\n";

/// Maximum length of a response in bytes; same as in the SDK.
pub(super) const MAX_HEAD: usize = 8192;

/// Maximum number of characters of a quoted reason phrase.
const MAX_REASON: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, reason: &str) -> Answer {
        let reason = reason.into();
        Answer::Refused { status, reason }
    }

    #[test]
    fn an_answer_opens_the_way_or_refuses_it_or_is_none() {
        let long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
        for (bytes, answer) in [
            (b"".as_slice(), Answer::More),
            (b"HTT", Answer::More),
            (b"HTTP/1.1 200 Connection established\r\n", Answer::More),
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Answer::Open),
            (b"HTTP/1.0 200\r\nVia: x\r\n\r\n", Answer::Open),
            (b"HTTP/1.1 204 \r\n\r\n", Answer::Open),
            (b"HTTP/1.1 200 OK\r\n\r\nx", Answer::Nonsense),
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n<html>",
                refused(407, "Proxy Authentication Required"),
            ),
            (
                b"HTTP/1.1 403 no\x1b[2J\r\n\r\n",
                refused(403, "no\u{fffd}[2J"),
            ),
            (
                b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
                refused(302, "Found"),
            ),
            (b"HTTP/1.1 100 Continue\r\n\r\n", refused(100, "Continue")),
            (b"HTTP/1.1 20 OK\r\n\r\n", Answer::Nonsense),
            (b"HTTP/1.1 2000 OK\r\n\r\n", Answer::Nonsense),
            (b"HTTP/2 200\r\n\r\n", Answer::Nonsense),
            (b"SSH-2.0-OpenSSH", Answer::Nonsense),
            (b"\x05\x00", Answer::Nonsense),
            (&long, Answer::Nonsense),
        ] {
            assert_eq!(read(bytes), answer, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_answer_may_come_byte_by_byte() {
        let whole = b"HTTP/1.1 200 OK\r\n\r\n";

        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Answer::More, "{length}");
        }
    }
}
