//! Failures while a daemon runs: one line per failed connection, a reset, and service afterwards.

use std::net::TcpListener;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, Operation, Options, ServerKind, Simulator};

use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, assert_served, caller, connect,
    forward, forward_to, free_address,
};
use crate::support::fake_api::Api;
use crate::support::in_process::{TARGET, destination};
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_start_is_logged_once_and_the_next_connection_is_served() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    for (code, remedy) in [
        ("AccessDeniedException", "ssm:StartSession"),
        ("TargetNotConnected", "SSM agent is online"),
        ("InvalidDocument", "check `document`"),
        ("ExpiredTokenException", "aws sso login"),
        ("InternalServerError", "try again"),
        ("SomethingNewException", "try again"),
    ] {
        let fault = ApiFault {
            code: code.to_owned(),
            times: Some(if code == "InternalServerError" { 3 } else { 1 }),
        };
        simulator.fail(Operation::StartSession, fault);

        assert_reset(connect(daemon.address()));
        let line = daemon.process.stderr.wait_for("WARN");
        assert_served(daemon.address());
        let recovered = daemon
            .process
            .stderr
            .wait_for("session starts succeed again");
        // An earlier stop would add another line.
        daemon.process.stderr.wait_for("ended by the client");

        assert_names(
            &line,
            &["serving{forward=\"f\"}", "StartSession", code, remedy],
        );
        assert_names(
            &recovered,
            &["serving{forward=\"f\"}", "connections_reset="],
        );
    }
    let log = daemon.stop(&simulator);
    assert_eq!(log.matches("WARN").count(), 6, "{log}");
    assert_eq!(
        log.matches("session starts succeed again").count(),
        6,
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_reset_after_connect_timeout_while_the_api_does_not_answer() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let api = Api::before(simulator.address(), usize::MAX);
    let text = forward("f", "remote = 9\nconnect_timeout = \"2s\"");
    let daemon = DaemonProcess::launch(caller(&simulator), &api.endpoint(), &text);

    let clients: Vec<_> = (0..100).map(|_| connect(daemon.address())).collect();

    for client in clients {
        client.set_read_timeout(Some(RESET_TIMEOUT)).unwrap();
        assert_reset(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_target_is_reported_and_used_again_once_it_is_back() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");
    simulator.set_offline(TARGET, false);

    assert_names(&line, &["serving{forward=\"f\"}", TARGET, "hint="]);
    assert_served(daemon.address());
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_call_is_retried_and_no_connection_fails() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    let fault = ApiFault {
        code: "ThrottlingException".to_owned(),
        times: Some(2),
    };
    simulator.fail(Operation::StartSession, fault);

    assert_echo(&mut connect(daemon.address()), b"hello");

    assert_eq!(simulator.ledger().sessions.len(), 1);
    let log = daemon.stop(&simulator);
    assert!(!log.contains("no session"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_started_while_a_target_is_known_to_be_offline() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let api = Api::before(simulator.address(), 0);
    let command = caller(&simulator);
    let mut daemon = DaemonProcess::launch(command, &api.endpoint(), &forward_to(echo.address()));

    assert_reset(connect(daemon.address()));
    let output = daemon.process.stderr.wait_for("WARN");
    for _ in 0..200 {
        assert_reset(connect(daemon.address()));
    }

    // The circuit breaker permits one probe after 1, 2, 4 and 8 s: even on a slow machine, 200
    // refusals in a row take less time than ten probes.
    let calls = api.calls("StartSession").len();
    assert!(calls < 10, "{calls} calls for 201 connections");
    simulator.set_offline(TARGET, false);
    daemon.process.signal("USR2");
    assert_served(daemon.address());
    let recovered = daemon
        .process
        .stderr
        .wait_for("session starts succeed again");
    assert_names(&output, &[TARGET, "no session; connection reset"]);
    assert_names(
        &recovered,
        &["serving{forward=\"f\"}", "connections_reset="],
    );
    let log = daemon.stop(&simulator);
    assert!(log.matches("TargetNotConnected").count() <= 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_one_line_and_a_login_needs_no_restart() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let keys = tempfile::NamedTempFile::new().unwrap();
    let mut daemon = DaemonProcess::with(&simulator, &forward_to(echo.address()), |command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_SHARED_CREDENTIALS_FILE", keys.path())
    });
    let credentials = &simulator.options().credentials;
    let login = |id: &str| {
        let secret = &credentials.secret_access_key;
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(keys.path(), text).unwrap();
    };

    assert_reset(connect(daemon.address()));
    let none = daemon.process.stderr.wait_for("WARN");
    login("AKIDOLD");
    assert_reset(connect(daemon.address()));
    let wrong = daemon.process.stderr.wait_for("WARN");
    login(&credentials.access_key_id);

    assert_names(
        &none,
        &["serving{forward=\"f\"}", "credentials: ", "aws sso login"],
    );
    assert_names(
        &wrong,
        &["serving{forward=\"f\"}", "UnrecognizedClientException"],
    );
    assert_echo(&mut connect(daemon.address()), b"hello");
    // An earlier stop would add another line.
    daemon.process.stderr.wait_for("ended by the client");
    let log = daemon.stop(&simulator);
    let lines = log.lines().filter(|line| !line.contains("INFO"));
    assert_eq!(lines.count(), 2, "one line for each:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_credential_process_is_one_line() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let profile = tempfile::NamedTempFile::new().unwrap();
    let text = "[default]\ncredential_process = sh -c 'echo no ticket >&2; exit 1'\n";
    std::fs::write(profile.path(), text).unwrap();
    let mut daemon = DaemonProcess::with(&simulator, &forward("f", "remote = 1"), |command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_CONFIG_FILE", profile.path())
    });

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");

    assert_names(&line, &["serving{forward=\"f\"}", "no ticket", "hint="]);
    let log = daemon.stop(&simulator);
    let lines = log.lines().filter(|line| !line.contains("INFO"));
    assert_eq!(lines.count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_answer_is_reported() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let closed = format!("http://{}", free_address());
    let mut daemon =
        DaemonProcess::launch(caller(&simulator), &closed, &forward("f", "remote = 1"));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");

    let remedy = "`ssm_endpoint`";
    assert_names(
        &line,
        &["serving{forward=\"f\"}", "StartSession", "refused", remedy],
    );
    let log = daemon.stop(&simulator);
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_certificate_is_reported_with_the_bundle() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward("f", "remote = 1"));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");

    assert_names(
        &line,
        &["serving{forward=\"f\"}", "certificate", "`ca_bundle`"],
    );
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_destination_is_reported_with_the_remedy() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let refusing = free_address();
    let forwards = [
        forward_to(refusing),
        forward("lost", "remote = \"nowhere.internal:5432\""),
    ];
    let mut daemon = DaemonProcess::start(&simulator, &forwards.concat());

    assert_reset(connect(daemon.address_of("f")));
    let refused = daemon.process.stderr.wait_for("WARN");
    assert_reset(connect(daemon.address_of("lost")));
    let lost = daemon.process.stderr.wait_for("WARN");

    let destination = format!("destination=localhost:{}", refusing.port());
    assert_names(
        &refused,
        &["{forward=\"f\"}", &destination, "check `remote`"],
    );
    let text = "lookup nowhere.internal on 127.0.0.53:53: no such host";
    assert_names(&lost, &["{forward=\"lost\"}", text, "check `remote`"]);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_websocket_is_reported_with_its_permission() {
    let options = Options {
        require_signature: true,
        ..Options::default()
    };
    let simulator = Simulator::start(options).await.unwrap();
    let api = Api::starting(session_at(&format!("ws://{}", simulator.address())));
    let mut command = caller(&simulator);
    command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let mut daemon = DaemonProcess::launch(command, &api.endpoint(), &forward("f", "remote = 1"));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");

    let permission = "ssmmessages:OpenDataChannel";
    assert_names(&line, &["serving{forward=\"f\"}", "HTTP 403", permission]);
    let log = daemon.stop(&simulator);
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert_eq!(simulator.ledger().refused_upgrades, [(403, 1)].into());
    assert_eq!(api.calls("TerminateSession").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_response_resets_the_connection_and_ends_the_session() {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let port = trap.local_addr().unwrap().port();
    let foreign = format!("ws://localhost.evil.example:{port}");
    for (case, body, text) in [
        (
            "no URL",
            r#"{"SessionId":"s-1","TokenValue":"t"}"#.to_owned(),
            "stream URL",
        ),
        (
            "no token",
            session_at("ws://127.0.0.1:1").replace("TokenValue", "X"),
            "token",
        ),
        (
            "unknown host",
            session_at(&foreign),
            "not a Session Manager endpoint",
        ),
        (
            "not encrypted",
            session_at("ws://ssmmessages.us-east-1.amazonaws.com"),
            "unencrypted",
        ),
        (
            "no websocket",
            session_at("https://127.0.0.1:1"),
            "neither wss",
        ),
        (
            "no listener",
            session_at(&format!("ws://{}", free_address())),
            "refused",
        ),
    ] {
        let api = Api::starting(body);
        let keys = "remote = 1\nconnect_timeout = \"1s\"";
        let mut daemon = DaemonProcess::launch(ssm_proxyd(), &api.endpoint(), &forward("f", keys));

        assert_reset(connect(daemon.address()));
        let line = daemon.process.stderr.wait_for("WARN");

        assert_names(&line, &["serving{forward=\"f\"}", text, "hint="]);
        daemon.process.signal("TERM");
        assert_eq!(daemon.process.exit_code(), 0, "{case}");
        let log = daemon.process.stderr.all();
        assert_eq!(log.matches("WARN").count(), 1, "{case}: {log}");
        assert_eq!(api.calls("TerminateSession").len(), 1, "{case}");
    }
    assert!(trap.accept().is_err(), "dialled outside AWS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_a_session_is_reported() {
    let api = Api::starting("<html>".to_owned());
    let endpoint = api.endpoint();
    let mut daemon = DaemonProcess::launch(ssm_proxyd(), &endpoint, &forward("f", "remote = 1"));

    assert_reset(connect(daemon.address()));
    let line = daemon.process.stderr.wait_for("WARN");

    assert_names(&line, &["serving{forward=\"f\"}", "StartSession", "hint="]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_could_not_be_ended_is_not_reported_ended() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let fault = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    simulator.fail(Operation::TerminateSession, fault);
    let mut daemon = DaemonProcess::start(&simulator, &forward_to(echo.address()));
    assert_echo(&mut connect(daemon.address()), b"hello");

    let line = daemon.process.stderr.wait_for("WARN");
    let log = daemon.stop(&simulator);

    let id = &simulator.ledger().sessions[0].session_id;
    assert_names(
        &line,
        &["serving{forward=\"f\"}", id, "may still be active", "hint="],
    );
    assert!(!log.contains("all sessions are terminated"), "{log}");
}

/// The response to StartSession: a session whose stream URL begins with `origin`.
fn session_at(origin: &str) -> String {
    format!(
        r#"{{"SessionId":"s-1","StreamUrl":"{origin}/v1/data-channel/s-1?role=publish_subscribe","TokenValue":"t"}}"#
    )
}

/// Longer than any `connect_timeout` of these tests.
const RESET_TIMEOUT: Duration = Duration::from_secs(30);
