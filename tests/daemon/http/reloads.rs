//! Metrics and status across reloads: nothing that the connections of a replaced or removed forward
//! do is lost.

use std::net::TcpStream;

use super::metrics::CLOSED_BY_OPERATOR;
use super::{Fixture, serving, until};
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_names, assert_reset, connect, forward};
use crate::support::process::ssm_proxyd;

impl Fixture {
    /// Reloads with these keys in the forward `f`.
    fn reload_with(&mut self, keys: &str) {
        let forwards = self.forward_with(keys);
        self.reload_forwards(&forwards);
    }

    fn reload_forwards(&mut self, forwards: &str) {
        self.write(&serving(self.http), forwards);
        self.reload("reloaded: ");
    }

    /// Opens a connection and exchanges five bytes.
    fn client(&self) -> TcpStream {
        let mut client = connect(self.forward);
        assert_echo(&mut client, b"hello");
        client
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = ssm_proxyd();
        command.args(arguments).arg("--socket");
        ended(command.arg(self.socket()))
    }

    /// Resets a connection by its number, and waits until it has ended.
    async fn close(&self, id: &str, client: TcpStream) {
        let (code, _, output) = self.run(&["close", id]);
        assert_eq!(code, 0, "{output}");
        assert_reset(client);
        let connection = format!("{{\"id\":{id},");
        until("it is no longer listed", || {
            let (_, json, _) = self.run(&["status", "f", "--json"]);
            json.contains("\"connections\":[") && !json.contains(&connection)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_changed_forward_are_counted_with_those_of_its_successor() {
    let mut fixture = Fixture::new("").await;
    let mut before = fixture.client();
    fixture.reload_with("max_connections = 3");
    let mut after = fixture.client();

    let open = [
        "connections",
        "sessions",
        "accepted_total",
        "sessions_started_total",
    ];
    for name in open {
        assert_eq!(fixture.of_f(name), 2, "{name}");
    }
    assert_eq!(fixture.of_f("finishing_connections"), 1);
    assert_eq!(fixture.of_f("max_connections"), 3);
    assert_echo(&mut before, b"more");
    assert_echo(&mut after, b"more");
    let (_, text, output) = fixture.run(&["status", "f"]);
    assert!(text.contains("2 connections"), "{text}{output}");
    let (_, text, _) = fixture.run(&["status"]);
    assert_names(
        &text,
        &["f: 1 connection has the settings from before a reload"],
    );
    fixture.close("1", before).await;

    assert_eq!(fixture.of_f(CLOSED_BY_OPERATOR), 1);
    assert_eq!(fixture.of_f("received_bytes_total"), 18);
    assert_eq!(fixture.of_f("connection_duration_seconds_count"), 1);
    until("its session has ended", || fixture.of_f("sessions") == 1).await;
    assert_eq!(fixture.of_f("connections"), 1);
    drop(after);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_continue_across_several_reloads_and_while_a_forward_is_disabled() {
    let mut fixture = Fixture::new("").await;
    let first = fixture.client();
    fixture.reload_with("max_connections = 3");
    let second = fixture.client();
    fixture.reload_with("enabled = false");
    assert_eq!(fixture.of_f("connections"), 2);
    assert_eq!(fixture.of_f("finishing_connections"), 2);
    fixture.close("1", first).await;
    fixture.write(&serving(fixture.http), "nonsense\n");
    fixture.reload("reload failed");
    assert_eq!(fixture.of_f(CLOSED_BY_OPERATOR), 1);

    fixture.reload_with("max_connections = 4");
    let third = fixture.client();
    fixture.close("2", second).await;

    assert_eq!(fixture.of_f("accepted_total"), 3);
    assert_eq!(fixture.of_f("received_bytes_total"), 15);
    assert_eq!(fixture.of_f(CLOSED_BY_OPERATOR), 2);
    fixture.close("3", third).await;
    assert_eq!(fixture.of_f(CLOSED_BY_OPERATOR), 3);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_removed_forward_end_with_its_last_connection() {
    let mut fixture = Fixture::new("").await;
    let mut first = fixture.client();
    let second = fixture.client();
    let other = forward("g", "remote = 1");
    fixture.reload_forwards(&other);

    assert_echo(&mut first, b"more");
    fixture.close("2", second).await;

    assert_eq!(fixture.of_f("connections"), 1);
    assert_eq!(fixture.of_f("received_bytes_total"), 14);
    assert_eq!(fixture.of_f(CLOSED_BY_OPERATOR), 1);
    let all = fixture.metrics();
    assert!(!all.contains_key("ssm_proxyd_max_connections{forward=\"f\"}"));
    let (code, text, output) = fixture.run(&["status", "f"]);
    assert_eq!(code, 0, "{output}");
    assert_names(&text, &["stopping", "1 connection"]);
    let (_, text, _) = fixture.run(&["status"]);
    assert_names(&text, &["f, removed by a reload: 1 connection still open"]);

    // It is back before its connections have ended.
    let both = fixture.forward_with("\n") + &other;
    fixture.reload_forwards(&both);
    drop(fixture.client());
    assert_eq!(fixture.of_f("accepted_total"), 3);
    fixture.reload_forwards(&other);
    drop(first);
    until("its series have ended", || {
        !fixture
            .metrics()
            .keys()
            .any(|series| series.contains("\"f\""))
    })
    .await;
    fixture.ends();
}
