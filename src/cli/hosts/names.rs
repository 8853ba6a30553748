//! The names that are written into the hosts file, and those that must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::block::Entry;
use crate::config::{Aws, Config, Forward, HostAddresses, Listen};
use crate::session::before_aws_domain;

/// The names of remote hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Those on whose address a forward listens.
    pub(super) entries: Vec<Entry>,
    /// Which forward listens on which address, for the user.
    pub(super) listeners: Vec<String>,
    /// Why a name has no entry, for the user.
    pub(super) left_out: Vec<String>,
}

impl Names {
    /// Returns the names of a configuration. A name without a listener is left out: it would lead to
    /// an address at which nothing answers.
    pub(super) fn of(config: &Config) -> Self {
        let addresses = HostAddresses::of(&config.forwards);
        let endpoints = endpoints(&config.aws);
        let mut names = Self::default();
        let (mut entries, mut unheard) = (BTreeMap::new(), Vec::new());
        let enabled = config.forwards.iter().filter(|forward| forward.enabled);
        for forward in enabled {
            let remote = &forward.remote;
            let Some((name, address)) = remote.host_name().zip(addresses.get(remote)) else {
                continue;
            };
            let own = &forward.name;
            if let Some(why) = reserved(&name, &endpoints) {
                let text = format!("{own}: {name} is left out: {why}");
                names.left_out.push(text);
                continue;
            }
            let ports = ports(forward, address.into());
            if ports.is_empty() {
                let port = remote.port().unwrap_or_default();
                let text = format!(
                    "{own}: {name} is left out: the forward does not listen on {address}; add \
                     \"hosts\" to its `listen` (or \"hosts:PORT\" for another port than {port})"
                );
                unheard.push((name, text));
                continue;
            }
            let listen = ports.iter().map(|port| format!("{address}:{port}"));
            let listen = listen.collect::<Vec<_>>().join(", ");
            names
                .listeners
                .push(format!("{own} listens on {listen} for {remote}"));
            entries.insert(name, address);
        }
        // Another forward to the same host may listen there.
        unheard.retain(|(name, _)| !entries.contains_key(name));
        names
            .left_out
            .extend(unheard.into_iter().map(|(_, text)| text));
        let entry = |(name, address)| Entry { address, name };
        names.entries = entries.into_iter().map(entry).collect();
        names
    }

    /// Leaves out names for which the file has a line already.
    pub(super) fn without(mut self, other_lines: &BTreeMap<String, usize>, file: &str) -> Self {
        let left_out = &mut self.left_out;
        self.entries.retain(|Entry { name, .. }| {
            let line = other_lines.get(name);
            if let Some(line) = line {
                left_out.push(format!(
                    "{name} is left out: line {line} of {file} has this name; remove that line to \
                     use the forward"
                ));
            }
            line.is_none()
        });
        self
    }
}

/// Returns the ports at which a forward listens on an address.
fn ports(forward: &Forward, address: IpAddr) -> BTreeSet<u16> {
    let port = |listen: &Listen| match listen {
        Listen::Tcp(local) => {
            let is_any = local.ip().is_unspecified() && local.is_ipv4();
            (local.ip() == address || is_any).then(|| local.port())
        }
        Listen::Localhost(_) | Listen::Unix(_) | Listen::Systemd(_) => None,
    };
    let ports = forward.listen.iter().filter_map(port);
    // Port 0 is any free one, which is not known here.
    ports.filter(|port| *port != 0).collect()
}

/// Returns why a name must keep its meaning on this machine.
fn reserved(name: &str, endpoints: &BTreeSet<String>) -> Option<&'static str> {
    if LOCAL.contains(&name) || name.ends_with(".localhost") {
        return Some("it is a name of this machine");
    }
    let is_endpoint = endpoints.contains(name) || is_aws_api(name);
    is_endpoint.then_some("ssm-proxyd itself connects to this host")
}

/// Returns whether a name is that of a service of AWS that starting a session needs:
/// `ssm.REGION.amazonaws.com`, `sts.amazonaws.com`, `vpce-….ssm.REGION.vpce.amazonaws.com`.
fn is_aws_api(name: &str) -> bool {
    let Some(rest) = before_aws_domain(name) else {
        return false;
    };
    let mut labels = rest
        .rsplit('.')
        .filter(|label| !label.is_empty())
        .peekable();
    labels.next_if_eq(&"vpce");
    // A database may have the name of a service, but that is not beside the region.
    labels.next_if(|label| is_region(label));
    labels.next().is_some_and(|label| {
        let service = label.strip_suffix("-fips").unwrap_or(label);
        SERVICES.contains(&service)
    })
}

fn is_region(label: &str) -> bool {
    let number = label.rsplit_once('-').map(|(_, number)| number);
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit());
    label.starts_with(|c: char| c.is_ascii_lowercase()) && number.is_some_and(is_number)
}

/// Returns the hosts that the daemon connects to by its own settings.
fn endpoints(aws: &Aws) -> BTreeSet<String> {
    let urls = [
        aws.ssm_endpoint.as_deref(),
        aws.ecs_endpoint.as_deref(),
        aws.ec2_instance_connect_endpoint.as_deref(),
        aws.ssmmessages_endpoint.as_deref(),
        aws.proxy.as_ref().map(|proxy| proxy.expose()),
    ];
    urls.into_iter().flatten().filter_map(host).collect()
}

/// Returns the host of a URL, as names are compared.
fn host(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.rsplit('@').next()?.split(['/', '?', '#']).next()?;
    let host = authority.split(':').next()?;
    let host = host.strip_suffix('.').unwrap_or(host);
    Some(host.to_ascii_lowercase()).filter(|host| !host.is_empty())
}

/// Names that every machine has for itself.
const LOCAL: [&str; 9] = [
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-allnodes",
    "ip6-allrouters",
    "broadcasthost",
];

/// Services that are called for sessions and for credentials.
const SERVICES: [&str; 10] = [
    "ssm",
    "ssmmessages",
    "ec2messages",
    "ec2-instance-connect",
    "ecs",
    "sts",
    "sso",
    "oidc",
    "signin",
    "portal",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn forward(name: &str, listen: &str, remote: &str) -> String {
        format!(
            "[[forward]]\nname = \"{name}\"\nlisten = {listen}\ntarget = \"i-0123456789abcdef0\"\n\
             remote = \"{remote}\"\n"
        )
    }

    fn names(text: &str) -> Names {
        Names::of(&parse(text).unwrap())
    }

    #[test]
    fn a_host_has_an_entry_if_a_forward_listens_on_its_address() {
        let text = [
            forward(
                "orders",
                "[5432, \"hosts\", \"hosts:6000\"]",
                "Orders.internal.:5432",
            ),
            forward("again", "\"hosts:5433\"", "orders.internal:5433"),
            forward("local", "7000", "orders.internal:5434"),
            forward("cache", "6379", "cache.internal:6379"),
            forward("address", "1", "10.0.0.7:6379"),
            forward("target", "2", "localhost:22"),
            forward("disabled", "\"hosts\"", "other.internal:1") + "enabled = false\n",
        ];

        let names = names(&text.concat());

        let [Entry { address, name }] = &names.entries[..] else {
            panic!("{names:?}");
        };
        assert_eq!(name, "orders.internal");
        let listens = format!("orders listens on {address}:5432, {address}:6000 for");
        assert!(names.listeners[0].starts_with(&listens), "{names:?}");
        assert_eq!(names.listeners.len(), 2, "{names:?}");
        let [left_out] = &names.left_out[..] else {
            panic!("{names:?}");
        };
        assert!(
            left_out.starts_with("cache: cache.internal is left out"),
            "{left_out}"
        );
    }

    #[test]
    fn names_that_the_daemon_needs_are_never_written() {
        for host in [
            "ssm.eu-west-1.amazonaws.com",
            "SSMMessages.cn-north-1.amazonaws.com.cn.",
            "ssm-fips.us-east-1.amazonaws.com",
            "vpce-0123-abc.ssm.eu-west-1.vpce.amazonaws.com",
            "vpce-0123-abc-eu-west-1a.ssmmessages.eu-west-1.vpce.amazonaws.com",
            "sts.amazonaws.com",
            "portal.sso.eu-west-1.amazonaws.com",
            "oidc.eu-west-1.amazonaws.com",
            "ssm.eu-west-1.api.aws",
            "x.localhost",
            "ip6-localhost",
            "ssm.corp.example",
            "proxy.corp.example",
        ] {
            let aws = "[aws]\nssm_endpoint = \"https://ssm.corp.example:8443\"\n\
                       proxy = \"http://me:p@ss@Proxy.corp.example:3128\"\n";
            let text = aws.to_owned() + &forward("f", "\"hosts\"", &format!("{host}:443"));

            let names = names(&text);

            assert_eq!(names.entries, [], "{host}");
            assert!(names.left_out[0].contains("is left out"), "{names:?}");
        }
    }

    #[test]
    fn other_names_of_aws_are_written() {
        for host in [
            "sts.abc123.eu-west-1.rds.amazonaws.com",
            "search-x.eu-west-1.es.amazonaws.com",
            "mydb.abc.rds.cn-north-1.amazonaws.com.cn",
            "b-1.ssm.abc.kafka.eu-west-1.amazonaws.com",
            "ssm.internal",
        ] {
            let names = names(&forward("f", "\"hosts\"", &format!("{host}:443")));

            assert_eq!(names.entries.len(), 1, "{host}: {names:?}");
        }
    }
}
