//! Sessions that end while the plugin serves them, and callers that are killed.

use std::io::Read;
use std::process::Command;

use ssm_proxyd::sim::{Options, ServerKind};

use super::{Fixture, opened, port_request};
use crate::support::daemon_process::{assert_clean, assert_echo, connect};
use crate::support::in_process::{destination, until};
use crate::support::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_sent_nothing_gets_another_session_if_its_own_ends() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(echo.address().port()).await;
    let mut client = connect(opened(&mut plugin));
    let traffic = || fixture.simulator.ledger().sessions[0].traffic.dials;
    until("the agent has connected", || traffic() > 0).await;

    fixture.end_sessions().await;
    let sessions = || fixture.simulator.ledger().sessions.len();
    until("another session was started", || sessions() == 2).await;

    assert_echo(&mut client, b"hello");
    assert_eq!(sessions(), 2);
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    assert_eq!(plugin.stderr.all(), "");
    assert_clean(&fixture.simulator);
}

/// The destination may have received it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_sent_a_byte_is_reset_if_its_session_ends() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut plugin = fixture.port_session(echo.address().port()).await;
    let mut client = connect(opened(&mut plugin));
    assert_echo(&mut client, b"hello");

    fixture.end_sessions().await;

    let read = client.read(&mut [0]);
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    plugin.signal("INT");
    assert_eq!(plugin.exit_code(), 0);
    let err = plugin.stderr.all();
    assert!(err.contains("session lost; connection reset"), "{err}");
    assert_clean(&fixture.simulator);
}

/// Nobody is left to end the plugin, so it does not start sessions for ever.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_caller_was_killed_the_end_of_the_session_is_the_end() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = port_request(echo.address().port());
    let plugin = fixture.session(&request).await;
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" & wait", "sh"]);
    command.arg(plugin.get_program()).args(plugin.get_args());
    let variables = plugin.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let mut caller = Process::start(&mut command);
    let address = opened(&mut caller);
    let mut client = connect(address);
    assert_echo(&mut client, b"before");

    caller.end("KILL");
    assert_echo(&mut client, b"after");
    drop(client);
    fixture.end_sessions().await;

    let id = fixture.session_id();
    let out = caller.stdout.all();
    assert!(out.contains(&format!("SessionId: {id} : ")), "{out}");
    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    assert_clean(&fixture.simulator);
}
