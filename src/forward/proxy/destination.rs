//! Destinations of requests: checked here, since the target would resolve whatever it gets.
//!
//! A text that is an address counts as that address. Other spellings of addresses (`127.1`,
//! `0x7f000001`, `2130706433`), which resolvers accept, are rejected, so that they cannot bypass a
//! rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Status;
use crate::config::Remote;
use crate::printable::Printable;

/// Why a destination is not accepted.
pub(super) type Refused = (Status, Printable);

/// Returns the destination of a name or an address without brackets.
pub(super) fn of_name(name: &[u8], port: u16) -> Result<Remote, Refused> {
    let text = str::from_utf8(name).unwrap_or_default();
    if let Ok(address) = text.parse::<IpAddr>() {
        return of_address(address, port);
    }
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let wrong = || {
        let name = Printable::from_bytes(name, MAX_SHOWN);
        let why = Printable::of(format_args!("\"{name}\" is not a valid host name"));
        (Status::BadRequest, why)
    };
    if text.is_empty() || !name.iter().all(is_allowed) || ends_in_number(text) {
        return Err(wrong());
    }
    check_port(port)?;
    format!("{text}:{port}").parse().map_err(|_| wrong())
}

/// Returns the destination of an address. An IPv4 address in IPv6 form counts as IPv4.
pub(super) fn of_address(address: IpAddr, port: u16) -> Result<Remote, Refused> {
    check_port(port)?;
    let address = address.to_canonical();
    if address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST {
        return Ok(Remote::Port(port));
    }
    if address.is_loopback() || address.is_unspecified() {
        let why = Printable::of(format_args!(
            "the agent does not connect to {address}, its own machine; request localhost for the target itself"
        ));
        return Err((Status::Denied, why));
    }
    let host = address.to_string();
    Ok(Remote::Host { host, port })
}

fn check_port(port: u16) -> Result<(), Refused> {
    match port {
        0 => Err((Status::BadRequest, "the port is 0".into())),
        _ => Ok(()),
    }
}

/// Returns whether resolvers may take a name for an IPv4 address: its last label is a number.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Maximum number of characters of a name in a message.
const MAX_SHOWN: usize = 100;
