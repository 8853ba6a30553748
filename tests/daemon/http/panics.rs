//! A panic in each task: it is one line of the log, costs what depended on it, and the rest goes on.
//!
//! Debug builds have points that panic once, each when `--panic-at` has named it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{Scene, until};
use crate::support::daemon_process::{
    assert_clean, assert_echo, assert_names, assert_reset, assert_served, connect,
};
use crate::support::in_process::without_drain;

async fn scene(points: &[&str]) -> Scene {
    Scene::with("", |command| {
        points.iter().fold(command, |command, point| {
            command.args(["--panic-at", point])
        })
    })
    .await
}

/// Ends the daemon, and asserts that so many panics were each reported in one line.
fn ends(scene: Scene, panics: usize) {
    let log = scene.ends();
    assert_reported(&log, panics);
}

fn assert_reported(log: &str, panics: usize) {
    let reports = log.matches(" internal error panic=").count();
    assert_eq!(reports, panics, "{log}");
    assert!(!log.contains("stack backtrace"), "{log}");
    assert!(!log.contains("thread '"), "{log}");
}

/// Sends to an echo and reads, until the connection is reset.
fn talk_until_reset(mut client: TcpStream) {
    let mut answer = [0; 5];
    for _ in 0..10_000 {
        let said = client.write_all(b"hello");
        if said.and_then(|()| client.read_exact(&mut answer)).is_err() {
            return;
        }
        assert_eq!(&answer, b"hello");
    }
    panic!("not reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_that_panics_makes_its_forward_failing_until_it_serves_again() {
    let mut scene = scene(&["supplier:1"]).await;
    let mut first = connect(scene.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(scene.forward));
    assert_reset(first);

    let line = scene.daemon.stderr.wait_for("internal error");
    assert_names(&line, &["injected panic 1 at supplier", "src/panics.rs"]);
    let line = scene.daemon.stderr.wait_for("the pool task panicked");
    assert_names(&line, &["serving{forward=\"f\"}", "pause=1s"]);
    let status: Value = serde_json::from_str(&scene.get("/status").body).unwrap();
    let forward = &status["forwards"][0];
    assert_eq!(forward["state"], "failing");
    assert_eq!(forward["trouble"]["word"], "Fault");
    assert_eq!(forward["waiting"], 0);
    assert_eq!(scene.get("/readiness").body, "ready\nfailing: f Fault\n");
    let metrics = scene.get("/metrics").body;
    assert_names(
        &metrics,
        &[
            "\nssm_proxyd_internal_errors_total 1\n",
            "\nssm_proxyd_forward_failing{forward=\"f\"} 1\n",
        ],
    );
    until("its session is ended", || {
        scene.simulator.open_sessions() == 0
    })
    .await;

    assert_served(scene.forward);

    let status: Value = serde_json::from_str(&scene.get("/status").body).unwrap();
    assert_eq!(status["forwards"][0]["state"], "ready");
    ends(scene, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_panics_resets_its_connection_and_ends_its_session() {
    for point in ["tunnel", "tunnel-core"] {
        for passes in [0, 30] {
            let scene = scene(&[&format!("{point}:{passes}")]).await;

            talk_until_reset(connect(scene.forward));

            until("its session is ended", || {
                scene.simulator.open_sessions() == 0
            })
            .await;
            assert_served(scene.forward);
            ends(scene, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_panics_costs_no_other() {
    let scene = scene(&["connection:1"]).await;
    let mut first = connect(scene.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(scene.forward));

    assert_echo(&mut connect(scene.forward), b"third");
    assert_echo(&mut first, b"still here");
    assert_eq!(scene.get("/liveness").status, 200);
    drop(first);
    ends(scene, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_loop_that_panics_starts_anew_and_keeps_its_connections() {
    let mut scene = scene(&["accept-loop:1"]).await;
    let mut first = connect(scene.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(scene.forward));

    scene.daemon.stderr.wait_for("the accept loop panicked");
    assert_served(scene.forward);
    assert_echo(&mut first, b"still here");
    assert_eq!(scene.get("/liveness").status, 200);
    drop(first);
    ends(scene, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_that_starts_sessions_starts_anew_after_a_panic_and_loses_none() {
    let mut scene = scene(&["terminator:1"]).await;
    let mut first = connect(scene.forward);
    assert_echo(&mut first, b"hello");

    assert_reset(connect(scene.forward));

    scene
        .daemon
        .stderr
        .wait_for("the session dispatcher panicked");
    assert_served(scene.forward);
    assert_echo(&mut first, b"still here");
    drop(first);
    until("both are ended", || scene.simulator.open_sessions() == 0).await;
    ends(scene, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_panic_have_failed_and_a_session_is_ended_all_the_same() {
    let mut scene = scene(&["start-session", "terminate-session"]).await;

    assert_reset(connect(scene.forward));
    let line = scene.daemon.stderr.wait_for("WARN");
    assert_names(&line, &["StartSession", "injected panic"]);
    assert_served(scene.forward);

    until("it is ended", || {
        scene.simulator.ledger().started == 1 && scene.simulator.open_sessions() == 0
    })
    .await;
    ends(scene, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_socket_and_http_start_anew_after_a_panic() {
    let scene = scene(&["admin:1", "http:1"]).await;

    for _ in 0..3 {
        assert_eq!(scene.get("/liveness").status, 200);
        let mut command = crate::support::process::ssm_proxyd();
        command.arg("status").arg("--socket").arg(scene.socket());
        let (code, _, told) = crate::cli::ended(&mut command);
        assert_eq!(code, 0, "{told}");
    }

    ends(scene, 2);
}

/// With exit code 1, so that a service manager starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_panics_ends_its_sessions_and_fails() {
    let mut scene = Scene::with(without_drain(""), |command| {
        command.args(["--panic-at", "daemon"])
    })
    .await;
    let mut client = connect(scene.forward);
    assert_echo(&mut client, b"hello");

    scene.daemon.signal("USR2");

    assert_reset(client);
    assert_eq!(scene.daemon.exit_code(), 1);
    assert_reported(&scene.daemon.stderr.all(), 1);
    assert_clean(&scene.simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_loses_a_forward_for_good_fails() {
    let mut scene = scene(&["supplier", "supplier-restart"]).await;

    assert_reset(connect(scene.forward));

    assert_eq!(scene.daemon.exit_code(), 1);

    let log = scene.daemon.stderr.all();
    assert_reported(&log, 2);
    assert_names(
        &log,
        &[
            "the task of a forward has failed and cannot be restarted; the process must be restarted",
        ],
    );
    assert_clean(&scene.simulator);
}
