//! What a relay may connect to: the rules of `--allow`.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path};
use std::str::FromStr;

use crate::config::{Allow, AllowRule, Remote, ValueError};

/// One rule: hosts and ports, as in `allow` of a proxy, or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Hosts and ports.
    Hosts(AllowRule),
    /// `unix:` and an absolute path, which must match exactly.
    Socket(String),
}

impl FromStr for Rule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.strip_prefix("unix:") {
            Some(path) if is_plain(path) => Ok(Self::Socket(path.to_owned())),
            Some(path) => {
                let what = format!("{path} is not the path of a Unix socket");
                let hint = "write it from the root, without `.` and `..`: unix:/run/db.sock";
                Err(ValueError::new(what, hint))
            }
            None => text.parse().map(Self::Hosts),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(rule) => rule.fmt(f),
            Self::Socket(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Returns true for an absolute path without `.`, `..` and repeated slashes.
pub(super) fn is_plain(path: &str) -> bool {
    let mut components = Path::new(path).components();
    let is_absolute = components.next() == Some(Component::RootDir);
    let names = path.split('/').skip(1);
    is_absolute
        && path.len() > 1
        && names
            .into_iter()
            .all(|name| !["", ".", ".."].contains(&name))
}

/// All rules of a relay.
#[derive(Clone, Debug)]
pub struct Rules {
    hosts: Allow,
    sockets: Vec<String>,
}

impl Rules {
    /// Creates the rules. What no rule matches is denied.
    pub fn new(rules: Vec<Rule>) -> Self {
        let (mut hosts, mut sockets) = (Vec::new(), Vec::new());
        for rule in rules {
            match rule {
                Rule::Hosts(rule) => hosts.push(rule),
                Rule::Socket(path) => sockets.push(path),
            }
        }
        let hosts = Allow::new(hosts);
        Self { hosts, sockets }
    }

    /// Returns whether a Unix socket is allowed.
    pub(super) fn permit_socket(&self, path: &str) -> bool {
        self.sockets.iter().any(|allowed| allowed == path)
    }

    /// Returns whether `localhost` is allowed.
    pub(super) fn permit_localhost(&self, port: u16) -> bool {
        self.hosts.permits(&Remote::Port(port))
    }

    /// Returns whether a name is allowed: rules with addresses do not match it.
    pub(super) fn permit_name(&self, name: &str, port: u16) -> bool {
        let host = name.to_owned();
        self.hosts.permits(&Remote::Host { host, port })
    }

    /// Returns whether an address is allowed: rules with names do not match it, except
    /// `localhost`.
    pub(super) fn permit_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let host = address.to_string();
        let is_localhost = ["127.0.0.1", "::1"].contains(&host.as_str());
        let is_permitted = self.hosts.permits(&Remote::Host { host, port });
        is_permitted || (is_localhost && self.permit_localhost(port))
    }

    /// Returns whether an address is allowed to which a name resolved that is allowed. One of this
    /// machine (`is_own`, or loopback) or of its network segment needs a rule of its own, as the
    /// owner of the name could otherwise choose it.
    pub(super) fn permit_resolved(&self, address: IpAddr, port: u16, is_own: bool) -> bool {
        let is_doubtful = is_own || is_local(address);
        !is_doubtful || self.permit_address(address, port)
    }
}

fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_this_network = v4.octets()[0] == 0;
            let is_other = v4.is_multicast() || v4.is_broadcast() || is_this_network;
            v4.is_loopback() || v4.is_link_local() || is_other
        }
        IpAddr::V6(v6) => {
            let is_other = v6.is_multicast() || v6.is_unspecified();
            v6.is_loopback() || v6.is_unicast_link_local() || is_metadata(&v6) || is_other
        }
    }
}

/// The services that EC2 has for its instances over IPv6, such as metadata and credentials; those
/// over IPv4 are link-local.
fn is_metadata(address: &std::net::Ipv6Addr) -> bool {
    address.segments()[..2] == [0xfd00, 0xec2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Rules {
        Rules::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_name_rule_matches_no_address_and_the_reverse() {
        let rules = rules(&["db:1", "10.0.0.0/8:2", "localhost:3"]);

        assert!(rules.permit_name("db", 1) && !rules.permit_name("db", 2));
        assert!(rules.permit_address("10.1.1.1".parse().unwrap(), 2));
        assert!(rules.permit_address("::ffff:10.1.1.1".parse().unwrap(), 2));
        assert!(!rules.permit_address("10.1.1.1".parse().unwrap(), 1));
        assert!(!rules.permit_name("ten", 2));
        assert!(rules.permit_localhost(3) && rules.permit_address("::1".parse().unwrap(), 3));
        assert!(!rules.permit_address("127.0.0.2".parse().unwrap(), 3));
    }

    #[test]
    fn an_allowed_name_does_not_lead_to_this_machine_without_a_rule_for_it() {
        let names = rules(&["*.internal:*", "127.0.0.2:80"]);

        for address in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "224.0.0.1",
        ] {
            let address = address.parse().unwrap();
            assert!(!names.permit_resolved(address, 80, false), "{address}");
            assert!(
                rules(&["*:*"]).permit_resolved(address, 80, false),
                "{address}"
            );
        }
        assert!(names.permit_resolved("127.0.0.2".parse().unwrap(), 80, false));
        assert!(names.permit_resolved("10.0.0.1".parse().unwrap(), 80, false));
        assert!(names.permit_resolved("2001:db8::1".parse().unwrap(), 80, false));
    }

    #[test]
    fn an_allowed_name_leads_to_an_interface_of_this_machine_only_with_a_rule_for_it() {
        let own = "10.0.0.7".parse().unwrap();
        let names = rules(&["*.internal:*"]);

        assert!(!names.permit_resolved(own, 80, true) && names.permit_resolved(own, 80, false));
        for rule in ["10.0.0.7:80", "10.0.0.0/8:*", "*:80"] {
            assert!(rules(&["*.internal:*", rule]).permit_resolved(own, 80, true));
        }
    }

    #[test]
    fn a_socket_is_allowed_by_its_exact_path() {
        let rules = rules(&["unix:/run/db.sock"]);

        assert!(rules.permit_socket("/run/db.sock"));
        assert!(!rules.permit_socket("/run/db.sock2") && !rules.permit_socket("/run//db.sock"));
        for bad in [
            "unix:",
            "unix:a",
            "unix:/",
            "unix:/a/../b",
            "unix:/a//b",
            "unix:/./a",
            "db",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
        assert_eq!("unix:/a".parse::<Rule>().unwrap().to_string(), "unix:/a");
    }
}
