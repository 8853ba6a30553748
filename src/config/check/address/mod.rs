//! Addresses: listeners, destinations, and endpoint URLs.

mod socket_path;
mod url;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

pub(super) use crate::config::check::address::socket_path::MAX_PATH;
use crate::config::check::address::socket_path::{bare_path, socket_path};
pub(super) use crate::config::check::address::url::{check_endpoint, check_gateway, check_proxy};
use crate::config::diagnostic::ValueError;
use crate::config::model::{Listen, Remote};
use crate::config::source::{quoted, shortened};

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
/// compared regardless of `.` components and doubled slashes.
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
        (None, None) => a == b || (a.path().is_some() && a.path() == b.path()),
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
        let what = |why: &str| format!("{} {why}", quoted(text));
        if let Some((_, rest)) = text.split_once("://") {
            let pair = rest
                .rsplit('@')
                .next()
                .and_then(|rest| rest.split('/').next());
            let hint = format!("write {}", quoted(pair.unwrap_or_default()));
            return Err(ValueError::new(what("is a URL, not an address"), hint));
        }
        if text.is_empty() {
            return Err(ValueError::new("an empty address", "write \"host:port\""));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let hint = format!("add a port: {}", quoted(&format!("{text}:5432")));
            return Err(ValueError::new(what("has no port"), hint));
        };
        if let Some(host) = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            return Ok(Self {
                host,
                port,
                is_bracketed: true,
            });
        }
        if text.parse::<Ipv6Addr>().is_ok() || host.contains([':', '[', ']']) {
            let hint =
                "write an IPv6 address in brackets, followed by its port: \"[2001:db8::7]:5432\"";
            return Err(ValueError::new(what("is not an address with a port"), hint));
        }
        if host.is_empty() {
            let hint = format!("add a host: \"localhost:{port}\"");
            return Err(ValueError::new(what("has no host"), hint));
        }
        Ok(Self {
            host,
            port,
            is_bracketed: false,
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
                    "use brackets only for IPv6 addresses: \"[2001:db8::7]:5432\"",
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
fn check_name(host: &str) -> Result<(), ValueError> {
    let what = |why: &str| format!("{} is not a valid host name: {why}", quoted(host));
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let example = "for example \"db.internal:5432\" or \"10.0.0.7:5432\"";
    if let Some(stranger) = name.chars().find(|c| !is_letter(*c) && *c != '.') {
        let why = format!(
            "{} is not allowed in a host name",
            quoted(&stranger.to_string())
        );
        return Err(ValueError::new(what(&why), example));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        let hint = "labels between dots have 1 to 63 letters, digits or inner hyphens; at most 253 characters in total";
        return Err(ValueError::new(what("invalid label"), hint));
    }
    if name.rsplit('.').next().is_some_and(is_digits) {
        let hint = "an IPv4 address has four numbers from 0 to 255: \"10.0.0.7:5432\"";
        return Err(ValueError::new(
            format!("{} is not an IPv4 address", quoted(host)),
            hint,
        ));
    }
    Ok(())
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
    let shown = if is_digits(text) {
        shortened(text)
    } else {
        quoted(text)
    };
    let what = format!("the port {shown} is not a number from {least} to 65535");
    ValueError::new(what, "for example 5432")
}

fn no_local_address(pair: &Pair<'_>, port: u16) -> ValueError {
    let host = quoted(pair.host);
    if pair.host == "*" {
        let what = format!("{host} is not an address");
        let hint = format!("write \"0.0.0.0:{port}\", and set `allow_remote_clients = true`");
        return ValueError::new(what, hint);
    }
    if pair.is_bracketed {
        let what = format!("{host} is not an IPv6 address");
        return ValueError::new(what, format!("for example \"[::1]:{port}\""));
    }
    let what =
        format!("{host} is neither localhost nor an IP address; host names are not resolved");
    ValueError::new(
        what,
        format!("write \"localhost:{port}\" or \"127.0.0.1:{port}\""),
    )
}

fn own_address(pair: &Pair<'_>, port: u16) -> ValueError {
    let what = format!(
        "the agent does not connect to {}, its own machine, as a remote host",
        pair.host
    );
    ValueError::new(
        what,
        format!("for the target itself, write only the port: `remote = {port}`"),
    )
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

#[cfg(test)]
mod tests;
