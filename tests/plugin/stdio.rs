//! ssh sessions: stdout has the data and nothing else.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use ssm_proxyd::sim::{Options, ServerKind};

use super::Fixture;
use crate::support::in_process::{TARGET, destination};
use crate::support::official_client::start_session_with;

fn ssh_request(port: u16) -> Value {
    json!({
        "Target": TARGET,
        "DocumentName": "AWS-StartSSHSession",
        "Parameters": { "portNumber": [port.to_string()] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_and_stdout_are_the_connection() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let mut command = fixture.session(&ssh_request(echo.address().port())).await;
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answer = [0; 5];

    stdin.write_all(b"hello").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut answer).unwrap();
    // As ssh ends.
    drop((stdin, stdout));
    let output = child.wait_with_output().unwrap();

    assert_eq!(&answer, b"hello");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(fixture.simulator.ledger().sessions.len(), 1);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_arguments_suffice() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = Fixture::new(Options::default()).await;
    let request = ssh_request(echo.address().port());
    let response = start_session_with(&fixture.simulator, &request).await;
    let mut command = fixture.call(&[&response.to_string(), "us-east-1", "StartSession"]);
    command.env("AWS_ENDPOINT_URL_SSM", fixture.simulator.endpoint());

    assert_stdio_echo(&mut command);
    fixture.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_on_stderr_because_ssh_reads_stdout() {
    let fixture = Fixture::new(Options::default()).await;

    let mut command = fixture.session(&ssh_request(1)).await;
    let output = command.output().unwrap();

    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("refused"), "{stderr}");
    assert_eq!(output.status.code(), Some(0));
    fixture.assert_clean();
}

/// Asserts that stdin and stdout of a command lead to an echo server, and that it ends with them.
pub(super) fn assert_stdio_echo(command: &mut Command) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answer = [0; 5];

    stdin.write_all(b"hello").unwrap();
    stdout.read_exact(&mut answer).unwrap();
    drop((stdin, stdout));

    assert_eq!(&answer, b"hello");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
