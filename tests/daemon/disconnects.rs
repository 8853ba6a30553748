//! Websockets that break under a daemon: its log, the effects of signals and logins, and the limit
//! after which it gives up.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process;
use std::time::Duration;

use ssm_proxyd::sim::{
    ApiFault, Destination, DisconnectKind, EndedBy, Faults, OneOffFault, Operation, Options,
    RefusedUpgrades, ServerKind, Simulator,
};
use ssm_proxyd::wire::message::{Message as Decoded, MessageType, PayloadType};
use ssm_proxyd::wire::smux::{Command, StreamId};
use tokio_tungstenite::tungstenite::{Message, accept};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, connect, forward, forward_to,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{broken_every, destination, until};
use crate::support::message_builder;
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_websocket_is_detected_by_a_missed_pong() {
    let mut fixture = Fixture::begin(Options::default(), "").await;
    let broken = OneOffFault::Break(DisconnectKind::BlackHole);
    assert_eq!(fixture.simulator.inject(None, broken), 1);

    assert_echo(&mut fixture.client, b"into the silence");

    let (simulator, log) = fixture.end();
    assert_eq!(simulator.ledger().sessions[0].attached, 2);
    assert_names(&only_line(&log, "WARN"), &["no message or pong received"]);
    for retry_now in ["retrying now", "resumed from suspend"] {
        assert!(!log.contains(retry_now), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_resumed_in_time_is_a_reset_and_one_line() {
    for (faults, cause) in [
        (
            failing_resume("ThrottlingException"),
            "ResumeSession: ThrottlingException",
        ),
        (refusing_upgrades(), "HTTP 503"),
    ] {
        let fixture = Fixture::begin(Options::default(), "resume_timeout = \"2s\"\n").await;
        fixture.simulator.set_faults(faults);
        fixture.break_websocket();
        // After this number of failures the backoff is longer than 2 s, so that time runs out in
        // it.
        for _ in 0..8 {
            fixture.retry_now().await;
        }

        let (simulator, log) = fixture.lost();

        let line = only_line(&log, "session lost");
        assert_names(&line, &["{forward=\"f\"}", "not resumed within 2 s", cause]);
        assert_eq!(log.matches("WARN").count(), 2, "one line: {log}");
        assert_eq!(simulator.ledger().sessions[0].attached, 1, "{cause}");
    }
}

/// Each websocket carries messages but no data, and breaks soon.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_that_break_without_data_are_replaced_with_backoff_and_a_limit() {
    let fixture = Fixture::begin(Options::default(), "resume_timeout = \"3s\"\n").await;
    fixture
        .client
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    fixture
        .simulator
        .set_faults(broken_every(150, DisconnectKind::Reset));

    until("the client is reset", || {
        fixture.simulator.inject(None, OneOffFault::StartClient);
        let read = fixture.client.peek(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    })
    .await;

    let log = fixture.daemon.stop(&fixture.simulator);
    let line = only_line(&log, "session lost");
    assert_names(&line, &["not resumed within 3 s"]);
    // The backoff is at least 50 ms and doubles up to 2.5 s.
    let calls = fixture.simulator.ledger().calls["ResumeSession"];
    assert!(calls <= 8, "{calls} calls in 3 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_carries_data_outlives_websockets_that_break_soon() {
    let mut fixture = Fixture::begin(Options::default(), "resume_timeout = \"5s\"\n").await;
    fixture
        .simulator
        .set_faults(broken_every(300, DisconnectKind::Reset));

    // Each lives for 300 ms, so that all of them live longer than `resume_timeout`.
    until("many websockets broke", || {
        assert_echo(&mut fixture.client, b"more");
        fixture.simulator.ledger().sessions[0].attached > 20
    })
    .await;

    fixture.simulator.set_faults(Faults::default());
    fixture.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_its_websocket_is_broken_is_a_reset_and_one_line() {
    for terminated in [true, false] {
        let fixture = Fixture::begin(Options::default(), "").await;
        fixture.simulator.set_faults(refusing_upgrades());
        fixture.break_websocket();
        until("a dial was refused", || {
            !fixture.simulator.ledger().refused_upgrades.is_empty()
        })
        .await;

        if terminated {
            terminate(&fixture.simulator);
        } else {
            fixture.simulator.set_faults(Faults {
                idle_timeout: Some(Duration::from_millis(50)),
                ..refusing_upgrades()
            });
        }

        let (simulator, log) = fixture.lost();
        let line = only_line(&log, "session lost");
        assert_names(&line, &["{forward=\"f\"}", "the session has ended"]);
        assert_eq!(log.matches("WARN").count(), 2, "one line: {log}");
        let expected = if terminated {
            EndedBy::Api
        } else {
            EndedBy::Idle
        };
        assert_eq!(simulator.ledger().sessions[0].ended_by, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_closed_with_a_message_from_the_agent_is_a_reset_and_one_line() {
    let mut options = Options::default();
    options.agent.crash_delay = Duration::from_millis(10);
    let fixture = Fixture::begin(options, "").await;

    assert_eq!(fixture.simulator.inject(None, OneOffFault::KillAgent), 1);

    let (simulator, log) = fixture.lost();
    let text = &simulator.ledger().sessions[0].output;
    assert_names(text, &["ipc messaging received timeout"]);
    let line = only_line(&log, "WARN");
    assert_names(&line, &["{forward=\"f\"}", "session lost", text]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_skips_the_backoff_between_attempts() {
    let mut fixture = Fixture::begin(Options::default(), "resume_timeout = \"60s\"\n").await;
    fixture
        .simulator
        .set_faults(failing_resume("ThrottlingException"));
    fixture.break_websocket();

    for _ in 0..ATTEMPTS {
        fixture.retry_now().await;
    }
    fixture.simulator.set_faults(Faults::default());
    fixture.retry_now().await;

    assert_echo(&mut fixture.client, b"after");
    let (simulator, log) = fixture.end();
    assert_eq!(simulator.ledger().sessions[0].attached, 2);
    assert_names(&only_line(&log, "WARN"), &["resuming the session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_while_a_session_is_resumed_needs_no_restart() {
    let options = Options {
        require_signature: true,
        ..Options::default()
    };
    let keys = tempfile::NamedTempFile::new().unwrap();
    let credentials = options.credentials.clone();
    let login = |id: &str| {
        let secret = &credentials.secret_access_key;
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(keys.path(), text).unwrap();
    };
    login(&credentials.access_key_id);
    let mut fixture = Fixture::with(options, "", |command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_SHARED_CREDENTIALS_FILE", keys.path())
    })
    .await;

    fixture
        .simulator
        .set_faults(failing_resume("ExpiredTokenException"));
    login("AKIDOLD");
    fixture.break_websocket();
    fixture.until_refused("ExpiredTokenException").await;
    fixture.simulator.set_faults(Faults::default());
    // The credentials that were read again are denied too.
    fixture.until_refused("UnrecognizedClientException").await;
    login(&credentials.access_key_id);

    assert_echo(&mut fixture.client, b"after");
    let (simulator, _) = fixture.end();
    let session = &simulator.ledger().sessions[0];
    assert_eq!(session.upgrade_signatures, ["valid", "valid"]);
    assert_eq!((session.attached, session.resumes), (2, 1));
}

#[test]
fn a_websocket_that_breaks_while_its_session_is_ended_is_not_replaced() {
    let gateway = message_builder::gateway(disconnect_on_flag);
    let session = format!(
        r#"{{"SessionId":"s-1","StreamUrl":"ws://{gateway}/v1/data-channel/s-1","TokenValue":"t"}}"#
    );
    let api = Api::starting(session);
    let keys = "remote = 1\nresume_timeout = \"1h\"\n";
    let mut daemon = DaemonProcess::launch(ssm_proxyd(), &api.endpoint(), &forward("f", keys));
    let mut client = connect(daemon.address());
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();

    daemon.process.signal("TERM");

    assert_eq!(daemon.process.exit_code(), 0);
    let log = daemon.process.stderr.all();
    assert_names(&log, &["all sessions are terminated"]);
    assert!(!log.contains("resuming the session"), "{log}");
    assert_eq!(api.calls("ResumeSession").len(), 0);
    assert_eq!(api.calls("TerminateSession").len(), 1);
}

/// An agent that acknowledges everything and sends five bytes for those of the client. Its
/// websocket breaks when the flag that ends the session arrives.
fn disconnect_on_flag(stream: TcpStream) {
    const STREAM: StreamId = StreamId(3);
    let mut websocket = accept(stream).unwrap();
    websocket.read().unwrap();
    for message in [
        message_builder::handshake_request(0, "3.3.987.0", ""),
        message_builder::handshake_complete(1, ""),
    ] {
        websocket.send(Message::Binary(message)).unwrap();
    }
    let mut has_answered = false;
    while let Ok(frame) = websocket.read() {
        let Message::Binary(frame) = frame else {
            continue;
        };
        let Decoded { header, payload } = Decoded::decode(frame).unwrap();
        if header.kind != MessageType::Input {
            continue;
        }
        if header.payload_type == PayloadType::Flag {
            return;
        }
        let seq = i64::try_from(header.seq.0).unwrap();
        let acknowledgement = message_builder::acknowledge(&MessageType::Input, seq);
        websocket.send(Message::Binary(acknowledgement)).unwrap();
        if !has_answered && payload.windows(5).any(|w| w == b"hello") {
            has_answered = true;
            let answer = message_builder::frames(&[(Command::Psh, STREAM, b"hello")]);
            let answer = message_builder::output(2, &answer);
            websocket.send(Message::Binary(answer)).unwrap();
        }
    }
}

/// A client that has exchanged bytes with an echo, through a daemon.
struct Fixture {
    simulator: Simulator,
    daemon: DaemonProcess,
    client: TcpStream,
    _echo: Destination,
}

impl Fixture {
    /// `keys` are lines of the forward.
    async fn begin(options: Options, keys: &str) -> Self {
        Self::with(options, keys, |command| command).await
    }

    async fn with(
        options: Options,
        keys: &str,
        change: impl Fn(&mut process::Command) -> &mut process::Command,
    ) -> Self {
        let echo = destination(ServerKind::Echo).await;
        let simulator = Simulator::start(options).await.unwrap();
        let daemon = DaemonProcess::with(&simulator, &(forward_to(echo.address()) + keys), change);
        let mut client = connect(daemon.address());
        assert_echo(&mut client, b"before");
        Self {
            simulator,
            daemon,
            client,
            _echo: echo,
        }
    }

    fn break_websocket(&self) {
        let broken = OneOffFault::Break(DisconnectKind::Reset);
        assert_eq!(self.simulator.inject(None, broken), 1);
    }

    /// Signals the daemon to retry now, and waits until it does.
    async fn retry_now(&self) {
        let calls = || self.simulator.ledger().calls.get("ResumeSession").copied();
        let before = calls();
        self.daemon.process.signal("USR2");
        until("another attempt", || calls() > before).await;
    }

    /// Waits until a call was answered with an error of this code.
    async fn until_refused(&self, code: &str) {
        until(code, || self.simulator.ledger().outcomes.contains_key(code)).await;
    }

    /// The client disconnects. Returns the complete log of the daemon.
    fn end(mut self) -> (Simulator, String) {
        drop(self.client);
        // An earlier stop would add another line.
        let stderr = &mut self.daemon.process.stderr;
        stderr.wait_for("ended by the client");
        let log = self.daemon.stop(&self.simulator);
        (self.simulator, log)
    }

    /// The client is reset. Returns the complete log of the daemon.
    fn lost(self) -> (Simulator, String) {
        assert_reset(self.client);
        let log = self.daemon.stop(&self.simulator);
        (self.simulator, log)
    }
}

fn failing_resume(code: &str) -> Faults {
    let fault = ApiFault {
        code: code.to_owned(),
        times: None,
    };
    Faults {
        api: [(Operation::ResumeSession, fault)].into(),
        ..Faults::default()
    }
}

fn refusing_upgrades() -> Faults {
    let refused = RefusedUpgrades {
        status: 503,
        times: None,
    };
    Faults {
        refuse_upgrades: Some(refused),
        ..Faults::default()
    }
}

/// Ends the only session from outside.
fn terminate(simulator: &Simulator) {
    let body = format!(
        r#"{{"SessionId":"{}"}}"#,
        simulator.ledger().sessions[0].session_id
    );
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: AmazonSSM.TerminateSession\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut http = TcpStream::connect(simulator.address()).unwrap();
    let mut answer = String::new();
    http.write_all((head + &body).as_bytes()).unwrap();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The only line of a log that contains this text.
fn only_line(log: &str, text: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
    assert_eq!(lines.len(), 1, "lines with {text:?} in\n{log}");
    lines[0].to_owned()
}

/// Above the maximum number of resume calls within 60 s: the backoff is at least 50 ms, doubles,
/// and stays at 2.5 s, which permits 29 attempts. Every one of them succeeds.
const ATTEMPTS: u32 = 40;
