//! SOCKS5 (RFC 1928): CONNECT without authentication.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::destination::{of_address, of_name};
use super::{Parsed, Protocol, ProxyRequest, Rejection, Status};
use crate::printable::Printable;

/// First byte of all messages.
pub(super) const VERSION: u8 = 5;

/// Answer to a greeting: the client authenticates itself by no method.
pub(super) const NO_AUTHENTICATION: &[u8] = &[VERSION, NO_METHOD];

/// Returns the length of a greeting that offers to do without authentication; `None`: it is
/// incomplete.
pub(super) fn greeting(bytes: &[u8]) -> Result<Option<usize>, Rejection> {
    let [_version, count, rest @ ..] = bytes else {
        return Ok(None);
    };
    let count = usize::from(*count);
    let Some(methods) = rest.get(..count) else {
        return Ok(None);
    };
    match methods.contains(&NO_METHOD) {
        true => Ok(Some(2 + count)),
        false => Err(Rejection::new(
            Protocol::Socks5Greeting,
            Status::BadRequest,
            "the client insists on authentication, which this proxy does not have",
        )),
    }
}

/// Decodes a request.
pub(super) fn request(bytes: &[u8]) -> Parsed {
    let [version, command, _reserved, address_type, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *version != VERSION {
        let why = "a request of SOCKS5 without its version";
        return Err(reject(Status::BadRequest, why));
    }
    if *command != CONNECT {
        let why = match *command {
            BIND => "BIND is not supported, only CONNECT",
            UDP_ASSOCIATE => "UDP ASSOCIATE is not supported, only CONNECT",
            _ => "an unknown command of SOCKS5",
        };
        return Err(reject(Status::Unsupported, why));
    }
    let (begin, length) = match (*address_type, rest) {
        (IPV4, _) => (0, 4),
        (IPV6, _) => (0, 16),
        (NAME, [length, ..]) => (1, usize::from(*length)),
        (NAME, []) => return Ok(None),
        _ => {
            let why = "an unknown type of address";
            return Err(reject(Status::UnknownAddressType, why));
        }
    };
    let end = begin + length;
    let (Some(host), Some(&[high, low])) = (rest.get(begin..end), rest.get(end..end + 2)) else {
        return Ok(None);
    };
    let port = u16::from_be_bytes([high, low]);
    let destination = match address(host).filter(|_| *address_type != NAME) {
        Some(address) => of_address(address, port),
        None => of_name(host, port),
    };
    let destination = destination.map_err(|(status, why)| reject(status, why))?;
    let request = ProxyRequest {
        protocol: Protocol::Socks5,
        destination,
    };
    Ok(Some((request, 4 + end + 2)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
    v4.or_else(|_| v6()).ok()
}

fn reject(status: Status, why: impl Into<Printable>) -> Rejection {
    Rejection::new(Protocol::Socks5, status, why)
}

/// Authentication method: none.
const NO_METHOD: u8 = 0;

const CONNECT: u8 = 1;
const BIND: u8 = 2;
const UDP_ASSOCIATE: u8 = 3;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
