//! Loopback addresses that stand for remote hosts, so that clients can use the real name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{Forward, Remote};

/// A loopback address for each name of a remote host.
///
/// An address is derived from the name, so it is the same on every machine and after every change
/// of other forwards. Only if two names of a configuration have the same, which is rare, the second
/// one in the alphabet gets another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses(BTreeMap<String, Ipv4Addr>);

impl HostAddresses {
    /// Returns the addresses for the remote hosts of all forwards, enabled or not.
    pub fn of(forwards: &[Forward]) -> Self {
        Self::new(forwards.iter().map(|forward| &forward.remote))
    }

    /// Returns the addresses for the hosts of destinations.
    pub(in crate::config) fn new<'a>(remotes: impl Iterator<Item = &'a Remote>) -> Self {
        let names: BTreeSet<_> = remotes.filter_map(Remote::host_name).collect();
        let mut taken = BTreeSet::new();
        let addresses = names.into_iter().map(|name| {
            let mut candidates = (0..).map(|attempt| candidate(&name, attempt));
            let free = candidates.find(|address| taken.insert(*address));
            (name, free.expect("there are more addresses than names"))
        });
        Self(addresses.collect())
    }

    /// Returns the address for the host of a destination, if that has a name.
    pub fn get(&self, remote: &Remote) -> Option<Ipv4Addr> {
        self.0.get(&remote.host_name()?).copied()
    }
}

impl Remote {
    /// Returns the port, if it is known.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) | Self::Host { port, .. } => Some(*port),
            Self::Document { .. } | Self::Requested(_) => None,
        }
    }

    /// Returns the name of the host as names are compared: in lower case, without the dot at its
    /// end. `None` if it is an IP address, the target itself, or not known.
    pub fn host_name(&self) -> Option<String> {
        let Self::Host { host, .. } = self else {
            return None;
        };
        let is_name = host.parse::<IpAddr>().is_err();
        let name = host.strip_suffix('.').unwrap_or(host);
        is_name.then(|| name.to_ascii_lowercase())
    }
}

/// Returns an address in 127.64.0.0/10 by the hash of a name (FNV-1a). The block has none of the
/// addresses that systems use themselves, such as 127.0.0.53, 127.0.1.1 and 127.0.53.53.
fn candidate(name: &str, attempt: u32) -> Ipv4Addr {
    let attempt = attempt.to_be_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes().chain(attempt) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [.., a, b, c] = (hash ^ (hash >> 32)).to_be_bytes();
    // The last number is never 0 or 255, which some programs refuse.
    Ipv4Addr::new(127, 64 + a % 64, b, 1 + c % 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(remotes: &[&str]) -> HostAddresses {
        let remotes: Vec<Remote> = remotes.iter().map(|text| text.parse().unwrap()).collect();
        HostAddresses::new(remotes.iter())
    }

    fn of(addresses: &HostAddresses, remote: &str) -> Option<String> {
        let address = addresses.get(&remote.parse().unwrap())?;
        Some(address.to_string())
    }

    /// A change of these addresses breaks the files of users.
    #[test]
    fn the_address_of_a_name_never_changes() {
        let all = addresses(&[
            "orders.internal:5432",
            "Orders.Internal.:6379",
            "db:1",
            "22",
        ]);

        let orders = of(&all, "orders.internal:5432");
        assert_eq!(orders.as_deref(), Some("127.126.0.18"));
        assert_eq!(of(&all, "ORDERS.internal.:1"), orders);
        assert_eq!(of(&all, "db:1").as_deref(), Some("127.76.153.220"));
        assert_eq!(of(&all, "other:1"), None);
    }

    #[test]
    fn only_a_name_has_an_address() {
        let all = addresses(&["10.0.0.7:1", "[2001:db8::7]:1", "5432"]);

        assert_eq!(all, HostAddresses::default());
    }

    #[test]
    fn two_names_never_have_the_same_address() {
        let names: Vec<_> = (0..20_000).map(|n| format!("host-{n}:1")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();

        let all = addresses(&names);

        let different: BTreeSet<_> = all.0.values().collect();
        assert_eq!(different.len(), names.len());
        let hashed = all.0.iter().filter(|(name, ip)| candidate(name, 0) != **ip);
        assert!(hashed.count() > 0, "no name was in the place of another");
        for address in different {
            let [first, second, _, last] = address.octets();
            assert!(first == 127 && (64..128).contains(&second), "{address}");
            assert!((1..=254).contains(&last), "{address}");
        }
        let fewer = addresses(&names[..100]);
        assert_eq!(fewer, addresses(&names[..100]));
    }
}
