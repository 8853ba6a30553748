//! Destinations that a daemon requests: checked before anything is resolved.

use std::net::IpAddr;

use super::rules::{Rules, is_plain};
use crate::bundle::record::{Destination, FailureClass};
use crate::printable::Printable;

/// Why a flow cannot be connected.
pub(super) type DialError = (FailureClass, Printable);

/// A destination that the rules allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// This machine.
    Localhost(u16),
    /// An address.
    Address(IpAddr, u16),
    /// A name to resolve; the addresses are to be checked too.
    Name(String, u16),
    /// The path of a Unix socket.
    Socket(String),
}

/// Checks a destination.
///
/// Spellings of addresses that only resolvers accept (`127.1`, `0x7f000001`) are rejected, so that
/// they cannot bypass a rule.
pub(super) fn check(rules: &Rules, destination: &Destination) -> Result<Allowed, DialError> {
    let (host, port) = (destination.host.as_str(), destination.port);
    if host.starts_with('/') {
        let is_valid = port == 0 && is_plain(host);
        let allowed = Allowed::Socket(host.to_owned());
        return verdict(is_valid, rules.permit_socket(host), allowed, destination);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        let allowed = Allowed::Address(address, port);
        return verdict(
            port > 0,
            rules.permit_address(address, port),
            allowed,
            destination,
        );
    }
    let is_valid = port > 0 && is_name(host);
    if host.eq_ignore_ascii_case("localhost") {
        let allowed = Allowed::Localhost(port);
        return verdict(is_valid, rules.permit_localhost(port), allowed, destination);
    }
    let allowed = Allowed::Name(host.to_owned(), port);
    verdict(
        is_valid,
        rules.permit_name(host, port),
        allowed,
        destination,
    )
}

fn verdict(
    is_valid: bool,
    is_permitted: bool,
    allowed: Allowed,
    destination: &Destination,
) -> Result<Allowed, DialError> {
    let shown = shown(destination);
    match (is_valid, is_permitted) {
        (false, _) => {
            let text = format_args!("{shown} is not a valid destination");
            Err((FailureClass::Other, Printable::of(text)))
        }
        (true, false) => Err(denied(destination)),
        (true, true) => Ok(allowed),
    }
}

/// The error for a destination that no rule allows.
pub(super) fn denied(destination: &Destination) -> DialError {
    let shown = shown(destination);
    let text = format_args!("no --allow of the relay permits {shown}");
    (FailureClass::NotAllowed, Printable::of(text))
}

/// Formats a destination.
pub(super) fn shown(destination: &Destination) -> Printable {
    let Destination { host, port } = destination;
    if host.starts_with('/') {
        return Printable::of(format_args!("unix:{host}"));
    }
    match host.contains(':') {
        true => Printable::of(format_args!("[{host}]:{port}")),
        false => Printable::of(format_args!("{host}:{port}")),
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    text.bytes().all(is_allowed) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rules: &str, host: &str, port: u16) -> Result<Allowed, FailureClass> {
        let rules = Rules::new(rules.split(' ').map(|rule| rule.parse().unwrap()).collect());
        let host = host.into();
        check(&rules, &Destination { host, port }).map_err(|(class, _)| class)
    }

    #[test]
    fn what_the_rules_allow_is_connected() {
        let rules = "db:1 10.0.0.0/8:* localhost:22 unix:/run/db.sock [2001:db8::/32]:1";
        let db = Allowed::Name("DB".into(), 1);
        let address = |text: &str| Allowed::Address(text.parse().unwrap(), 1);

        assert_eq!(checked(rules, "DB.", 1), Ok(db));
        assert_eq!(checked(rules, "10.0.0.1", 1), Ok(address("10.0.0.1")));
        assert_eq!(
            checked(rules, "::ffff:10.0.0.1", 1),
            Ok(address("10.0.0.1"))
        );
        assert_eq!(checked(rules, "2001:db8::1", 1), Ok(address("2001:db8::1")));
        assert_eq!(checked(rules, "LocalHost", 22), Ok(Allowed::Localhost(22)));
        let socket = Allowed::Socket("/run/db.sock".into());
        assert_eq!(checked(rules, "/run/db.sock", 0), Ok(socket));
    }

    #[test]
    fn everything_else_is_denied() {
        let rules = "db:1 10.0.0.0/8:1 localhost:22 unix:/run/db.sock";

        for (host, port) in [
            ("db", 2),
            ("db.evil", 1),
            ("11.0.0.1", 1),
            ("127.0.0.2", 22),
            ("localhost", 1),
            ("/run/other.sock", 0),
        ] {
            assert_eq!(
                checked(rules, host, port),
                Err(FailureClass::NotAllowed),
                "{host}"
            );
        }
    }

    #[test]
    fn other_spellings_of_addresses_and_paths_are_invalid() {
        for (host, port) in [
            ("127.1", 1),
            ("2130706433", 1),
            ("0x7f000001", 1),
            ("0x7f.1", 1),
            ("1.0x", 1),
            ("", 1),
            (".", 1),
            ("a b", 1),
            ("[::1]", 1),
            ("db", 0),
            ("10.0.0.1", 0),
            ("/run/../etc/x", 0),
            ("/run/x", 1),
            ("fe80::1%eth0", 1),
        ] {
            assert_eq!(
                checked("*:*", host, port),
                Err(FailureClass::Other),
                "{host}"
            );
        }
    }
}
