//! `run --test`.

use ssm_proxyd::sim::ServerKind;

use super::*;
use crate::support::daemon_process::{assert_echo, connect, free_address, listening};
use crate::support::in_process::destination;

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_logged_and_the_daemon_goes_on() {
    let simulator = simulator(|_| {}).await;
    let echo = destination(ServerKind::Echo).await;
    let bad = forward(free_address().port()).replace("\"f\"", "\"bad\"");
    let text = forward(echo.address().port()) + &bad;
    let file = File::new(&with_endpoint(
        &simulator,
        &format!("[shutdown]\ndrain_timeout = \"0s\"\n{text}"),
    ));
    let mut command = caller(&simulator);
    command.args(["run", "--test", "--config"]).arg(file.path());
    let mut daemon = Process::start(&mut command);
    let (_, address) = listening(&daemon.stderr.wait_for("listening"));

    let line = daemon.stderr.wait_for("self-test failed");

    for text in [
        "could not connect to the destination",
        "check=\"destination\"",
        "subject=\"bad\"",
        "class=\"DestinationRefused\"",
        "hint=\"check `remote`",
    ] {
        assert!(line.contains(text), "{text}: {line}");
    }
    daemon.stderr.wait_for("some checks have failed");
    assert_echo(&mut connect(address), b"hello");
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), 0);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_checks_and_their_session() {
    let simulator = simulator(|options| {
        let slow = std::time::Duration::from_secs(500);
        options.agent.readiness = slow..slow * 2;
    });
    let simulator = simulator.await;
    let file = File::new(&with_endpoint(&simulator, &forward(1)));
    let mut command = caller(&simulator);
    command.args(["run", "--test", "--config"]).arg(file.path());
    let mut daemon = Process::start(&mut command);
    daemon.stderr.wait_for("listening");
    crate::support::in_process::until("the session is started", || simulator.ledger().started == 1)
        .await;

    daemon.signal("TERM");

    assert_eq!(daemon.exit_code(), 0);
    assert_clean(&simulator);
}
