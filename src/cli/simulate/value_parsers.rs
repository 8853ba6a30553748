//! Value parsers of `simulate` options: addresses, hosts, documents, versions, sizes.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use crate::sim::agent::Version;
use crate::sim::{Document, Faults, Resolver, is_document_name, is_target};

/// Maps a host, as seen by the agents, to a loopback address.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    host: String,
    port: Option<u16>,
    address: SocketAddr,
}

impl Mapping {
    /// Adds the mapping to the agents' resolver.
    ///
    /// # Errors
    ///
    /// Returns a message for the user.
    pub(super) fn insert(&self, resolver: &mut Resolver) -> Result<(), String> {
        let inserted = resolver.insert(&self.host, self.port, self.address);
        inserted.map_err(|error| error.to_string())
    }
}

/// Parses `HOST[:PORT]=ADDRESS`. An IPv6 address used as the host is in brackets.
///
/// # Errors
///
/// As with the parsers below, returns a message for the user.
pub(super) fn mapping(text: &str) -> Result<Mapping, String> {
    let (place, address) = text
        .split_once('=')
        .ok_or("expected HOST[:PORT]=ADDRESS, for example db.internal:5432=127.0.0.1:15432")?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => (host, Some(self::port(port)?)),
        Some(_) | None => (place, None),
    };
    if host.is_empty() || (host.contains([':', '[', ']']) && !is_in_brackets(host)) {
        return Err("expected a host, with brackets around an IPv6 address".to_owned());
    }
    let mapping = Mapping {
        host: host.to_owned(),
        port,
        address: self::address(address)?,
    };
    mapping.insert(&mut Resolver::default())?;
    Ok(mapping)
}

/// Parses an address to listen on.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err("the simulator listens on loopback addresses only".to_owned()),
    }
}

/// Parses `NAME=AWS-DOCUMENT`, and `,PARAMETER=VALUE` for each parameter that it fixes.
pub(super) fn document(text: &str) -> Result<(String, Document), String> {
    let (name, alike) = text.split_once('=').ok_or(
        "expected NAME=AWS-DOCUMENT, for example Own-Forward=AWS-StartPortForwardingSession",
    )?;
    let mut parts = alike.split(',');
    let alike = parts.next().unwrap_or_default();
    if !is_document_name(name) {
        return Err(format!("invalid document name {name:?}"));
    }
    let mut document = Document::like(alike)?;
    for fixed in parts {
        let parameter = fixed.split_once('=').ok_or_else(|| {
            format!("{fixed:?}: expected PARAMETER=VALUE, for example portNumber=5432")
        })?;
        document = document.fixing(parameter.0, parameter.1)?;
    }
    Ok((name.to_owned(), document))
}

/// Parses the id of a target.
pub(super) fn target(text: &str) -> Result<String, String> {
    match is_target(text) {
        true => Ok(text.to_owned()),
        false => Err("expected a target, for example i-0123456789abcdef0".to_owned()),
    }
}

/// Parses `TARGET=KEY=VALUE,KEY=VALUE…`. Text after a comma without `=` belongs to the value
/// before.
pub(super) fn node(text: &str) -> Result<(String, BTreeMap<String, String>), String> {
    let expected = "expected TARGET=KEY=VALUE, for example i-0123456789abcdef0=Name=bastion";
    let (id, tags) = text.split_once('=').ok_or(expected)?;
    let mut parsed: Vec<(String, String)> = Vec::new();
    for part in tags.split(',') {
        match (part.split_once('='), parsed.last_mut()) {
            (Some(("", _)), _) | (None, None) => return Err(expected.to_owned()),
            (Some((key, value)), _) => parsed.push((key.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
        }
    }
    Ok((target(id)?, parsed.into_iter().collect()))
}

/// Parses the version of an agent.
pub(super) fn version(text: &str) -> Result<Version, String> {
    let is_number =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u32>().is_ok();
    let fits = text.split('.').count() == 4 && text.split('.').all(is_number);
    match fits {
        true => Ok(Version::parse(text)),
        false => Err("expected four numbers, for example 3.3.987.0".to_owned()),
    }
}

/// Parses a number of bytes, or `unlimited`.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    match text {
        "unlimited" => Ok(usize::MAX),
        number => number
            .parse()
            .map_err(|_| "expected a number of bytes, or unlimited".to_owned()),
    }
}

/// Parses the JSON of faults.
pub(super) fn faults(text: &str) -> Result<Faults, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let expected =
        || format!("{text:?}: expected an address and a port, for example 127.0.0.1:4566");
    text.parse().map_err(|_| expected())
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{text:?}: expected a port, 1 to 65535"))
}

fn is_in_brackets(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_has_a_host_a_port_or_none_and_a_loopback_address() {
        for (text, host, port) in [
            ("db.internal:5432=127.0.0.1:1", "db.internal", Some(5432)),
            ("db.internal=[::1]:1", "db.internal", None),
            ("[fd00::1]:5432=127.0.0.1:1", "[fd00::1]", Some(5432)),
            ("[fd00::1]=127.0.0.1:1", "[fd00::1]", None),
        ] {
            let mapping = mapping(text).unwrap();

            assert_eq!((mapping.host.as_str(), mapping.port), (host, port));
        }
        for bad in [
            "db",
            "db=elsewhere",
            "db=127.0.0.1",
            "db:x=127.0.0.1:1",
            "db:0=127.0.0.1:1",
            "db=10.0.0.1:1",
            "=127.0.0.1:1",
            ":5432=127.0.0.1:1",
            "fd00::1=127.0.0.1:1",
            "[db]:5432=127.0.0.1:1",
        ] {
            assert!(mapping(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_is_four_numbers() {
        assert_eq!(version("3.3.987.0").unwrap().to_string(), "3.3.987.0");
        for bad in [
            "",
            "zz",
            "3.3.987",
            "3.3.987.0.1",
            "3.3.x.0",
            "3..987.0",
            "3.+3.1.0",
        ] {
            assert!(version(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_custom_document_behaves_like_an_implemented_one() {
        for good in [
            "Own-Forward=AWS-StartSSHSession",
            "Own-Forward=AWS-StartSSHSession,portNumber=2222",
        ] {
            assert_eq!(document(good).unwrap().0, "Own-Forward");
        }

        let error = document("X-Y-Z=Nope").unwrap_err();

        assert!(error.contains("\"Nope\""), "{error}");
        assert!(
            error.contains("AWS-StartPortForwardingSessionToRemoteHost"),
            "{error}"
        );
        for bad in [
            "X-Y-Z",
            "=AWS-StartSSHSession",
            "a b c=AWS-StartSSHSession",
            "X-Y-Z=AWS-StartSSHSession,portNumber",
            "X-Y-Z=AWS-StartSSHSession,portNumber=0",
            "X-Y-Z=AWS-StartSSHSession,host=db.internal",
        ] {
            assert!(document(bad).is_err(), "{bad}");
        }
    }
}
