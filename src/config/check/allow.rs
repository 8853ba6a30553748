//! Rules of `allow`: hosts and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::config::check::address::check_name;
use crate::config::check::value::{Checked, FromValue, at, one_or_many, wrong_type};
use crate::config::diagnostic::ValueError;
use crate::config::document::{Value, ValueData};
use crate::config::model::{ALL_PORTS, ANY, AddressBlock, Allow, AllowRule, HostPattern, bits};
use crate::config::settings::Setting;
use crate::config::source::quoted;

impl FromValue for Allow {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let ValueData::Array(_) = &value.data else {
            return wrong_type(setting, value);
        };
        let rules = one_or_many(value, MAX_RULES, "rules", |value| {
            let ValueData::Text(text) = &value.data else {
                return wrong_type(setting, value);
            };
            text.parse().map_err(|error| at(value, error))
        });
        Ok(Self::new(rules?))
    }
}

impl FromStr for AllowRule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = text.rsplit_once(':');
        let parts = parts.filter(|(host, _)| !host.is_empty() && text.parse::<Ipv6Addr>().is_err());
        let Some((host, ports_text)) = parts else {
            let what = format!("{} is not a host and a port", quoted(text));
            return Err(ValueError::new(what, EXAMPLES));
        };
        Ok(Self {
            hosts: hosts(host)?,
            ports: ports(ports_text)?,
        })
    }
}

fn hosts(text: &str) -> Result<HostPattern, ValueError> {
    if text == ANY {
        return Ok(HostPattern::Any);
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let is_v6 = inner.is_some();
    if !is_v6 && text.contains([':', '[', ']']) {
        let what = format!("{} is not a host", quoted(text));
        let hint = "write an IPv6 address or block in brackets: \"[2001:db8::/32]:443\"";
        return Err(ValueError::new(what, hint));
    }
    let text = inner.unwrap_or(text);
    if let Some((address, prefix)) = text.split_once('/') {
        return block(text, address, prefix, is_v6).map(HostPattern::Network);
    }
    match (text.parse::<IpAddr>(), is_v6) {
        (Ok(address), _) if address.is_ipv6() == is_v6 => {
            let address = address.to_canonical();
            Ok(HostPattern::Network(AddressBlock::of_one(address)))
        }
        (_, true) => {
            let what = format!("{} is not an IPv6 address", quoted(text));
            Err(ValueError::new(what, "use brackets only for IPv6"))
        }
        (_, false) => name(text).map(HostPattern::Name),
    }
}

fn block(text: &str, address: &str, prefix: &str, is_v6: bool) -> Result<AddressBlock, ValueError> {
    let wrong = |hint: String| {
        let what = format!("{} is not a block of addresses", quoted(text));
        ValueError::new(what, hint)
    };
    let address = match is_v6 {
        true => address.parse::<Ipv6Addr>().map(IpAddr::from).ok(),
        false => address.parse::<Ipv4Addr>().map(IpAddr::from).ok(),
    };
    let address = address.ok_or_else(|| wrong(BLOCKS.to_owned()))?;
    if address.to_canonical() != address {
        let hint = "write it as IPv4: IPv4 addresses in IPv6 form count as IPv4";
        return Err(wrong(hint.to_owned()));
    }
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = is_number.then(|| prefix.parse::<u8>().ok()).flatten();
    let prefix = prefix.filter(|prefix| *prefix <= bits(address));
    let prefix = prefix.ok_or_else(|| wrong(BLOCKS.to_owned()))?;
    AddressBlock::new(address, prefix).map_err(|first| {
        wrong(format!(
            "the block begins at {first}: write {first}/{prefix}"
        ))
    })
}

/// Checks a name that may have labels `*`.
fn name(text: &str) -> Result<String, ValueError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let labels: Vec<_> = name.split('.').collect();
    let is_partial = |label: &&str| label.contains(ANY) && *label != ANY;
    let is_wild_top = labels.last().is_some_and(|last| *last == ANY);
    if labels.iter().any(is_partial) || is_wild_top {
        let what = format!("{} is not a valid pattern of names", quoted(text));
        let hint = "`*` stands for a whole label, but not for the last one; as the first label it \
                    stands for one or more: \"*.eks.amazonaws.com:443\"";
        return Err(ValueError::new(what, hint));
    }
    check_name(&name.replace(ANY, "a"))?;
    Ok(name)
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, ValueError> {
    if text == ANY {
        return Ok(ALL_PORTS);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = is_number.then(|| text.parse::<u16>().ok()).flatten();
        port.filter(|port| *port > 0)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => {
            let what = format!("{} is not a port from 1 to 65535", quoted(text));
            Err(ValueError::new(
                what,
                "write a port, a range such as 8000-8100, or *",
            ))
        }
    }
}

/// Maximum number of rules of a proxy.
const MAX_RULES: usize = 256;

const EXAMPLES: &str = "for example \"*.eks.amazonaws.com:443\", \"10.0.0.0/8:*\", \
                        \"[2001:db8::/32]:443\", \"localhost:5432\", or \"*:*\" for every destination";

const BLOCKS: &str = "for example \"10.0.0.0/8:443\" or \"[2001:db8::/32]:443\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Remote;

    fn allow(rules: &[&str]) -> Allow {
        let rules = rules.iter().map(|rule| {
            let parsed: Result<AllowRule, _> = rule.parse();
            parsed.unwrap_or_else(|error| panic!("{rule}: {error}"))
        });
        Allow::new(rules.collect())
    }

    fn permits(rule: &str, destination: &str) -> bool {
        let destination: Remote = destination.parse().unwrap();
        allow(&[rule]).permits(&destination)
    }

    #[test]
    fn a_rule_matches_hosts_and_ports() {
        for (rule, permitted, denied) in [
            ("db:1", "db:1 DB:1 db.:1", "db:2 db.x:1 xdb:1 x.db:1"),
            ("DB.:1", "db:1 db.:1", "dbx:1"),
            (
                "*.eks.amazonaws.com:443",
                "a.eks.amazonaws.com:443 A.b.EKS.amazonaws.com.:443",
                "eks.amazonaws.com:443 aeks.amazonaws.com:443 a.eks.amazonaws.com:80 \
                 a.eks.amazonaws.com.evil.example:443 10.0.0.1:443",
            ),
            ("a.*.c:1", "a.b.c:1", "a.c:1 a.b.b.c:1 x.b.c:1"),
            ("*.*.c:1", "a.b.c:1 a.a.b.c:1", "b.c:1 c:1"),
            ("*:1-2", "a:1 10.0.0.1:2 [::2]:2 localhost:1", "a:3"),
            ("*:*", "a:1 10.0.0.1:65535 localhost:1", ""),
            (
                "10.0.0.0/8:*",
                "10.0.0.1:1 10.255.255.255:2 [::ffff:10.1.1.1]:1",
                "11.0.0.1:1 [::a00:1]:1 ten:1 localhost:1",
            ),
            ("0.0.0.0/0:1", "1.2.3.4:1 localhost:1", "[2001::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1", "10.0.0.2:1"),
            (
                "[2001:db8::/32]:1",
                "[2001:db8:1::1]:1",
                "[2001:db9::]:1 10.0.0.1:1",
            ),
            ("[::/0]:1", "[2001::]:1", "10.0.0.1:1 [::ffff:10.0.0.1]:1"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1", "[::a00:1]:1"),
            ("[::/0]:1", "[64:ff9c::a00:1]:1", "[64:ff9b::10.0.0.1]:1"),
            ("[64::/16]:1", "[64::1]:1", "[64:ff9b::10.0.0.1]:1"),
            (
                "10.0.0.0/8:1",
                "[64:ff9b::10.0.0.1]:1",
                "[64:ff9b::11.0.0.1]:1",
            ),
            (
                "[64:ff9b::/96]:1",
                "[64:ff9b::10.0.0.1]:1",
                "10.0.0.1:1 [64:ff9b::1:0:0]:1",
            ),
            (
                "[64:ff9b::a00:1]:1",
                "[64:ff9b::10.0.0.1]:1",
                "[64:ff9b::10.0.0.2]:1 10.0.0.1:1",
            ),
            ("*:1", "[64:ff9b::10.0.0.1]:1", ""),
            ("localhost:1", "localhost:1 127.0.0.1:1 [::1]:1 1", "2 db:1"),
            ("127.0.0.0/8:1", "localhost:1", "db:1"),
        ] {
            for destination in permitted.split_whitespace() {
                assert!(permits(rule, destination), "{rule} permits {destination}");
            }
            for destination in denied.split_whitespace() {
                assert!(!permits(rule, destination), "{rule} denies {destination}");
            }
        }
    }

    #[test]
    fn a_rule_is_formatted_as_in_the_file() {
        let text = "*:*, *.db.internal:443, 10.0.0.0/8:1-2, 10.0.0.1:1, [2001:db8::/32]:*, [::1]:5";
        let rules: Vec<_> = text.split(", ").collect();

        assert_eq!(allow(&rules).to_string(), text);
    }

    #[test]
    fn it_is_known_which_documents_the_rules_need() {
        for (rules, itself, others) in [
            (&["*:*"][..], true, true),
            (&["localhost:1", "127.0.0.1:2", "[::1]:3"], true, false),
            (&["127.0.0.0/8:1"], true, true),
            (&["db:1"], false, true),
        ] {
            let allow = allow(rules);
            assert_eq!(allow.permits_target_itself(), itself, "{rules:?}");
            assert_eq!(allow.permits_other_hosts(), others, "{rules:?}");
        }
    }

    #[test]
    fn invalid_rules_are_rejected() {
        for bad in [
            "",
            "db",
            "db:",
            ":1",
            "db:0",
            "db:65536",
            "db:2-1",
            "db:1-",
            "db:-1",
            "db:+1",
            "db:a",
            "::1",
            "[::1]",
            "::1:443",
            "db-*.internal:1",
            "*.*:1",
            "internal.*:1",
            "10.0.0.1/8:1",
            "10.0.0.0/33:1",
            "10.0.0.0/:1",
            "10.0.0.0/+8:1",
            "[10.0.0.0/8]:1",
            "[db]:1",
            "2001:db8::/32:1",
            "[::ffff:10.0.0.0/104]:1",
            "[2001:db8::]/32:1",
            "a b:1",
            "a@b:1",
            "10.0.0.256:1",
            "a/b:1",
            "http://db:80",
        ] {
            assert!(bad.parse::<AllowRule>().is_err(), "{bad}");
        }
    }
}
