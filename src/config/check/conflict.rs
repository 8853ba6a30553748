//! Checks for settings that are valid alone but conflict with each other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::check::address::{normalized, overlap};
use crate::config::check::section::Fields;
use crate::config::diagnostic::{Finding, Findings};
use crate::config::model::{HOST_DOCUMENT, Listen, PORT_DOCUMENT, Remote};
use crate::config::settings::{PER_CONNECTION, SHARED};
use crate::config::source::quoted;

/// Checks the settings of one forward against each other.
pub(super) fn check_forward(fields: &Fields, findings: &mut Findings) {
    check_remote_clients(fields, findings);
    check_mode(fields, findings);
    check_window(fields, findings);
    check_sessions(fields, findings);
    check_document(fields, findings);
}

/// Checks the listeners of all forwards and of `[http]` against each other.
pub(super) fn check_listeners(forwards: &[Fields], http: &Fields, findings: &mut Findings) {
    check_names(forwards, findings);
    check_remote_clients(http, findings);
    check_addresses(forwards.iter().chain([http]), findings);
}

/// Reports listeners on the path of the admin socket.
pub(super) fn check_admin(
    admin: &Fields,
    forwards: &[Fields],
    http: &Fields,
    findings: &mut Findings,
) {
    let (Some(path), Some(span)) = (admin.text("socket"), admin.span("socket")) else {
        return;
    };
    let path = normalized(Path::new(&path));
    for other in forwards.iter().chain([http]) {
        if is_disabled(other) {
            continue;
        }
        let addresses = other.addresses("listen").unwrap_or_default();
        let is_same = |listen: &Listen| listen.path().is_some_and(|own| normalized(own) == path);
        if addresses.iter().any(|(listen, _)| is_same(listen)) {
            let what = format!("[admin]: {} listens on the same socket", other.scope);
            let hint = "choose another path for one of them";
            findings.add(Finding::new(span.clone(), what, hint));
        }
    }
}

fn check_remote_clients(fields: &Fields, findings: &mut Findings) {
    if fields.flag("allow_remote_clients") != Some(false) {
        return;
    }
    for (listen, span) in fields.addresses("listen").unwrap_or_default() {
        if listen.is_loopback() {
            continue;
        }
        let what = format!("{}: other machines could connect to {listen}", fields.scope);
        let port = listen.port().unwrap_or_default();
        let hint = format!(
            "write \"localhost:{port}\", or add `allow_remote_clients = true` if this is intended"
        );
        findings.add(Finding::new(span, what, hint));
    }
}

/// Reports `mode` where it has no effect, as the user may rely on it for protection.
fn check_mode(fields: &Fields, findings: &mut Findings) {
    let (Some(span), Some(addresses)) = (fields.span("mode"), fields.addresses("listen")) else {
        return;
    };
    if addresses.iter().any(|(listen, _)| listen.path().is_some()) {
        return;
    }
    let what = format!(
        "{}: `mode` has no effect: `listen` has no Unix socket",
        fields.scope
    );
    let hint = "remove it, or add a Unix socket: `listen = \"unix:/run/ssm-proxyd/db.sock\"`";
    findings.add(Finding::new(span, what, hint));
}

fn check_window(fields: &Fields, findings: &mut Findings) {
    let window = fields.number::<u64>("upload_window");
    let payload = fields.number::<u64>("upload_payload");
    let Some((window, payload)) = window.zip(payload) else {
        return;
    };
    if window >= payload {
        return;
    }
    let own = fields
        .span("upload_window")
        .or_else(|| fields.span("upload_payload"));
    let span = own
        .or_else(|| fields.place("upload_window"))
        .or_else(|| fields.place("upload_payload"));
    let what = format!(
        "{}: `upload_window` ({window} bytes) is smaller than one `upload_payload` ({payload} bytes)",
        fields.scope
    );
    let hint = "make the window a multiple of the payload; the defaults are \"256KiB\" and 1024";
    findings.add(Finding::new(span.unwrap_or_default(), what, hint));
}

/// Reports keys of the other session mode, and more warm sessions than connections.
fn check_sessions(fields: &Fields, findings: &mut Findings) {
    let Some(sessions) = fields.text("sessions") else {
        return;
    };
    let (idle, other) = match sessions == SHARED {
        true => (["warm", "warm_max_age"], PER_CONNECTION),
        false => (["max_streams", "max_session_age"], SHARED),
    };
    for (key, span) in idle.iter().filter_map(|key| Some((key, fields.span(key)?))) {
        let what = format!(
            "{}: `{key}` has no effect with `sessions = \"{sessions}\"`",
            fields.scope
        );
        let hint = format!("remove it, or write `sessions = \"{other}\"`");
        findings.add(Finding::new(span, what, &hint));
    }
    let most = fields.number::<u64>("max_connections");
    let (Some(warm), Some(most)) = (fields.number::<u64>("warm"), most) else {
        return;
    };
    if sessions == PER_CONNECTION && warm > most {
        let what = format!(
            "{}: `warm` ({warm}) is greater than `max_connections` ({most})",
            fields.scope
        );
        let hint = "at most one session per connection is used";
        findings.add(Finding::new(
            fields.place("warm").unwrap_or_default(),
            what,
            hint,
        ));
    }
}

/// AWS documents either require a host or accept none (docs/protocol.md, section 1.3).
fn check_document(fields: &Fields, findings: &mut Findings) {
    let (Some(document), Some(remote), Some(span)) = (
        fields.text("document"),
        fields.remote("remote"),
        fields.place("document"),
    ) else {
        return;
    };
    let why = match (remote, document.as_str()) {
        (Remote::Host { .. }, PORT_DOCUMENT) => "accepts no host, but `remote` has one",
        (Remote::Port(_), HOST_DOCUMENT) => "requires a host, but `remote` is a port of the target",
        (_, other) if OTHER_DOCUMENTS.contains(&other) => "does not support port forwarding",
        _ => return,
    };
    let what = format!("{}: `document`: {} {why}", fields.scope, quoted(&document));
    let hint = "remove `document`: the default is derived from `remote`";
    findings.add(Finding::new(span, what, hint));
}

/// AWS documents whose sessions are not port forwarding (docs/protocol.md, sections 1.3 and 10).
const OTHER_DOCUMENTS: [&str; 5] = [
    "AWS-StartSSHSession",
    "AWS-StartInteractiveCommand",
    "AWS-StartNonInteractiveCommand",
    "AWS-PasswordReset",
    "SSM-SessionManagerRunShell",
];

fn check_names(forwards: &[Fields], findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for fields in forwards {
        let (Some(name), Some(span)) = (fields.text("name"), fields.span("name")) else {
            continue;
        };
        match seen.get(&name) {
            None => {
                seen.insert(name, span);
            }
            Some(first) => {
                let what = format!("duplicate forward name {}", quoted(&name));
                let finding = Finding::new(span, what, "give each forward a unique name");
                findings.add(finding.beside(Range::clone(first), "first used here"));
            }
        }
    }
}

/// An address and the table that listens on it.
struct AddressOwner<'a> {
    listen: Listen,
    span: Range<usize>,
    table: usize,
    fields: &'a Fields,
}

fn check_addresses<'a>(tables: impl Iterator<Item = &'a Fields>, findings: &mut Findings) {
    let mut by_place: BTreeMap<(Option<u16>, Option<PathBuf>), Vec<AddressOwner<'_>>> =
        BTreeMap::new();
    for (table, fields) in tables.enumerate() {
        if is_disabled(fields) {
            continue;
        }
        for (listen, span) in fields.addresses("listen").unwrap_or_default() {
            let place = (listen.port(), listen.path().map(normalized));
            let holder = AddressOwner {
                listen,
                span,
                table,
                fields,
            };
            let holders = by_place.entry(place).or_default();
            let other = holders
                .iter()
                .find(|other| overlap(&holder.listen, &other.listen));
            match other {
                Some(other) => findings.add(taken(&holder, other)),
                None => holders.push(holder),
            }
        }
    }
}

/// A disabled forward does not listen, so another one may use its address.
fn is_disabled(fields: &Fields) -> bool {
    fields.flag("enabled") == Some(false)
}

fn taken(holder: &AddressOwner<'_>, other: &AddressOwner<'_>) -> Finding {
    let AddressOwner { listen, fields, .. } = holder;
    let elsewhere = match listen {
        Listen::Localhost(_) | Listen::Tcp(_) => {
            "choose another port for one of them; 0 selects a free port"
        }
        Listen::Unix(_) => "choose another path for one of them",
        Listen::Systemd(_) => "use a .socket unit with its own name for each",
    };
    let (owner, hint) = if holder.table == other.table {
        let same = match fields.is_many() {
            true => "the same forward",
            false => "the same table",
        };
        (same, "keep one of the two")
    } else {
        (other.fields.scope.as_str(), elsewhere)
    };
    let what = format!("{}: {listen} is already used by {owner}", fields.scope);
    let there = format!("{owner} listens on {}", other.listen);
    Finding::new(holder.span.clone(), what, hint).beside(other.span.clone(), there)
}
