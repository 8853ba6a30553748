//! Resolves a host and port to the loopback addresses that an agent dials.
//!
//! A real agent queries its name server; this one knows only the configured entries. Without a
//! `host` the destination is the target itself. With a `host`, loopback and metadata addresses are
//! forbidden, as in newer agents (docs/protocol.md, sections 0.1 and 9.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The names known to agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    entries: Vec<HostEntry>,
}

impl Resolver {
    /// Maps `host` (at `port`, or at all ports) to `address`.
    ///
    /// # Errors
    ///
    /// Fails if `address` is not a loopback address.
    pub fn insert(
        &mut self,
        host: &str,
        port: Option<u16>,
        address: SocketAddr,
    ) -> Result<(), NotLoopback> {
        if !address.ip().is_loopback() {
            return Err(NotLoopback(address));
        }
        self.entries.push(HostEntry {
            host: normalized(host),
            port,
            address,
        });
        Ok(())
    }

    /// Returns the addresses to dial, in order; empty if the host is unreachable.
    ///
    /// # Errors
    ///
    /// Returns the agent's text for a forbidden or unknown host.
    pub(super) fn resolve(&self, host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, String> {
        let Some(host) = host else {
            let own = self.find("localhost", port).map(|address| vec![address]);
            return Ok(own.unwrap_or_else(|| target(port)));
        };
        let name = normalized(host);
        let literal: Option<IpAddr> = name.parse().ok();
        if name == "localhost" || literal.is_some_and(is_forbidden) {
            return Err(format!("Forwarding to IP address {host} is forbidden."));
        }
        match (self.find(&name, port), literal) {
            (Some(address), _) => Ok(vec![address]),
            (None, Some(_)) => Ok(Vec::new()),
            (None, None) => Err(format!("lookup {host} on {NAME_SERVER}: no such host")),
        }
    }

    fn find(&self, name: &str, port: u16) -> Option<SocketAddr> {
        let mut fitting = self.entries.iter().filter(|entry| entry.host == name);
        let exact = fitting.clone().find(|entry| entry.port == Some(port));
        let entry = exact.or_else(|| fitting.find(|entry| entry.port.is_none()))?;
        Some(entry.address)
    }
}

/// An address is not loopback; simulated agents dial loopback addresses only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a loopback address")]
pub struct NotLoopback(pub(super) SocketAddr);

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostEntry {
    host: String,
    port: Option<u16>,
    address: SocketAddr,
}

/// Normalizes a host: lower case, without trailing dots and brackets.
fn normalized(host: &str) -> String {
    let host = host.trim_end_matches('.').trim_matches(['[', ']']);
    host.to_ascii_lowercase()
}

fn target(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

fn is_forbidden(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified() || METADATA.contains(&address)
}

/// The name server in the agent's error text.
const NAME_SERVER: &str = "127.0.0.53:53";

/// The default list of agents, and the credential endpoints of containers (docs/protocol.md,
/// sections 0.1 and 9.3).
const METADATA: [IpAddr; 11] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 250)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 251)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x240)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        let mut resolver = Resolver::default();
        let mut insert = |host, port, address: &str| {
            resolver
                .insert(host, port, address.parse().unwrap())
                .unwrap();
        };
        insert("db.internal", Some(5432), "127.0.0.1:1");
        insert("db.internal", None, "127.0.0.1:2");
        resolver
    }

    #[test]
    fn a_name_is_looked_up_by_port_first() {
        let dialled = |port| resolver().resolve(Some("DB.internal."), port).unwrap()[0].port();

        assert_eq!(dialled(5432), 1);
        assert_eq!(dialled(5433), 2);
    }

    #[test]
    fn an_address_is_looked_up_with_brackets_and_without() {
        let mut resolver = Resolver::default();
        let address = "127.0.0.1:1".parse().unwrap();
        resolver.insert("[fd00::1]", None, address).unwrap();

        for host in ["fd00::1", "[FD00::1]"] {
            assert_eq!(resolver.resolve(Some(host), 80), Ok(vec![address]));
        }
    }

    #[test]
    fn without_a_host_it_is_the_target_itself() {
        let addresses = resolver().resolve(None, 80).unwrap();

        assert!(
            addresses
                .iter()
                .all(|a| a.ip().is_loopback() && a.port() == 80)
        );
    }

    #[test]
    fn loopback_and_metadata_hosts_are_forbidden_in_every_spelling() {
        for host in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "169.254.169.254",
        ] {
            let refused = resolver().resolve(Some(host), 80).unwrap_err();

            assert_eq!(
                refused,
                format!("Forwarding to IP address {host} is forbidden.")
            );
        }
    }

    #[test]
    fn an_unknown_name_is_not_found_and_an_unknown_address_times_out() {
        let unknown = resolver().resolve(Some("nowhere.internal"), 80);

        assert_eq!(
            unknown,
            Err("lookup nowhere.internal on 127.0.0.53:53: no such host".to_owned())
        );
        assert_eq!(resolver().resolve(Some("10.0.0.9"), 80), Ok(Vec::new()));
    }

    #[test]
    fn only_loopback_addresses_can_be_mapped() {
        let address = "10.0.0.9:80".parse().unwrap();

        assert_eq!(
            Resolver::default().insert("db", None, address),
            Err(NotLoopback(address))
        );
    }
}
