//! Each reason is produced by a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use ssm_proxyd::sim::{
    ApiFault, DisconnectKind, Faults, OneOffFault, Operation, Options, RefusedUpgrades, ServerKind,
    Simulator,
};
use ssm_proxyd::telemetry::EndReason;
use tokio_tungstenite::tungstenite::{Message, accept};

use super::Fixture;
use crate::cli::ended;
use crate::support::daemon_process::{assert_echo, assert_reset, connect, free_address};
use crate::support::fake_api::Api;
use crate::support::in_process::{destination, unpaced, until};
use crate::support::message_builder;
use crate::support::process::ssm_proxyd;

#[test]
fn every_reason_has_a_test() {
    let source = [include_str!("reasons.rs"), include_str!("proxy_reasons.rs")].concat();

    for reason in EndReason::ALL {
        let tested = format!("EndReason::{reason:?},\n");
        let called = format!("EndReason::{reason:?})");
        assert!(
            source.contains(&tested) || source.contains(&called),
            "no connection ends with {reason}"
        );
    }
}

/// Asserts reason and phase, and that who ended it follows from the reason.
pub(super) fn assert_ends(record: &Value, phase: &str, reason: EndReason) {
    assert_eq!(record["reason"], reason.name(), "{record:#}");
    assert_eq!(record["ended_by"], reason.party().name(), "{record:#}");
    assert_eq!(record["phase"], phase, "{record:#}");
    if reason.is_failure() {
        assert!(record["class"].is_string(), "{record:#}");
        assert!(record["error"].is_string(), "{record:#}");
    }
}

fn slow() -> Options {
    Options {
        api_delay: Duration::from_secs(3600),
        ..unpaced()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_closes() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}", echo.address().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    drop(client);

    assert_ends(&fixture.record(), "flushing", EndReason::ClientClosed);

    fixture.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_leaves_before_its_session_is_ready() {
    let mut fixture = Fixture::new(slow(), "remote = 1").await;
    let client = connect(fixture.address);
    until("StartSession is called", || {
        let mut command = ssm_proxyd();
        command.args(["status", "f", "--json", "--config"]);
        let (_, json, _) = ended(command.arg(fixture.file.path()));
        let detail: Value = serde_json::from_str(&json).unwrap();
        detail["connections"][0]["phase"] == "start_session"
    })
    .await;
    drop(client);

    let record = fixture.record();

    assert_ends(&record, "start_session", EndReason::ClientLeft);
    assert_eq!(record["level"], "DEBUG");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_does_not_take_the_upload_of_a_closed_client() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = format!("remote = {port}\nresume_timeout = \"1s\"\nhalf_close_timeout = \"1s\"\n");
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    let stall = Faults {
        stall: true,
        ..Faults::default()
    };
    fixture.simulator.set_faults(stall);
    let upload = vec![7; 1 << 20];
    client.set_nonblocking(true).unwrap();
    while client.write(&upload).is_ok() {}
    drop(client);

    let record = fixture.record();

    assert_ends(&record, "flushing", EndReason::UploadIncomplete);
    assert_eq!(record["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_closes() {
    let source = destination(ServerKind::Source { len: 5, seed: 1 }).await;
    let keys = format!("remote = {}", source.address().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut received = Vec::new();
    connect(fixture.address).read_to_end(&mut received).unwrap();

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::DestinationClosed);
    assert_eq!(record["received"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_closes_before_it_has_everything() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = format!("remote = {}", listener.local_addr().unwrap().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    client.write_all(b"hello").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    client.set_nonblocking(true).unwrap();
    while client.write(&[7; 1 << 16]).is_ok() {}
    accepted.shutdown(Shutdown::Both).unwrap();
    drop(accepted);

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::DestinationClosedEarly);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_unreachable() {
    let keys = format!("remote = {}", free_address().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    assert_reset(connect(fixture.address));

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::DestinationUnreachable);
    assert_eq!(record["class"], "DestinationRefused");
    assert_eq!(record["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_connection_is_idle() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = format!("remote = {port}\nhalf_close_timeout = \"1s\"\n");
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_reset(client);

    let record = fixture.record();

    assert_ends(&record, "half_closed", EndReason::HalfCloseTimeout);
    drop(accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_reached() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = format!("remote = {port}\nmax_connections = 1\nconnect_timeout = \"2s\"\n");
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut first = connect(fixture.address);
    assert_echo(&mut first, b"hello");
    assert_reset(connect(fixture.address));

    let record = fixture.record();

    assert_ends(&record, "queued", EndReason::LimitReached);
    assert!(record["queued_seconds"].as_f64() >= Some(2.0), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_ready_in_time() {
    let keys = "remote = 1\nconnect_timeout = \"1s\"\n";
    let mut fixture = Fixture::new(slow(), keys).await;
    assert_reset(connect(fixture.address));

    let record = fixture.record();

    assert_ends(&record, "start_session", EndReason::ConnectTimeout);
    assert!(record["start_session_seconds"].is_f64(), "{record:#}");
    assert!(record["websocket_seconds"].is_null(), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_started() {
    let mut fixture = Fixture::new(unpaced(), "remote = 1").await;
    let code = "AccessDeniedException".to_owned();
    let fault = ApiFault { code, times: None };
    fixture.simulator.fail(Operation::StartSession, fault);
    assert_reset(connect(fixture.address));

    let record = fixture.record();

    assert_ends(&record, "start_session", EndReason::SessionNotStarted);
    assert_eq!(record["class"], "AccessDenied");
    // Refused because of the first: the same failure is a warning once a minute.
    assert_reset(connect(fixture.address));
    let record = fixture.record();
    assert_ends(&record, "queued", EndReason::SessionNotStarted);
    assert_eq!(record["level"], "DEBUG");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}", echo.address().port());
    let mut options = unpaced();
    options.agent.crash_delay = Duration::from_millis(10);
    let mut fixture = Fixture::new(options, &keys).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    assert_eq!(fixture.simulator.inject(None, OneOffFault::KillAgent), 1);

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::SessionEnded);
    assert_eq!(
        record["session"],
        fixture.simulator.ledger().sessions[0].session_id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_lost() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = format!("remote = {port}\nresume_timeout = \"1s\"\n");
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    fixture.simulator.set_faults(Faults {
        refuse_upgrades: Some(RefusedUpgrades {
            status: 503,
            times: None,
        }),
        ..Faults::default()
    });
    let broken = OneOffFault::Break(DisconnectKind::Reset);
    assert_eq!(fixture.simulator.inject(None, broken), 1);

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::SessionLost);
    assert!(
        record["longest_stall_seconds"].as_f64() > Some(0.5),
        "{record:#}"
    );
    assert_eq!(record["resumes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_violates_the_protocol() {
    let gateway = message_builder::gateway(invalid);
    let session = format!(
        r#"{{"SessionId":"s-1","StreamUrl":"ws://{gateway}/v1/data-channel/s-1","TokenValue":"t"}}"#
    );
    let api = Api::starting(session);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut fixture = Fixture::launch(simulator, ssm_proxyd(), &api.endpoint(), "remote = 1", &[]);
    let mut client = connect(fixture.address);
    client.write_all(b"hello").unwrap();
    assert_reset(client);

    let record = fixture.record();

    assert_ends(&record, "open", EndReason::ProtocolError);
}

/// An agent that acknowledges everything and answers data with what is not a message.
fn invalid(stream: TcpStream) {
    use ssm_proxyd::wire::message::{Message as Decoded, MessageType};
    let mut websocket = accept(stream).unwrap();
    websocket.read().unwrap();
    for message in [
        message_builder::handshake_request(0, "3.3.987.0", ""),
        message_builder::handshake_complete(1, ""),
    ] {
        websocket.send(Message::Binary(message)).unwrap();
    }
    while let Ok(frame) = websocket.read() {
        let Message::Binary(frame) = frame else {
            continue;
        };
        let Decoded { header, payload } = Decoded::decode(frame).unwrap();
        if header.kind != MessageType::Input {
            continue;
        }
        if payload.windows(5).any(|window| window == b"hello") {
            let message = message_builder::output(2, b"not a frame of the mux at all");
            drop(websocket.send(Message::Binary(message)));
            continue;
        }
        let seq = i64::try_from(header.seq.0).unwrap();
        let acknowledgement = message_builder::acknowledge(&MessageType::Input, seq);
        drop(websocket.send(Message::Binary(acknowledgement)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_stops() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}\nmax_connections = 1\n", echo.address().port());
    let fixture = Fixture::new(unpaced(), &keys).await;
    let mut client = connect(fixture.address);
    assert_echo(&mut client, b"hello");
    let waiting = connect(fixture.address);

    let records = fixture.stop();

    assert_reset(client);
    assert_reset(waiting);
    let stopped = |record: &&Value| record["reason"] == EndReason::Stopped.name();
    assert_eq!(records.iter().filter(stopped).count(), 2, "{records:#?}");
    let open = records.iter().find(|record| record["sent"] == 5).unwrap();
    assert_ends(open, "open", EndReason::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_closes_a_connection() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}", echo.address().port());
    let mut fixture = Fixture::new(unpaced(), &keys).await;
    let (mut client, mut other) = (connect(fixture.address), connect(fixture.address));
    assert_echo(&mut client, b"hello");
    assert_echo(&mut other, b"hello");
    let close = |id: &str| {
        let mut command = ssm_proxyd();
        command.arg("close").arg(id);
        ended(command.arg("--config").arg(fixture.file.path()))
    };

    let (exit, stdout, stderr) = close("1");

    assert_eq!((exit, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "closed connection 1\n");
    assert_reset(client);
    assert_echo(&mut other, b"still here");
    let (exit, _, stderr) = close("1");
    assert_eq!(exit, 2, "{stderr}");
    assert!(stderr.contains("there is no connection 1"), "{stderr}");
    assert_ends(&fixture.record(), "open", EndReason::ClosedByOperator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_of_a_connection_panics() {
    let arguments = ["--panic-at", "connection"];
    let mut fixture = Fixture::with(unpaced(), "remote = 1", &arguments).await;
    assert_reset(connect(fixture.address));

    let record = fixture.record();

    assert_ends(&record, "queued", EndReason::InternalError);
    assert_eq!(record["level"], "WARN");
}

/// The sessions of a forward are lost if the task that owns them panics.
#[tokio::test(flavor = "multi_thread")]
async fn the_task_of_the_sessions_panics() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}", echo.address().port());
    let arguments = ["--panic-at", "supplier:1"];
    let mut fixture = Fixture::with(unpaced(), &keys, &arguments).await;
    let mut open = connect(fixture.address);
    assert_echo(&mut open, b"hello");
    assert_reset(connect(fixture.address));
    assert_reset(open);

    let mut records = [fixture.record(), fixture.record()];

    records.sort_by_key(|record| record["connection"].as_u64());
    let [open, waiting] = records;
    assert_ends(&open, "open", EndReason::InternalError);
    assert_ends(&waiting, "queued", EndReason::InternalError);
}
