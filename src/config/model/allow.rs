//! What clients of a proxy may connect to.
//!
//! A name in a request is never resolved here, so a rule with a name matches names only, and a rule
//! with addresses matches addresses only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::config::model::Remote;

/// The destinations that clients of a proxy may request. What no rule matches is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Vec<AllowRule>);

impl Allow {
    /// Returns the destinations that at least one of the rules matches.
    pub fn new(rules: Vec<AllowRule>) -> Self {
        Self(rules)
    }

    /// Allows every destination.
    pub fn any() -> Self {
        Self(vec![AllowRule {
            hosts: HostPattern::Any,
            ports: ALL_PORTS,
        }])
    }

    /// Returns the rules.
    pub fn rules(&self) -> &[AllowRule] {
        &self.0
    }

    /// Returns whether clients may connect to a destination. The target itself is
    /// `localhost`, 127.0.0.1 and ::1, and a rule for one of them is enough.
    pub fn permits(&self, destination: &Remote) -> bool {
        match destination {
            Remote::Port(port) => self.any_rule(*port, HostPattern::covers_target_itself),
            Remote::Host { host, port } => self.any_rule(*port, |hosts| hosts.covers(host)),
            Remote::Document { .. } | Remote::Requested(_) => false,
        }
    }

    /// Returns whether clients may connect to some port of the target itself.
    pub fn permits_target_itself(&self) -> bool {
        let mut rules = self.0.iter();
        rules.any(|rule| rule.hosts.covers_target_itself())
    }

    /// Returns whether clients may connect to another host than the target.
    pub fn permits_other_hosts(&self) -> bool {
        let is_itself = |rule: &AllowRule| match &rule.hosts {
            HostPattern::Any => false,
            HostPattern::Name(name) => ITSELF.contains(&name.as_str()),
            HostPattern::Network(network) => network.is_one() && rule.hosts.covers_target_itself(),
        };
        !self.0.iter().all(is_itself)
    }

    fn any_rule(&self, port: u16, covers: impl Fn(&HostPattern) -> bool) -> bool {
        let mut rules = self.0.iter();
        rules.any(|rule| rule.ports.contains(&port) && covers(&rule.hosts))
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{rule}")?;
        }
        Ok(())
    }
}

/// Hosts and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    pub(in crate::config) hosts: HostPattern,
    /// From 1.
    pub(in crate::config) ports: RangeInclusive<u16>,
}

/// Formats as in the file.
impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.fmt(f)?;
        match (self.ports.start(), self.ports.end()) {
            _ if self.ports == ALL_PORTS => f.write_str(":*"),
            (first, last) if first == last => write!(f, ":{first}"),
            (first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

/// The hosts of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum HostPattern {
    /// Every name and address.
    Any,
    /// Names: lower case, without a trailing dot. A label `*` matches any label; as the first one
    /// it matches one or more.
    Name(String),
    /// Addresses.
    Network(AddressBlock),
}

impl HostPattern {
    /// Returns whether it covers a host: a valid name, or an address without brackets.
    fn covers(&self, host: &str) -> bool {
        match (self, host.parse::<IpAddr>()) {
            (Self::Any, _) => true,
            (Self::Name(pattern), Err(_)) => name_matches(pattern, host),
            (Self::Network(network), Ok(address)) => network.contains(address),
            (Self::Name(_), Ok(_)) | (Self::Network(_), Err(_)) => false,
        }
    }

    fn covers_target_itself(&self) -> bool {
        ITSELF.iter().any(|host| self.covers(host))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// A block of addresses (CIDR). IPv4 addresses in IPv6 form count as IPv4, and so do those of NAT64,
/// unless the block is one of NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct AddressBlock {
    /// The first address.
    address: IpAddr,
    /// Number of bits that all addresses share.
    prefix: u8,
}

impl AddressBlock {
    /// Returns the block of one address.
    pub(in crate::config) fn of_one(address: IpAddr) -> Self {
        let prefix = bits(address);
        Self { address, prefix }
    }

    /// Returns the block that begins with an address.
    ///
    /// # Errors
    ///
    /// If no block of this size begins there: the first address of the one that contains it.
    pub(in crate::config) fn new(address: IpAddr, prefix: u8) -> Result<Self, IpAddr> {
        let prefix = prefix.min(bits(address));
        match first(address, prefix) {
            begin if begin == address => Ok(Self { address, prefix }),
            begin => Err(begin),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let is_nat64_block = embedded(self.address).is_some() && self.prefix >= NAT64_PREFIX;
        let address = match embedded(address) {
            Some(inner) if !is_nat64_block => inner.into(),
            Some(_) | None => address.to_canonical(),
        };
        address.is_ipv4() == self.address.is_ipv4() && first(address, self.prefix) == self.address
    }

    fn is_one(&self) -> bool {
        self.prefix == bits(self.address)
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        match (address, self.is_one()) {
            (IpAddr::V4(address), true) => address.fmt(f),
            (IpAddr::V4(address), false) => write!(f, "{address}/{prefix}"),
            (IpAddr::V6(address), true) => write!(f, "[{address}]"),
            (IpAddr::V6(address), false) => write!(f, "[{address}/{prefix}]"),
        }
    }
}

/// Number of bits of an address.
pub(in crate::config) fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Returns the IPv4 address that an address of NAT64 leads to (RFC 6052). Prefixes of single networks
/// are not known here.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Returns the first address of the block of an address.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    let rest = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// Returns whether a name matches a pattern. Case and a trailing dot of the name do not matter.
fn name_matches(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = name.rsplit('.');
    let mut patterns = pattern.rsplit('.').peekable();
    while let Some(pattern) = patterns.next() {
        let Some(label) = labels.next() else {
            return false;
        };
        let is_first = patterns.peek().is_none();
        match pattern {
            ANY if is_first => return true,
            ANY => {}
            _ if label.eq_ignore_ascii_case(pattern) => {}
            _ => return false,
        }
    }
    labels.next().is_none()
}

/// Bits of the well-known prefix of NAT64, `64:ff9b::/96`.
const NAT64_PREFIX: u8 = 96;

/// Any host, label or port.
pub(in crate::config) const ANY: &str = "*";

/// The ports of a rule for all of them.
pub(in crate::config) const ALL_PORTS: RangeInclusive<u16> = 1..=u16::MAX;

/// Names of the target itself.
const ITSELF: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
