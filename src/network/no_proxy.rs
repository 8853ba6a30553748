//! Hosts reached without the proxy: `NO_PROXY`, with the rules of curl.
//!
//! Entries are separated by commas or spaces. `*` matches every host; a name matches that host and
//! its subdomains, with or without a leading dot; an address may have a mask (`10.0.0.0/8`). Names
//! are not resolved, so an address matches only a host written as an address.

use std::net::IpAddr;

/// The hosts exempt from the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Everyone,
    /// In lower case, without leading and trailing dots.
    Name(String),
    Net(IpAddr, u8),
}

impl NoProxy {
    /// Parses a list. Invalid entries are ignored.
    pub(super) fn new(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']);
        Self(entries.filter_map(rule).collect())
    }

    /// Returns true if a host is on the list: a name or an address, without brackets.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|rule| match (rule, address) {
            (Rule::Everyone, _) => true,
            (Rule::Name(name), None) => is_below(host, name),
            (Rule::Net(net, length), Some(address)) => is_in(address, *net, *length),
            (Rule::Name(_), Some(_)) | (Rule::Net(..), None) => false,
        })
    }

    /// Returns true if every host is on the list.
    pub(super) fn is_everyone(&self) -> bool {
        self.0.contains(&Rule::Everyone)
    }

    /// Returns the list in the syntax of the SDK.
    pub(super) fn text(&self) -> String {
        let entry = |rule: &Rule| match rule {
            Rule::Everyone => "*".to_owned(),
            Rule::Name(name) => name.clone(),
            Rule::Net(net, length) => format!("{net}/{length}"),
        };
        self.0.iter().map(entry).collect::<Vec<_>>().join(",")
    }
}

fn rule(entry: &str) -> Option<Rule> {
    if entry == "*" {
        return Some(Rule::Everyone);
    }
    let (address, mask) = entry.split_once('/').unwrap_or((entry, ""));
    if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
        let most = bits(address).1;
        let length = match mask {
            "" => most,
            mask => mask.parse().ok().filter(|length| *length <= most)?,
        };
        return Some(Rule::Net(address, length));
    }
    let name = entry.strip_prefix('*').unwrap_or(entry).trim_matches('.');
    (!name.is_empty()).then(|| Rule::Name(name.to_ascii_lowercase()))
}

fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_in(address: IpAddr, net: IpAddr, length: u8) -> bool {
    let ((address, width), (net, of_net)) = (bits(address), bits(net));
    let rest = u32::from(width - length.min(width));
    width == of_net && address.checked_shr(rest) == net.checked_shr(rest)
}

/// Returns an address as a number, and its width in bits.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_exempts_as_curl_and_the_sdk_read_it() {
        for (list, host, exempt) in [
            ("", "a.com", false),
            ("*", "a.com", true),
            ("*", "10.0.0.7", true),
            ("a.com", "a.com", true),
            ("a.com", "A.COM.", true),
            ("a.com", "b.a.com", true),
            (".a.com", "a.com", true),
            (".a.com", "b.a.com", true),
            ("*.a.com", "b.a.com", true),
            ("a.com", "nota.com", false),
            ("a.com", "a.com.evil.com", false),
            ("b.com, a.com", "a.com", true),
            ("b.com a.com", "a.com", true),
            ("a.com:443", "a.com", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("[fd00::1]", "fd00::1", true),
            ("fd00::/8", "fd12::7", true),
            ("fd00::/8", "fe80::7", false),
            ("10.0.0.7", "10.0.0.7.evil.com", false),
            (",,. ,", "a.com", false),
        ] {
            assert_eq!(NoProxy::new(list).has(host), exempt, "{list:?} {host}");
        }
    }

    #[test]
    fn a_list_is_the_same_when_it_is_written_again() {
        let list = NoProxy::new("*, .A.com,10.0.0.0/8  fd00::1");

        assert_eq!(list.text(), "*,a.com,10.0.0.0/8,fd00::1/128");
        assert_eq!(NoProxy::new(&list.text()), list);
    }
}
