//! `status NAME`, `status --watch` and `close`: sessions and connections of one forward.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::Fixture;
use crate::cli::ended;
use crate::relay::Relay;
use crate::support::daemon_process::{assert_echo, assert_names, assert_reset, connect};
use crate::support::in_process::until;
use crate::support::process::{ssm_proxyd, take_environment};
use crate::support::tmux::Tmux;

impl Fixture {
    fn detail(&self) -> Value {
        let (code, json, output) = self.run(&["status", "f", "--json"]);
        assert_eq!(code, 0, "{output}");
        serde_json::from_str(&json).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_a_forward_lists_its_connections_and_close_resets_one() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let (mut client, mut other) = (connect(fixture.address), connect(fixture.address));
    assert_echo(&mut client, b"hello");
    assert_echo(&mut other, b"hello");

    let detail = fixture.detail();

    let connections = detail["connections"].as_array().unwrap();
    assert_eq!(
        (connections.len(), &detail["connections_total"]),
        (2, &2.into())
    );
    let own = client.local_addr().unwrap().to_string();
    let own = connections.iter().find(|one| one["peer"] == own).unwrap();
    assert_eq!(
        (&own["phase"], &own["sent"], &own["received"]),
        (&"open".into(), &5.into(), &5.into())
    );
    let sessions = detail["sessions"].as_array().unwrap();
    let session = sessions.iter().find(|one| one["id"] == own["session"]);
    let session = session.unwrap_or_else(|| panic!("{detail:#}"));
    assert_eq!(
        (&session["state"], &session["connections"]),
        (&"ready".into(), &1.into())
    );
    assert!(session["agent_version"].is_string(), "{detail:#}");
    let id = own["id"].to_string();
    let (code, text, output) = fixture.run(&["status", "f"]);
    assert_eq!(code, 0, "{output}");
    assert_names(
        &text,
        &[
            "2 sessions",
            "2 connections",
            "ROUND TRIP",
            own["peer"].as_str().unwrap(),
        ],
    );

    assert_eq!(fixture.run(&["close", &id]).0, 0);

    assert_reset(client);
    assert_echo(&mut other, b"still here");
    until("it is no longer listed", || {
        fixture.detail()["connections_total"] == 1
    })
    .await;
    let (code, out, output) = fixture.run(&["close", &id]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_names(
        &output,
        &[
            &format!("there is no connection {id}"),
            "hint: `ssm-proxyd status NAME`",
        ],
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_forward_is_an_error_that_names_the_known_ones() {
    let mut fixture = Fixture::new("").await;
    fixture.start();

    let (code, out, output) = fixture.run(&["status", "db"]);

    assert_eq!((code, out.as_str()), (2, ""));
    assert_names(
        &output,
        &["the daemon has no forward \"db\"", "its forwards: f"],
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_of_connections_is_limited() {
    let mut fixture = Fixture::new("max_connections = 1\nconnect_timeout = \"10m\"\n").await;
    fixture.start();
    let clients: Vec<_> = (0..1010).map(|_| connect(fixture.address)).collect();
    until("all are accepted", || {
        fixture.detail()["connections_total"] == 1010
    })
    .await;

    let detail = fixture.detail();

    assert_eq!(detail["connections"].as_array().unwrap().len(), 1000);
    let (_, text, _) = fixture.run(&["status", "f"]);
    assert_names(&text, &["1010 connections, the oldest 1000:"]);
    drop(clients);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_the_age_of_a_state_are_reported() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let mut client = connect(fixture.address);

    until("a rate was measured", || {
        assert_echo(&mut client, &[7; 5000]);
        let forward = &fixture.status()["forwards"][0];
        let rate = |name: &str| forward[name].as_u64().unwrap();
        rate("sent_per_second") > 0 && rate("received_per_second") > 0 && rate("state_seconds") > 0
    })
    .await;

    let status = fixture.status();
    let credentials = &status["forwards"][0]["credentials"];
    assert!(credentials["expires_seconds"].is_null(), "{status:#}");
    let (_, text, _) = fixture.run(&["status"]);
    assert_names(&text, &["/s", "credentials of f: "]);
    drop(client);
    fixture.ends();
}

/// The tables of the documentation have exactly the keys of the reports.
#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_the_reports_is_documented() {
    let relay = Relay::local();
    let mut fixture = Fixture::new(&format!("relay = {}", relay.address.port())).await;
    fixture.start();
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    let text = fs::read_to_string("docs/interfaces.md").unwrap();
    let section = text.split("\n## 10. Status").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let tables: Vec<BTreeSet<&str>> = section
        .split("| key | value |\n|---|---|\n")
        .skip(1)
        .map(documented)
        .collect();

    let (status, detail) = (fixture.status(), fixture.detail());

    let actual = [
        &status,
        &status["forwards"][0],
        &status["forwards"][0]["relay"],
        &status["forwards"][0]["relay"]["bundle"],
        &detail,
        &detail["stripes"][0],
        &detail["sessions"][0],
        &detail["connections"][0],
    ];
    assert_eq!(tables.len(), actual.len());
    for (documented, actual) in tables.iter().zip(actual) {
        let keys = actual.as_object().unwrap().keys().map(String::as_str);
        assert_eq!(*documented, keys.collect());
    }
    drop(client);
    fixture.ends();
}

/// The keys in the first column of a table.
fn documented(table: &str) -> BTreeSet<&str> {
    let rows = table.lines().take_while(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.split(" | ").next().unwrap());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_redraws_the_status_on_a_terminal_until_ctrl_c() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let screen = watching(&fixture);
    screen.until("0 connections").await;

    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");

    screen.until("1 connection").await;
    let peer = client.local_addr().unwrap().to_string();
    screen.until(&peer).await;
    screen.keys(&["C-c"]);
    screen.until("0-ended").await;
    assert!(
        !screen.text().contains(&peer),
        "the screen must be restored"
    );
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_that_ends_watch_stays_on_the_screen() {
    let mut fixture = Fixture::new("").await;
    fixture.start();
    let screen = watching(&fixture);
    screen.until("0 connections").await;

    fixture.ends();

    screen.until("69-ended").await;
    let text = screen.text();
    assert!(text.contains("error: no daemon is listening"), "{text}");
    assert!(!text.contains("0 connections"), "{text}");
}

/// A terminal with `status f --watch`.
fn watching(fixture: &Fixture) -> Tmux {
    let command = fixture.command(&[]);
    let mut tmux = Command::new("tmux");
    take_environment(&mut tmux, &command);
    let program = command.get_program().to_str().unwrap();
    let watch = format!(
        "{program} status f --watch --config {}",
        fixture.file().display()
    );
    Tmux::start(tmux, &watch)
}

#[test]
fn watch_needs_a_terminal() {
    let mut command = ssm_proxyd();

    let (code, out, output) = ended(command.args(["status", "--watch"]));

    assert_eq!((code, out.as_str()), (2, ""));
    assert_names(&output, &["--watch needs a terminal", "status --json"]);
}
