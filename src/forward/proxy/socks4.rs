//! SOCKS4 and SOCKS4a: CONNECT to an IPv4 address or a name. The user id is ignored.

use std::net::Ipv4Addr;

use super::destination::{of_address, of_name};
use super::{Parsed, Protocol, ProxyRequest, Rejection, Status};

/// First byte of a request.
pub(super) const VERSION: u8 = 4;

/// Decodes a request.
pub(super) fn request(bytes: &[u8]) -> Parsed {
    let [_version, command, high, low, a, b, c, d, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *command != CONNECT {
        let why = match *command {
            BIND => "BIND is not supported, only CONNECT",
            _ => "an unknown command of SOCKS4",
        };
        return Err(Rejection::new(Protocol::Socks4, Status::Unsupported, why));
    }
    let port = u16::from_be_bytes([*high, *low]);
    let Some(user) = text(rest, "user id")? else {
        return Ok(None);
    };
    let begin = HEADER + user.len() + 1;
    let (destination, length) = match [*a, *b, *c, *d] {
        // An address that nobody has: a name follows.
        [0, 0, 0, last] if last != 0 => {
            let Some(name) = text(&bytes[begin..], "name")? else {
                return Ok(None);
            };
            (of_name(name, port), begin + name.len() + 1)
        }
        address => (of_address(Ipv4Addr::from(address).into(), port), begin),
    };
    let destination =
        destination.map_err(|(status, why)| Rejection::new(Protocol::Socks4, status, why))?;
    let request = ProxyRequest {
        protocol: Protocol::Socks4,
        destination,
    };
    Ok(Some((request, length)))
}

/// Returns the bytes before the first NUL; `None`: it was not received yet.
fn text<'a>(bytes: &'a [u8], what: &str) -> Result<Option<&'a [u8]>, Rejection> {
    let end = bytes.iter().take(MAX_TEXT + 1).position(|byte| *byte == 0);
    match end {
        Some(end) => Ok(Some(&bytes[..end])),
        None if bytes.len() <= MAX_TEXT => Ok(None),
        None => {
            let why = format!("a {what} of more than {MAX_TEXT} bytes");
            let why = why.as_str();
            Err(Rejection::new(Protocol::Socks4, Status::BadRequest, why))
        }
    }
}

/// Length of a request before its user id.
const HEADER: usize = 8;

/// Maximum length of a user id, and of a name.
const MAX_TEXT: usize = 255;

const CONNECT: u8 = 1;
const BIND: u8 = 2;
