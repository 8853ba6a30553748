//! Requests of the clients of a proxy: SOCKS5 (RFC 1928), SOCKS4, SOCKS4a and HTTP CONNECT
//! (RFC 9110, section 9.3.6), recognised by their first byte.
//!
//! ```text
//!   SOCKS5   greeting ─▶ method 0 ─▶ request ─▶ reply
//!   SOCKS4                           request ─▶ reply
//!   HTTP                   CONNECT with head ─▶ response
//! ```
//!
//! A request is decoded from what was received so far: every input is a request, a rejection or
//! incomplete, and an incomplete one is bounded. Names are not resolved. What follows a request is
//! for the destination.

mod connect;
mod destination;
mod reply;
mod socks4;
mod socks5;

use std::fmt;

pub(super) use self::reply::success;
pub use self::reply::{Status, reply};
use crate::config::Remote;
use crate::printable::Printable;

/// The handshake of one client.
#[derive(Default)]
pub struct Handshake {
    /// Received and not decoded yet.
    received: Vec<u8>,
    /// Whether a greeting of SOCKS5 was answered.
    is_greeted: bool,
}

impl Handshake {
    /// Adds received bytes. They must be few: what follows a request is kept too.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Returns what is known of the request.
    pub fn poll(&mut self) -> Decoded {
        let bytes = &self.received[..];
        let decoded = match bytes.first() {
            None => return Decoded::Incomplete,
            Some(_) if self.is_greeted => socks5::request(bytes),
            Some(&socks5::VERSION) => return self.greet(),
            Some(&socks4::VERSION) => socks4::request(bytes),
            Some(byte) if byte.is_ascii_alphabetic() => connect::request(bytes),
            Some(byte) => Err(Rejection::unknown(*byte)),
        };
        match decoded {
            Ok(None) => Decoded::Incomplete,
            Ok(Some((request, length))) => {
                self.received.drain(..length);
                Decoded::Request(request)
            }
            Err(rejection) => Decoded::Rejected(rejection),
        }
    }

    fn greet(&mut self) -> Decoded {
        match socks5::greeting(&self.received) {
            Ok(None) => Decoded::Incomplete,
            Ok(Some(length)) => {
                self.received.drain(..length);
                self.is_greeted = true;
                Decoded::Greeted(socks5::NO_AUTHENTICATION)
            }
            Err(rejection) => Decoded::Rejected(rejection),
        }
    }

    /// Returns the bytes after the request.
    pub fn into_rest(self) -> Vec<u8> {
        self.received
    }
}

/// Without the bytes: the head of a request may have credentials.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("received", &self.received.len())
            .field("is_greeted", &self.is_greeted)
            .finish()
    }
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed.
    Incomplete,
    /// The client waits for this answer; the request follows.
    Greeted(&'static [u8]),
    /// The request is complete.
    Request(ProxyRequest),
    /// There is no request that can be served.
    Rejected(Rejection),
}

/// A request, and its length in bytes; `None`: it is incomplete.
type Parsed = Result<Option<(ProxyRequest, usize)>, Rejection>;

/// A request to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRequest {
    /// How it is answered.
    pub protocol: Protocol,
    /// Another host, or a port of the target itself.
    pub destination: Remote,
}

/// A protocol of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SOCKS5, before the method is agreed.
    Socks5Greeting,
    /// SOCKS5.
    Socks5,
    /// SOCKS4 or SOCKS4a.
    Socks4,
    /// HTTP CONNECT.
    Http,
    /// HTTP, with a method whose response has no content.
    HttpHead,
}

/// Reason why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The protocol; `None`: there is no answer that the client would understand.
    pub protocol: Option<Protocol>,
    /// How it is answered.
    pub status: Status,
    /// What is wrong.
    pub why: Printable,
}

impl Rejection {
    fn new(protocol: Protocol, status: Status, why: impl Into<Printable>) -> Self {
        Self {
            protocol: Some(protocol),
            status,
            why: why.into(),
        }
    }

    fn unknown(byte: u8) -> Self {
        let why = match byte {
            TLS => "TLS, although this proxy is reached without it: use http:// or socks5h://",
            _ => "neither SOCKS nor HTTP",
        };
        Self {
            protocol: None,
            status: Status::BadRequest,
            why: why.into(),
        }
    }
}

/// First byte of a TLS connection.
const TLS: u8 = 0x16;

#[cfg(test)]
mod tests;
