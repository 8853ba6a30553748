//! Text of `status`: a table of forwards, failures, and credentials.

use std::collections::BTreeMap;

use crate::cli::{cells, relay_lines, terminal};
use crate::quantity::{rate, time};
use crate::telemetry::{CredentialsReport, ForwardReport, StatusReport};

/// Returns the text for all forwards.
pub(super) fn summary(report: &StatusReport) -> String {
    let mut text = format!(
        "ssm-proxyd {}, process {}, {} for {}\n",
        report.version,
        report.pid,
        if report.stopping {
            "stopping, up"
        } else {
            "running"
        },
        time(report.uptime_seconds)
    );
    if report.reloads + report.failed_reloads > 0 {
        let (done, failed) = (report.reloads, report.failed_reloads);
        text += &format!("reloads: {done} done, {failed} failed\n");
    }
    if report.log_lines_dropped > 0 {
        let dropped = report.log_lines_dropped;
        text += &format!("log: {dropped} lines dropped because the reader was too slow\n");
    }
    text += "\n";
    text += &forwards(&report.forwards.iter().collect::<Vec<_>>());
    text += &credentials(&report.forwards);
    for failing in &report.failing_servers {
        let what = format!("{}; retrying", failing.error);
        let (what, hint) = terminal::tagged(&what, &failing.hint, &failing.code);
        text += &format!("\n{what}\n{}", hint_line(&hint));
    }
    text += &finishing(report);
    text
}

/// Returns a line for each forward with connections from before a reload.
fn finishing(report: &StatusReport) -> String {
    let mut by_name = BTreeMap::<&str, usize>::new();
    for finishing in &report.finishing {
        *by_name.entry(&finishing.name).or_default() += finishing.connections;
    }
    let lines = by_name.iter().filter(|(_, connections)| **connections > 0);
    let lines = lines.map(|(name, connections)| {
        let (plural, have) = match connections {
            1 => ("", "has"),
            _ => ("s", "have"),
        };
        match report.forwards.iter().any(|forward| forward.name == **name) {
            true => format!(
                "{name}: {connections} connection{plural} {have} the settings from before a reload\n"
            ),
            false => {
                format!("{name}, removed by a reload: {connections} connection{plural} still open\n")
            }
        }
    });
    lines.collect()
}

/// Returns a table of these forwards, and their failures.
pub(super) fn forwards(forwards: &[&ForwardReport]) -> String {
    let rows: Vec<Vec<String>> = forwards.iter().map(|forward| row(forward)).collect();
    let mut text = table(&HEAD, NUMBERS, &rows);
    text += &relays(forwards);
    for forward in forwards {
        text += &failure(forward);
    }
    text
}

/// Returns a line for each relay.
fn relays(forwards: &[&ForwardReport]) -> String {
    let relays = forwards.iter().filter_map(|forward| {
        let relay = relay_lines::relay(forward.relay.as_ref()?);
        Some(format!("{}: {relay}\n", forward.name))
    });
    let lines: String = relays.collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\n{lines}"),
    }
}

fn row(forward: &ForwardReport) -> Vec<String> {
    vec![
        forward.name.to_string(),
        format!("{} {}", forward.state.as_str(), time(forward.state_seconds)),
        forward.connections.to_string(),
        forward.waiting.to_string(),
        forward.sessions.to_string(),
        rate(forward.sent_per_second),
        rate(forward.received_per_second),
        forward.listen.join(", "),
        match &forward.destination {
            Some(actual) => {
                format!(
                    "{} (leads to {actual}) via {}",
                    forward.remote, forward.target
                )
            }
            None => format!("{} via {}", forward.remote, forward.target),
        },
    ]
}

fn failure(forward: &ForwardReport) -> String {
    let Some(failure) = &forward.failure else {
        return String::new();
    };
    let (error, hint) = terminal::tagged(&failure.error, &failure.hint, &failure.code);
    format!(
        "\n{} has been failing for {}, last failure {} ago: {error}\n{}",
        forward.name,
        time(failure.since_seconds),
        time(failure.seen_seconds),
        hint_line(&hint),
    )
}

pub(super) fn hint_line(hint: &str) -> String {
    match hint {
        "" => String::new(),
        hint => format!("  hint: {hint}\n"),
    }
}

/// Returns a line for each distinct identity, with the forwards that use it. They may have requested
/// their credentials at different times; the first expiry is shown.
fn credentials(forwards: &[ForwardReport]) -> String {
    let mut identities: Vec<(CredentialsReport, Vec<&str>)> = Vec::new();
    for forward in forwards {
        let Some(own) = &forward.credentials else {
            continue;
        };
        match identities.iter_mut().find(|(known, _)| is_same(known, own)) {
            Some((known, names)) => {
                let expiries = [known.expires_seconds, own.expires_seconds];
                known.expires_seconds = expiries.into_iter().flatten().min();
                names.push(&forward.name);
            }
            None => identities.push((own.clone(), vec![&forward.name])),
        }
    }
    let lines = identities.iter().map(|(own, names)| {
        let more = names.len().saturating_sub(MAX_NAMED);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names[..names.len().min(MAX_NAMED)].join(", ");
        format!("credentials of {names}{more}: {}\n", identity(own))
    });
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\n{lines}"),
    }
}

fn is_same(one: &CredentialsReport, other: &CredentialsReport) -> bool {
    let identity = |own: &CredentialsReport| {
        (
            own.profile.clone(),
            own.role_arn.clone(),
            own.account.clone(),
        )
    };
    identity(one) == identity(other)
}

/// Returns an identity in words.
pub(super) fn identity(own: &CredentialsReport) -> String {
    let profile = own.profile.as_ref();
    let role = own.role_arn.as_ref();
    let account = own.account.as_ref();
    let expires = match own.expires_seconds {
        Some(0) => "expired".to_owned(),
        Some(left) => format!("expire in {}", time(left)),
        None => "do not expire".to_owned(),
    };
    let parts = [
        profile.map(|profile| format!("profile {profile}")),
        role.map(|role| format!("role {role}")),
        account.map(|account| format!("account {account}")),
        Some(expires),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Aligns columns to their widest entry; the last column is not padded. The columns of `numbers` are
/// aligned to the right.
pub(super) fn table(head: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let titles = head.iter().map(ToString::to_string).collect();
    let rows: Vec<&Vec<String>> = [&titles].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| cells::width(&row[column])).max();
    let widths: Vec<usize> = (0..head.len()).map(|c| width(c).unwrap_or(0)).collect();
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| cells::pad(cell, *width, numbers.contains(&column)))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

const HEAD: [&str; 9] = [
    "FORWARD",
    "STATE",
    "OPEN",
    "WAITING",
    "SESSIONS",
    "SENT",
    "RECEIVED",
    "LISTEN",
    "DESTINATION",
];

/// Columns with numbers.
const NUMBERS: &[usize] = &[2, 3, 4, 5, 6];

/// Maximum number of forwards named with an identity.
const MAX_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_in_cells() {
        let row =
            |name: &str, count: &str, last: &str| [name, count, last].map(str::to_owned).to_vec();

        let text = table(
            &["NAME", "OPEN", "LAST"],
            &[1],
            &[row("データ", "7", "a"), row("e\u{301}", "10", "b")],
        );

        assert_eq!(
            text,
            "NAME    OPEN  LAST\nデータ     7  a\ne\u{301}         10  b\n"
        );
    }

    #[test]
    fn forwards_with_the_same_identity_are_one_line_with_the_first_expiry() {
        let forward = |name: &str, profile: &str, expires: Option<u64>| {
            let forward = serde_json::json!({
                "name": name, "listen": [], "target": "i", "remote": "r:1", "state": "ready",
                "connections": 0, "waiting": 0, "accepted": 0, "sent": 0, "received": 0,
                "sessions": 0, "sessions_ready": 0, "sessions_started": 0, "sessions_failed": 0,
                "resumes": 0, "failure": null, "credentials": {
                    "profile": profile, "role_arn": null, "account": null,
                    "expires_seconds": expires,
                },
            });
            serde_json::from_value(forward).unwrap()
        };

        let text = credentials(&[
            forward("a", "prod", Some(125)),
            forward("b", "test", None),
            forward("c", "prod", Some(60)),
        ]);

        assert_eq!(
            text,
            "\ncredentials of a, c: profile prod, expire in 1m\n\
             credentials of b: profile test, do not expire\n"
        );
    }
}
