//! A panic in each task: it is logged in one line, only what depends on the task fails, and
//! everything else continues.
//!
//! Debug builds have points that panic once, each if `--panic-at` has named it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{Fixture, until};
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_names, assert_reset, assert_served, connect,
};
use crate::support::in_process::without_drain;

async fn fixture(points: &[&str]) -> Fixture {
    Fixture::with("", |command| {
        points.iter().fold(command, |command, point| {
            command.args(["--panic-at", point])
        })
    })
    .await
}

/// Ends the daemon, and asserts that this number of panics was reported, each in one line.
fn ends(fixture: Fixture, panics: usize) {
    let log = fixture.ends();
    assert_reported(&log, panics);
}

fn assert_reported(log: &str, panics: usize) {
    let reports = log.matches(" internal error panic=").count();
    assert_eq!(reports, panics, "{log}");
    assert!(!log.contains("stack backtrace"), "{log}");
    assert!(!log.contains("thread '"), "{log}");
}

/// Exchanges bytes with an echo until the connection is reset.
fn exchange_until_reset(mut client: TcpStream) {
    let mut answer = [0; 5];
    for _ in 0..10_000 {
        let written = client.write_all(b"hello");
        if written
            .and_then(|()| client.read_exact(&mut answer))
            .is_err()
        {
            return;
        }
        assert_eq!(&answer, b"hello");
    }
    panic!("not reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_that_panics_makes_its_forward_failing_until_it_serves_again() {
    let mut fixture = fixture(&["supplier:1"]).await;
    let mut first = connect(fixture.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(fixture.forward));
    assert_reset(first);

    let line = fixture.daemon.stderr.wait_for("internal error");
    assert_names(&line, &["injected panic 1 at supplier", "src/panics.rs"]);
    let line = fixture.daemon.stderr.wait_for("the pool task panicked");
    assert_names(&line, &["serving{forward=\"f\"}", "pause=1s"]);
    let status: Value = serde_json::from_str(&fixture.get("/status").body).unwrap();
    let forward = &status["forwards"][0];
    assert_eq!(forward["state"], "failing");
    assert_eq!(forward["failure"]["code"], "InternalError");
    assert_eq!(forward["waiting"], 0);
    assert_eq!(
        fixture.get("/readiness").body,
        "ready\nfailing: f InternalError\n"
    );
    let metrics = fixture.get("/metrics").body;
    assert_names(
        &metrics,
        &[
            "\nssm_proxyd_internal_errors_total 1\n",
            "\nssm_proxyd_forward_failing{forward=\"f\"} 1\n",
        ],
    );
    until("its session is ended", || {
        fixture.simulator.open_sessions() == 0
    })
    .await;

    assert_served(fixture.forward);

    let status: Value = serde_json::from_str(&fixture.get("/status").body).unwrap();
    assert_eq!(status["forwards"][0]["state"], "ready");
    ends(fixture, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_panics_resets_its_connection_and_ends_its_session() {
    for point in ["tunnel", "tunnel-core"] {
        for passes in [0, 30] {
            let mut fixture = fixture(&[&format!("{point}:{passes}")]).await;

            exchange_until_reset(connect(fixture.forward));

            fixture.daemon.stderr.wait_for("tunnel task panicked");
            if passes == 0 {
                // Reset because of the panic, and not after `connect_timeout`.
                let line = fixture.daemon.stderr.wait_for("connection reset");
                assert!(line.contains("internal error"), "{line}");
            }
            until("its session is ended", || {
                fixture.simulator.open_sessions() == 0
            })
            .await;
            assert_served(fixture.forward);
            ends(fixture, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_panics_affects_no_other() {
    let fixture = fixture(&["connection:1"]).await;
    let mut first = connect(fixture.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(fixture.forward));

    assert_echo(&mut connect(fixture.forward), b"third");
    assert_echo(&mut first, b"still here");
    assert_eq!(fixture.get("/liveness").status, 200);
    drop(first);
    ends(fixture, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_loop_that_panics_restarts_and_keeps_its_connections() {
    let mut fixture = fixture(&["accept-loop:1"]).await;
    let mut first = connect(fixture.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(fixture.forward));

    fixture.daemon.stderr.wait_for("the accept loop panicked");
    assert_served(fixture.forward);
    assert_echo(&mut first, b"still here");
    assert_eq!(fixture.get("/liveness").status, 200);
    drop(first);
    ends(fixture, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dispatcher_restarts_after_a_panic_and_loses_no_session() {
    let mut fixture = fixture(&["dispatcher:1"]).await;
    let mut first = connect(fixture.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(fixture.forward));

    fixture
        .daemon
        .stderr
        .wait_for("the session dispatcher panicked");
    assert_served(fixture.forward);
    assert_echo(&mut first, b"still here");
    drop(first);
    until("both sessions are ended", || {
        fixture.simulator.open_sessions() == 0
    })
    .await;
    ends(fixture, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_panic_count_as_failed_and_the_session_is_still_ended() {
    let mut fixture = fixture(&["start-session", "terminate-session"]).await;

    assert_reset(connect(fixture.forward));
    let line = fixture.daemon.stderr.wait_for("WARN");
    assert_names(&line, &["StartSession", "injected panic"]);
    assert_served(fixture.forward);

    until("the session is ended", || {
        fixture.simulator.ledger().started == 1 && fixture.simulator.open_sessions() == 0
    })
    .await;
    // The flag on the data channel ends it too.
    until("the call is repeated", || {
        fixture.simulator.ledger().sessions[0].terminate_called
    })
    .await;
    ends(fixture, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_socket_and_http_restart_after_a_panic() {
    let fixture = fixture(&["admin:1", "http:1"]).await;

    for _ in 0..3 {
        assert_eq!(fixture.get("/liveness").status, 200);
        let mut command = crate::support::process::ssm_proxyd();
        command.arg("status").arg("--socket").arg(fixture.socket());
        let (code, _, output) = crate::cli::ended(&mut command);
        assert_eq!(code, 0, "{output}");
    }

    ends(fixture, 2);
}

/// With exit code 1, so that a service manager starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_panics_ends_its_sessions_and_fails() {
    let mut fixture = Fixture::with(without_drain(""), |command| {
        command.args(["--panic-at", "daemon"])
    })
    .await;
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");

    fixture.daemon.signal("USR2");

    assert_reset(client);
    assert_eq!(fixture.daemon.exit_code(), 1);
    assert_reported(&fixture.daemon.stderr.all(), 1);
    assert_clean(&fixture.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_loses_a_forward_permanently_fails() {
    assert_fails_after(
        &["supplier", "supplier-restart"],
        "the task of a forward has failed and cannot be restarted; the process must be restarted",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_loses_the_dispatcher_permanently_fails() {
    assert_fails_after(
        &["dispatcher", "dispatcher-restart"],
        "the task that starts and terminates sessions has failed",
    )
    .await;
}

/// A daemon that panics at these two points resets its client, leaves no session, logs `expected`
/// and fails.
async fn assert_fails_after(points: &[&str; 2], expected: &str) {
    let mut fixture = fixture(points).await;

    assert_reset(connect(fixture.forward));

    assert_eq!(fixture.daemon.exit_code(), 1);
    let log = fixture.daemon.stderr.all();
    assert_reported(&log, 2);
    assert_names(&log, &[expected]);
    assert_clean(&fixture.simulator);
}
