//! A signal ends the checks and the session.

use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::support::fake_api::Api;
use crate::support::in_process::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_a_session_ends_it() {
    let simulator = simulator(|options| {
        options.agent.readiness = Duration::from_secs(500)..Duration::from_secs(501);
    });
    let simulator = simulator.await;
    let file = File::new(&with_endpoint(&simulator, &forward(1)));
    let mut command = caller(&simulator);
    command.arg("doctor").arg("--config").arg(file.path());
    let mut process = Process::start(&mut command);
    process.stdout.wait_for("websocket-upgrade");
    until("the session is started", || simulator.ledger().started == 1).await;

    process.signal("INT");

    assert_eq!(process.exit_code(), 130);
    let stdout = process.stdout.all();
    for line in [
        "SKIP  handshake             interrupted",
        "SKIP  destination           interrupted",
        "PASS  session-end           terminated",
        "interrupted; no check has failed so far",
    ] {
        assert!(stdout.contains(line), "{line}\n{stdout}");
    }
    assert!(simulator.ledger().sessions[0].terminate_called);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_being_started_when_a_signal_comes_is_ended() {
    let simulator = simulator(|options| options.api_delay = Duration::from_millis(2500)).await;
    let recorder = Api::before_with(simulator.address(), |_| None);
    let file = File::new(&file(&recorder.endpoint(), &forward(1)));
    let mut command = caller(&simulator);
    command.arg("doctor").arg("--config").arg(file.path());
    let mut process = Process::start(&mut command);
    let is_called = || !recorder.calls("StartSession").is_empty();
    until("a session is being started", is_called).await;

    process.signal("INT");

    assert_eq!(process.exit_code(), 130);
    let stdout = process.stdout.all();
    let line = "SKIP  session-end           no session is left";
    assert!(stdout.contains(line), "{stdout}");
    assert!(simulator.ledger().sessions[0].terminate_called);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_a_session_starts_none() {
    let simulator = simulator(|options| options.api_delay = Duration::from_secs(3600)).await;
    let file = File::new(&with_endpoint(&simulator, &forward(1)));
    let mut command = caller(&simulator);
    command.arg("doctor").arg("--config").arg(file.path());
    let mut process = Process::start(&mut command);
    process.stdout.wait_for("aws-settings");

    process.signal("TERM");

    assert_eq!(process.exit_code(), 143);
    assert_eq!(simulator.ledger().started, 0);
}

#[test]
fn the_exit_code_in_json_is_that_of_the_signal() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let text = file(&endpoint, &forward(1));
    let file = File::new(&text);
    let mut command = ssm_proxyd();
    command.arg("doctor").arg("--json");
    let mut process = Process::start(command.arg("--config").arg(file.path()));
    let _accepted = silent.accept().unwrap();

    process.signal("INT");

    assert_eq!(process.exit_code(), 130);
    let stdout = process.stdout.all();
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["exit_code"], 130, "{stdout}");
}
