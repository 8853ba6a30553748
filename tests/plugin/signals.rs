//! Signals: each ends the plugin and its session, whatever it waits for.

use std::net::TcpListener;

use serde_json::json;
use ssm_proxyd::sim::Options;

use super::{Fixture, opened, port_request};
use crate::support::in_process::TARGET;
use crate::support::process::Process;

/// Those of the keys of a terminal, as by the official plugin, and those that end any program.
#[tokio::test(flavor = "multi_thread")]
async fn each_signal_terminates_the_session() {
    for name in ["INT", "QUIT", "TSTP", "TERM", "HUP"] {
        let fixture = Fixture::new(Options::default()).await;
        let mut plugin = fixture.port_session(9).await;
        opened(&mut plugin);

        plugin.signal(name);

        assert_eq!(plugin.exit_code(), 0, "{name}");
        let line = "Exiting session with sessionId: ";
        plugin.stdout.wait_for(line);
        fixture.assert_clean();
    }
}

/// The API accepts connections and does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_wait_for_an_api_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let fixture = Fixture::new(Options::default()).await;
    let request = json!({ "Target": TARGET, "DocumentName": "AWS-StartInteractiveCommand" });
    let response = r#"{"SessionId":"me-1","TokenValue":"t","StreamUrl":"ws://127.0.0.1:1/"}"#;
    let mut command = fixture.call(&[response, "us-east-1", "StartSession", ""]);
    command.arg(request.to_string()).arg(endpoint);
    let mut plugin = Process::start(&mut command);
    silent.accept().unwrap();

    plugin.signal("INT");

    assert_eq!(plugin.exit_code(), 1);
    assert_named(&plugin.stderr.all(), "me-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_wait_for_a_configuration_file() {
    let fixture = Fixture::new(Options::default()).await;
    let pipe = fixture.home.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = fixture.session(&port_request(9)).await;
    let mut plugin = Process::start(command.env("SSM_PROXYD_CONFIG", &pipe));
    // Opening the pipe for writing waits for its reader.
    let _writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();

    plugin.signal("QUIT");

    assert_eq!(plugin.exit_code(), 0);
    plugin
        .stdout
        .wait_for("Terminate signal received, exiting.");
    assert_eq!(plugin.stderr.all(), "");
    fixture.assert_clean();
}

/// The AWS files are being read.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_start_terminates_the_session() {
    let fixture = Fixture::new(Options::default()).await;
    let pipe = fixture.home.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = fixture.session(&port_request(9)).await;
    let mut plugin = Process::start(command.env("AWS_CONFIG_FILE", &pipe));
    // Opening the pipe for writing waits for its reader.
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();

    plugin.signal("INT");
    plugin
        .stdout
        .wait_for("Terminate signal received, exiting.");
    drop(writer);

    assert_eq!(plugin.exit_code(), 0);
    plugin.stdout.wait_for("Exiting session with sessionId: ");
    let err = plugin.stderr.all();
    assert!(!err.contains("may still be active"), "{err}");
    fixture.assert_clean();
}

/// Asserts that a session is named with the command that ends it.
pub(super) fn assert_named(stderr: &str, session: &str) {
    let what = format!("session {session} may still be active");
    let hint = format!("aws ssm terminate-session --session-id {session}");
    assert!(stderr.contains(&what) && stderr.contains(&hint), "{stderr}");
}
