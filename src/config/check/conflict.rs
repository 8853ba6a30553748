//! Checks for settings that are valid alone but conflict with each other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::check::address::{normalized, overlap};
use crate::config::check::remote_hosts::check_host;
use crate::config::check::section::SectionKeys;
use crate::config::diagnostic::{Finding, Findings};
use crate::config::model::{
    HOST_DOCUMENT, Listen, PER_CONNECTION, PORT_DOCUMENT, Parameters, Remote, SHARED, Target,
    Targets,
};
use crate::config::settings::PROXY;
use crate::config::source::quoted;

/// Checks the settings of one forward or proxy against each other.
pub(super) fn check_forward(section: &SectionKeys<'_>, findings: &mut Findings) {
    check_host(section, findings);
    check_remote_clients(section, findings);
    check_mode(section, findings);
    check_window(section, findings);
    check_target_regions(section, findings);
    if section.is_of(PROXY) {
        return;
    }
    check_sessions(section, findings);
    check_relay(section, findings);
    check_document(section, findings);
    check_parameters(section, findings);
}

/// Checks the tables against each other: names, addresses to listen on, and the admin socket.
pub(super) fn check_tables(
    forwards: &[SectionKeys<'_>],
    http: &SectionKeys<'_>,
    admin: &SectionKeys<'_>,
    findings: &mut Findings,
) {
    check_names(forwards, findings);
    check_host(http, findings);
    check_remote_clients(http, findings);
    // A disabled forward does not listen, so another one may use its address.
    let is_served = |section: &&SectionKeys<'_>| section.get("enabled") != Some(false);
    let listeners: Vec<_> = forwards.iter().chain([http]).filter(is_served).collect();
    check_addresses(&listeners, findings);
    check_admin(admin, &listeners, findings);
}

/// Reports listeners on the path of the admin socket.
fn check_admin(admin: &SectionKeys<'_>, listeners: &[&SectionKeys<'_>], findings: &mut Findings) {
    let socket = admin.get::<String>("socket");
    let Some((path, span)) = socket.zip(admin.span("socket")) else {
        return;
    };
    let path = normalized(Path::new(&path));
    for other in listeners {
        let is_same = |listen: &Listen| listen.path().is_some_and(|own| normalized(own) == path);
        if other.addresses().iter().any(|(listen, _)| is_same(listen)) {
            let what = format!("{} listens on the same socket", other.scope);
            let hint = "choose another path for one of them";
            findings.add(admin.finding(span.clone(), what, hint));
        }
    }
}

fn check_remote_clients(section: &SectionKeys<'_>, findings: &mut Findings) {
    if section.get("allow_remote_clients") != Some(false) {
        return;
    }
    let addresses = section.addresses().into_iter();
    for (listen, span) in addresses.filter(|(listen, _)| !listen.is_loopback()) {
        let what = format!("other machines could connect to {listen}");
        let port = listen.port().unwrap_or_default();
        let hint = format!(
            "write \"localhost:{port}\", or add `allow_remote_clients = true` if this is intended"
        );
        findings.add(section.finding(span, what, hint));
    }
}

/// Reports `mode` where it has no effect, as the user may rely on it for protection.
fn check_mode(section: &SectionKeys<'_>, findings: &mut Findings) {
    let Some(span) = section.span("mode") else {
        return;
    };
    let addresses = section.addresses();
    if !addresses.is_empty() && addresses.iter().all(|(listen, _)| listen.path().is_none()) {
        let what = "`mode` has no effect: `listen` has no Unix socket";
        let hint = "remove it, or add a Unix socket: `listen = \"unix:/run/ssm-proxyd/db.sock\"`";
        findings.add(section.finding(span, what, hint));
    }
}

fn check_window(section: &SectionKeys<'_>, findings: &mut Findings) {
    let (window, payload) = ("upload_window", "upload_payload");
    let sizes = section.get::<u64>(window).zip(section.get::<u64>(payload));
    let Some((bytes, least)) = sizes.filter(|(bytes, least)| bytes < least) else {
        return;
    };
    let own = section.span(window).or_else(|| section.span(payload));
    let inherited = [window, payload].map(|key| section.span_or_inherited(key));
    let span = own.or_else(|| inherited.into_iter().flatten().next());
    let what =
        format!("`{window}` ({bytes} bytes) is smaller than one `{payload}` ({least} bytes)");
    let hint = "make the window a multiple of the payload; the defaults are \"256KiB\" and 1024";
    findings.add(section.finding(span.unwrap_or_default(), what, hint));
}

/// Reports keys of the other session mode, and more warm sessions than connections.
fn check_sessions(section: &SectionKeys<'_>, findings: &mut Findings) {
    let Some(sessions) = section.get::<String>("sessions") else {
        return;
    };
    let (idle, other) = match sessions == SHARED {
        true => (["warm", "warm_max_age"], PER_CONNECTION),
        false => (["max_streams", "max_session_age"], SHARED),
    };
    for (key, span) in idle
        .iter()
        .filter_map(|key| Some((key, section.span(key)?)))
    {
        let what = format!("`{key}` has no effect with `sessions = \"{sessions}\"`");
        let hint = format!("remove it, or write `sessions = \"{other}\"`");
        findings.add(section.finding(span, what, hint));
    }
    let counts = section
        .get::<u64>("warm")
        .zip(section.get::<u64>("max_connections"));
    if let Some((warm, most)) = counts
        && sessions == PER_CONNECTION
        && warm > most
    {
        let span = section.span_or_inherited("warm").unwrap_or_default();
        let what = format!("`warm` ({warm}) is greater than `max_connections` ({most})");
        let hint = "at most one session per connection is used";
        findings.add(section.finding(span, what, hint));
    }
}

/// Reports keys that have no effect with a relay, or without one. Each relay has sessions of its own
/// kind, which are shared by all connections.
fn check_relay(section: &SectionKeys<'_>, findings: &mut Findings) {
    let Some(relay) = section.span_or_inherited("relay") else {
        for key in ["stripes", "compress"] {
            if let Some(span) = section.span(key) {
                let what = format!("`{key}` has no effect without `relay`");
                let hint = "add the port of `ssm-proxyd relay` on the target: `relay = 7400`";
                findings.add(section.finding(span, what, hint));
            }
        }
        return;
    };
    let hint = "remove it, or remove `relay`";
    for key in RELAY_CONFLICTS {
        if let Some(span) = section.span(key) {
            let what = format!("`{key}` has no effect with `relay`");
            let finding = section.finding(span, what, hint);
            findings.add(finding.with_label(relay.clone(), "`relay` is here"));
        }
    }
    if section.get::<Remote>("remote").is_none() && section.span("remote").is_none() {
        let what = "`relay` requires `remote`, the destination that the relay connects to";
        let hint =
            "add it: `remote = \"db.internal:5432\"`, or `remote = 22` for the target itself";
        findings.add(section.finding(relay, what, hint));
    }
}

/// Reports targets that name another region than the forward itself. That of `[defaults]` is only
/// for targets without one.
fn check_target_regions(section: &SectionKeys<'_>, findings: &mut Findings) {
    let region = section.get::<String>("region");
    let (Some(region), Some(at)) = (region, section.span("region")) else {
        return;
    };
    let targets = section.get::<Targets>("target");
    let mut targets = targets.iter().flat_map(Targets::iter);
    let other = |target: &&Target| target.region().is_some_and(|own| own != region);
    if let Some(target) = targets.find(other) {
        let span = section.span_or_inherited("target").unwrap_or_default();
        let target = quoted(&target.to_string());
        let what = format!("`target`: {target} is in another region than `region` of the forward");
        let hint = "keep one of the two; the region of a target takes precedence over that of \
                    [defaults] and [aws]";
        let finding = section.finding(span, what, hint);
        findings.add(finding.with_label(at, "`region` is here"));
    }
}

/// AWS documents either require a host or accept none, and fix no port (docs/protocol.md, section
/// 1.3).
fn check_document(section: &SectionKeys<'_>, findings: &mut Findings) {
    let Some(document) = section.get::<String>("document") else {
        return;
    };
    let parameters = section.get::<Parameters>("parameters").unwrap_or_default();
    let lacks = |key| section.span("remote").is_none() && !parameters.contains_key(key);
    let why = match (section.get("remote"), document.as_str()) {
        (Some(Remote::Host { .. }), PORT_DOCUMENT) => "accepts no host, but `remote` has one",
        (Some(Remote::Port(_)), HOST_DOCUMENT) => {
            "requires a host, but `remote` is a port of the target"
        }
        (_, other) if OTHER_DOCUMENTS.contains(&other) => "does not support port forwarding",
        (_, PORT_DOCUMENT | HOST_DOCUMENT) if lacks("portNumber") => "fixes no port",
        (_, HOST_DOCUMENT) if lacks("host") => "fixes no host",
        _ => return,
    };
    let span = section.span_or_inherited("document").unwrap_or_default();
    let what = format!("`document`: {} {why}", quoted(&document));
    let hint = match section.span("remote") {
        Some(_) => "remove `document`: the default is derived from `remote`",
        None => "write `remote` instead: the default of `document` is derived from it",
    };
    findings.add(section.finding(span, what, hint));
}

/// Parameters replace those derived from `remote`, and have no meaning without a document. Those of
/// `[defaults]` concern forwards without `remote` only.
fn check_parameters(section: &SectionKeys<'_>, findings: &mut Findings) {
    let remote = section.span("remote");
    let own = section.span("parameters");
    if let (Some(span), Some(remote)) = (own, &remote) {
        let what = "`parameters` are sent instead of host and port, but `remote` is present";
        let hint = "remove `remote` if the document needs only these parameters, else `parameters`";
        let finding = section.finding(span, what, hint);
        findings.add(finding.with_label(remote.clone(), "`remote` is here"));
    } else if let Some(span) = section.span_or_inherited("parameters")
        && remote.is_none()
        && section.span_or_inherited("document").is_none()
    {
        let what = "`parameters` have no meaning without `document`";
        let hint = "add the document that takes them: `document = \"Our-Database\"`";
        findings.add(section.finding(span, what, hint));
    }
}

/// AWS documents whose sessions are not port forwarding (docs/protocol.md, sections 1.3 and 10).
const OTHER_DOCUMENTS: [&str; 5] = [
    "AWS-StartSSHSession",
    "AWS-StartInteractiveCommand",
    "AWS-StartNonInteractiveCommand",
    "AWS-PasswordReset",
    "SSM-SessionManagerRunShell",
];

/// Settings of a forward that concern sessions without a relay.
const RELAY_CONFLICTS: [&str; 7] = [
    "document",
    "parameters",
    "sessions",
    "warm",
    "warm_max_age",
    "max_streams",
    "max_session_age",
];

fn check_names(forwards: &[SectionKeys<'_>], findings: &mut Findings) {
    let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for section in forwards {
        let name = section.get::<String>("name");
        let Some((name, span)) = name.zip(section.span("name")) else {
            continue;
        };
        if let Some(first) = seen.get(&name) {
            let what = format!("duplicate forward name {}", quoted(&name));
            let finding = Finding::new(span, what, "give each forward a unique name");
            findings.add(finding.with_label(first.clone(), "first used here"));
        } else {
            seen.insert(name, span);
        }
    }
}

/// An address and the table that listens on it.
struct AddressOwner<'a> {
    listen: Listen,
    span: Range<usize>,
    table: usize,
    section: &'a SectionKeys<'a>,
}

fn check_addresses(listeners: &[&SectionKeys<'_>], findings: &mut Findings) {
    let mut owners: BTreeMap<(Option<u16>, Option<PathBuf>), Vec<AddressOwner<'_>>> =
        BTreeMap::new();
    for (table, section) in listeners.iter().enumerate() {
        for (listen, span) in section.addresses() {
            let place = (listen.port(), listen.path().map(normalized));
            let owner = AddressOwner {
                listen,
                span,
                table,
                section,
            };
            let others = owners.entry(place).or_default();
            let mut overlapping = others.iter();
            match overlapping.find(|other| overlap(&owner.listen, &other.listen)) {
                Some(other) => findings.add(address_conflict(&owner, other)),
                None => others.push(owner),
            }
        }
    }
}

fn address_conflict(second: &AddressOwner<'_>, first: &AddressOwner<'_>) -> Finding {
    let AddressOwner {
        listen, section, ..
    } = second;
    let elsewhere = match listen {
        Listen::Localhost(_) | Listen::Tcp(_) => {
            "choose another port for one of them; 0 selects a free port"
        }
        Listen::Unix(_) => "choose another path for one of them",
        Listen::Systemd(_) => "use a .socket unit with its own name for each",
    };
    let (owner, hint) = match (second.table == first.table, section.is_many()) {
        (true, true) => ("the same forward", "keep one of the two"),
        (true, false) => ("the same table", "keep one of the two"),
        (false, _) => (first.section.scope.as_str(), elsewhere),
    };
    let what = format!("{listen} is already used by {owner}");
    let there = format!("{owner} listens on {}", first.listen);
    let finding = section.finding(second.span.clone(), what, hint);
    finding.with_label(first.span.clone(), there)
}
