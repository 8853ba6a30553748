//! Addresses: listeners, destinations, and endpoint URLs.

mod listen_address;
mod socket_path;
mod url;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

pub(super) use crate::config::check::address::listen_address::{HostAddress, ListenAddress};
pub(super) use crate::config::check::address::socket_path::{MAX_PATH, normalized};
use crate::config::check::address::socket_path::{bare_path, socket_path};
pub(in crate::config) use crate::config::check::address::url::{
    check_endpoint, check_gateway, check_proxy,
};
use crate::config::diagnostic::ValueError;
use crate::config::model::{Listen, Remote};
use crate::config::source::{quoted, truncated};

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return descriptor_name(name).map(Self::Systemd);
        }
        if text.starts_with('/') {
            return Err(bare_path(text));
        }
        if is_digits(text) {
            return Ok(Self::Localhost(port(text, 0)?));
        }
        let pair = Pair::of(text)?;
        let port = port(pair.port, 0)?;
        if is_localhost(pair.host) && !pair.is_bracketed {
            return Ok(Self::Localhost(port));
        }
        // Parsed with the brackets, to accept a zone (`[fe80::1%2]:80`).
        let address = text.parse::<SocketAddr>();
        address
            .map(Self::Tcp)
            .map_err(|_| no_local_address(&pair, port))
    }
}

impl FromStr for Remote {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if is_digits(text) {
            return Ok(Self::Port(port(text, 1)?));
        }
        let pair = Pair::of(text)?;
        let port = port(pair.port, 1)?;
        match pair.address()? {
            Some(address) if address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST => {
                Ok(Self::Port(port))
            }
            Some(address) if is_own(address) => Err(own_address(&pair, port)),
            None if is_localhost(pair.host) => Ok(Self::Port(port)),
            Some(_) | None => Ok(Self::Host {
                host: pair.host.to_owned(),
                port,
            }),
        }
    }
}

/// Checks a port written as a number.
pub(super) fn port_number(number: i128, least: u16) -> Result<u16, ValueError> {
    match u16::try_from(number) {
        Ok(port) if port >= least => Ok(port),
        Ok(_) | Err(_) => Err(no_port(&number.to_string(), least)),
    }
}

/// Returns whether two addresses cannot both be listened on. Port 0 is any free port; paths are
/// compared as [`normalized`].
///
/// A wildcard covers its own address family only: IPv6 listeners are expected not to accept IPv4.
pub(super) fn overlap(a: &Listen, b: &Listen) -> bool {
    let taken = |listen: &Listen| match listen {
        Listen::Localhost(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Listen::Tcp(address) => vec![address.ip().to_canonical()],
        Listen::Unix(_) | Listen::Systemd(_) => Vec::new(),
    };
    let meet = |a: IpAddr, b: IpAddr| {
        a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
    };
    match (a.port(), b.port()) {
        (None, None) => match (a.path(), b.path()) {
            (Some(a), Some(b)) => normalized(a) == normalized(b),
            _ => a == b,
        },
        (a_port, b_port) => {
            a_port == b_port
                && a_port != Some(0)
                && (taken(a).iter()).any(|a| taken(b).iter().any(|b| meet(*a, *b)))
        }
    }
}

/// A host and a port, not validated yet.
#[derive(Clone, Copy, Debug)]
struct Pair<'a> {
    host: &'a str,
    port: &'a str,
    is_bracketed: bool,
}

impl<'a> Pair<'a> {
    fn of(text: &'a str) -> Result<Self, ValueError> {
        let wrong =
            |why: &str, hint: String| Err(ValueError::new(format!("{} {why}", quoted(text)), hint));
        if let Some((_, rest)) = text.split_once("://") {
            let pair = rest
                .rsplit('@')
                .next()
                .and_then(|rest| rest.split('/').next());
            let hint = format!("write {}", quoted(pair.unwrap_or_default()));
            return wrong("is a URL, not an address", hint);
        }
        if text.is_empty() {
            return Err(ValueError::new("an empty address", "write \"host:port\""));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let hint = format!("add a port: {}", quoted(&format!("{text}:5432")));
            return wrong("has no port", hint);
        };
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_bracketed = inner.is_some();
        if !is_bracketed && (text.parse::<Ipv6Addr>().is_ok() || host.contains([':', '[', ']'])) {
            let hint = format!("write an IPv6 address in brackets, followed by its port: {IPV6}");
            return wrong("is not an address with a port", hint);
        }
        if host.is_empty() {
            return wrong("has no host", format!("add a host: \"localhost:{port}\""));
        }
        Ok(Self {
            host: inner.unwrap_or(host),
            port,
            is_bracketed,
        })
    }

    /// Returns the IP address of the host; `None` for a syntactically valid name.
    fn address(&self) -> Result<Option<IpAddr>, ValueError> {
        if self.is_bracketed {
            let address = self.host.parse::<Ipv6Addr>();
            return address.map(|address| Some(address.into())).map_err(|_| {
                let what = format!("{} is not an IPv6 address", quoted(self.host));
                ValueError::new(
                    what,
                    format!("use brackets only for IPv6 addresses: {IPV6}"),
                )
            });
        }
        if let Ok(address) = self.host.parse::<Ipv4Addr>() {
            return Ok(Some(address.into()));
        }
        check_name(self.host).map(|()| None)
    }
}

fn port(text: &str, least: u16) -> Result<u16, ValueError> {
    let number = is_digits(text).then(|| text.parse().ok()).flatten();
    let port = number.filter(|port| *port >= least);
    port.ok_or_else(|| no_port(text, least))
}

/// Checks the syntax of a host name.
pub(super) fn check_name(host: &str) -> Result<(), ValueError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let (what, hint) = if let Some(other) = name.chars().find(|c| !is_letter(*c) && *c != '.') {
        let other = quoted(&other.to_string());
        (
            format!("is not a valid host name: {other} is not allowed in a host name"),
            "for example \"db.internal:5432\" or \"10.0.0.7:5432\"",
        )
    } else if name.len() > 253 || !name.split('.').all(is_label) {
        (
            "is not a valid host name: invalid label".to_owned(),
            "labels between dots have 1 to 63 letters, digits or inner hyphens; at most 253 characters in total",
        )
    } else if name.rsplit('.').next().is_some_and(is_digits) {
        (
            "is not an IPv4 address".to_owned(),
            "an IPv4 address has four numbers from 0 to 255: \"10.0.0.7:5432\"",
        )
    } else {
        return Ok(());
    };
    Err(ValueError::new(format!("{} {what}", quoted(host)), hint))
}

fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
}

/// Returns whether an address always refers to the machine that connects to it.
fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn no_port(text: &str, least: u16) -> ValueError {
    let shown = match is_digits(text) {
        true => truncated(text),
        false => quoted(text),
    };
    let what = format!("the port {shown} is not a number from {least} to 65535");
    ValueError::new(what, "for example 5432")
}

fn no_local_address(pair: &Pair<'_>, port: u16) -> ValueError {
    let (what, hint) = if pair.host == "*" {
        let hint = format!("write \"0.0.0.0:{port}\", and set `allow_remote_clients = true`");
        ("is not an address", hint)
    } else if pair.is_bracketed {
        (
            "is not an IPv6 address",
            format!("for example \"[::1]:{port}\""),
        )
    } else {
        (
            "is neither localhost nor an IP address; host names are not resolved",
            format!("write \"localhost:{port}\" or \"127.0.0.1:{port}\""),
        )
    };
    ValueError::new(format!("{} {what}", quoted(pair.host)), hint)
}

fn own_address(pair: &Pair<'_>, port: u16) -> ValueError {
    let host = pair.host;
    let what = format!("the agent does not connect to {host}, its own machine, as a remote host");
    let hint = format!("for the target itself, write only the port: `remote = {port}`");
    ValueError::new(what, hint)
}

/// Checks the name of a socket of the service manager, by systemd.socket(5).
fn descriptor_name(name: &str) -> Result<String, ValueError> {
    let fits = |c: char| c.is_ascii_graphic() && c != ':' && c != '/';
    if (1..=255).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    let what = format!("{} is not a valid systemd socket name", quoted(name));
    let hint = "write the `FileDescriptorName=` of the .socket unit: `listen = \"systemd:db\"`";
    Err(ValueError::new(what, hint))
}

/// Example of an IPv6 address with a port.
const IPV6: &str = "\"[2001:db8::7]:5432\"";

#[cfg(test)]
mod tests;
