//! What is recorded when a connection ends: not before it is true, and nothing stronger.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use ssm_proxyd::sim::{Destination, Faults, ServerKind};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_reset, connect};
use crate::support::in_process::{destination, unpaced, until};
use crate::support::process::ssm_proxyd;

/// Fits into the send buffer of the daemon, but not into the receive buffer of the client.
const LEN: u64 = 256 * 1024;

/// A daemon, and a client that has not read what the destination sent before it ended.
async fn unread() -> (Fixture, TcpStream, Destination) {
    let source = destination(ServerKind::Source { len: LEN, seed: 1 }).await;
    let keys = format!("remote = {}", source.address().port());
    let fixture = Fixture::new(unpaced(), &keys).await;
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    client.connect(&fixture.address.into()).unwrap();
    until("the session has ended", || {
        let detail = detail(&fixture);
        let connection = &detail["connections"][0];
        connection["received"] == LEN && detail["sessions_total"] == 0
    })
    .await;
    (fixture, client.into(), source)
}

fn detail(fixture: &Fixture) -> Value {
    let mut command = ssm_proxyd();
    command.args(["status", "f", "--json", "--config"]);
    let (code, json, output) = ended(command.arg(fixture.file.path()));
    assert_eq!(code, 0, "{output}");
    serde_json::from_str(&json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_destination_is_recorded_when_the_client_has_everything() {
    let (mut fixture, mut client, _source) = unread().await;

    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();

    let record = fixture.record();
    assert_eq!(received.len() as u64, LEN);
    assert_eq!(record["reason"], "destination_closed", "{record:#}");
    fixture.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_close_a_connection_whose_client_has_not_read_everything() {
    let (mut fixture, client, _source) = unread().await;
    let mut command = ssm_proxyd();
    command.args(["close", "1", "--config"]);
    let (code, _, output) = ended(command.arg(fixture.file.path()));
    assert_eq!(code, 0, "{output}");

    let record = fixture.record();

    assert_eq!(record["reason"], "closed_by_operator", "{record:#}");
    assert_reset(client);
    fixture.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_before_it_has_everything_has_closed() {
    let (mut fixture, client, _source) = unread().await;
    drop(client);

    let record = fixture.record();

    assert_eq!(record["reason"], "client_closed", "{record:#}");
    fixture.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_client_reads_is_recorded_as_a_stop() {
    let (fixture, _client, _source) = unread().await;

    let records = fixture.stop();

    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["reason"], "stopped", "{records:#?}");
    let message = records[0]["message"].as_str().unwrap();
    assert!(
        message.contains("the kernel delivers the rest"),
        "{message}"
    );
    assert!(!message.contains("reset"), "{message}");
}

/// The upload of a client that has just closed has a second in the shortest stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_cuts_an_upload_warns_of_that_upload_only() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}", echo.address().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let text = fs::read_to_string(fixture.file.path()).unwrap();
    let text = text.replace("[shutdown]\ndrain_timeout = \"0s\"\n", "");
    fs::write(fixture.file.path(), text).unwrap();
    fixture.daemon.signal("HUP");
    fixture.daemon.stderr.wait_for("reloaded: ");
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    fixture.simulator.set_faults(Faults {
        stall: true,
        ..Faults::default()
    });
    client.set_nonblocking(true).unwrap();
    while client.write(&[7; 1 << 16]).is_ok() {}
    drop(client);
    until("it is flushing", || {
        detail(&fixture)["connections"][0]["phase"] == "flushing"
    })
    .await;

    fixture.daemon.signal("TERM");

    assert_eq!(fixture.daemon.exit_code(), 0);
    let log = fixture.daemon.stderr.all();
    let records = super::records(&log);
    assert_eq!(records[0]["reason"], "upload_incomplete", "{records:#?}");
    assert_eq!(records[0]["error"], "stopping", "{records:#?}");
    assert!(!log.contains("connections did not close in time"), "{log}");
}
