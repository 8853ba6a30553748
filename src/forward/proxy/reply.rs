//! Replies to the clients of a proxy.

use super::Protocol;
use crate::error_class::ErrorClass;
use crate::printable::Printable;

/// Why a request is not served, as far as replies distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request is invalid.
    BadRequest,
    /// The head of the request is too long.
    TooLarge,
    /// A method other than CONNECT.
    MethodNotAllowed,
    /// A command other than CONNECT.
    Unsupported,
    /// An address that is neither IPv4, IPv6 nor a name.
    UnknownAddressType,
    /// The destination is not allowed.
    Denied,
    /// The target cannot resolve the name.
    NotFound,
    /// The destination refused the connection.
    Refused,
    /// The destination or a step before it did not answer in time.
    TimedOut,
    /// There is no session.
    Unavailable,
}

impl Status {
    /// Returns the status of a connection that got no stream, for a failure of this class.
    pub(in crate::forward) fn of(class: ErrorClass) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "replies tell few of the classes apart"
        )]
        match class {
            ErrorClass::DestinationDenied | ErrorClass::DestinationForbidden => Self::Denied,
            ErrorClass::RequestInvalid => Self::BadRequest,
            ErrorClass::DestinationNotFound => Self::NotFound,
            ErrorClass::DestinationRefused => Self::Refused,
            ErrorClass::DestinationTimedOut | ErrorClass::TimedOut => Self::TimedOut,
            _ => Self::Unavailable,
        }
    }

    /// Returns the reply field of SOCKS5.
    fn socks5(self) -> u8 {
        match self {
            Self::BadRequest | Self::TooLarge | Self::MethodNotAllowed | Self::Unavailable => 1,
            Self::Denied => 2,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::TimedOut => 6,
            Self::Unsupported => 7,
            Self::UnknownAddressType => 8,
        }
    }

    /// Returns the status line of HTTP without the version.
    fn http(self) -> &'static str {
        match self {
            Self::BadRequest | Self::UnknownAddressType => "400 Bad Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Unsupported => "501 Not Implemented",
            Self::Denied => "403 Forbidden",
            Self::NotFound | Self::Refused => "502 Bad Gateway",
            Self::TimedOut => "504 Gateway Timeout",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Returns the reply to a request that is served.
pub(in crate::forward) fn success(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Socks5Greeting | Protocol::Socks5 => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        Protocol::Socks4 => &[0, 0x5a, 0, 0, 0, 0, 0, 0],
        Protocol::Http | Protocol::HttpHead => b"HTTP/1.1 200 Connection established\r\n\r\n",
    }
}

/// Returns the reply to a request that is not served. HTTP has a text: `why` and, unless it is
/// empty, a `hint`.
pub fn reply(protocol: Protocol, status: Status, why: &Printable, hint: &str) -> Vec<u8> {
    match protocol {
        Protocol::Socks5Greeting => vec![5, 0xff],
        Protocol::Socks5 => vec![5, status.socks5(), 0, 1, 0, 0, 0, 0, 0, 0],
        Protocol::Socks4 => vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        Protocol::Http => {
            let (head, body) = response(status, why, hint);
            (head + &body).into_bytes()
        }
        Protocol::HttpHead => response(status, why, hint).0.into_bytes(),
    }
}

/// Returns head and body of a response.
fn response(status: Status, why: &Printable, hint: &str) -> (String, String) {
    let hint = match hint {
        "" => String::new(),
        hint => format!("hint: {hint}\n"),
    };
    let body = format!("ssm-proxyd: {why}\n{hint}");
    let allow = match status == Status::MethodNotAllowed {
        true => "Allow: CONNECT\r\n",
        false => "",
    };
    let head = format!(
        "HTTP/1.1 {}\r\n{allow}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        status.http(),
        body.len()
    );
    (head, body)
}
