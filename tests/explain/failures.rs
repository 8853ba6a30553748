//! Which failures are explained, and which clients are reset as without `explain`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, OneOffFault, Operation, ServerKind};

use super::{PING, read_to_end, request, serving};
use crate::support::daemon_process::{
    DaemonProcess, assert_echo, assert_names, assert_reset, connect, forward, free_address,
};
use crate::support::in_process::{InProcess, destination, unpaced, until};

const REDIS: &str = "explain = \"redis\"";

/// Asserts that the client got this error reply before the end.
fn assert_explained((received, is_reset): (String, bool), texts: &[&str]) {
    assert!(!is_reset, "a reset after {received:?}");
    assert!(
        received.starts_with("-ERR ssm-proxyd: forward f"),
        "{received:?}"
    );
    assert!(received.ends_with(")\r\n"), "{received:?}");
    assert_names(&received, texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_destination_is_explained() {
    for sessions in ["per_connection", "shared"] {
        let port = free_address().port();
        let keys = format!("remote = {port}\nsessions = \"{sessions}\"\n{REDIS}");
        let daemon = serving(unpaced(), &keys).await;

        let answer = request(daemon.address(), PING);

        let destination = format!("localhost:{port}");
        let texts = [
            "could not connect",
            &destination,
            "hint: check `remote`",
            "DestinationRefused",
        ];
        assert_explained(answer, &texts);
        daemon.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_api_are_explained() {
    for (code, texts) in [
        (
            "AccessDeniedException",
            ["ssm:StartSession", "AccessDenied"],
        ),
        (
            "ThrottlingException",
            ["ThrottlingException", "open fewer connections"],
        ),
        (
            "ExpiredTokenException",
            ["log in again", "CredentialsExpired"],
        ),
    ] {
        let keys = format!("remote = 1\nconnect_timeout = \"3s\"\n{REDIS}");
        let daemon = serving(unpaced(), &keys).await;
        let code = code.to_owned();
        let fault = ApiFault { code, times: None };
        daemon.simulator.fail(Operation::StartSession, fault);

        assert_explained(request(daemon.address(), PING), &texts);

        daemon.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_explained() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = format!("remote = {port}\nmax_connections = 1\nconnect_timeout = \"2s\"\n{REDIS}");
    let daemon = serving(unpaced(), &keys).await;
    let mut first = connect(daemon.address());
    assert_echo(&mut first, b"hello");

    let answer = request(daemon.address(), PING);

    assert_explained(answer, &["`max_connections` of this forward", "TimedOut"]);
    assert_echo(&mut first, b"still open");
    drop(first);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_explained_to_clients_that_wait() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!(
        "remote = {}\nmax_connections = 1\n{REDIS}",
        echo.address().port()
    );
    let tables = format!(
        "[shutdown]\ndrain_timeout = \"3s\"\n{}",
        super::forward("f", &keys)
    );
    let daemon = InProcess::with(unpaced(), &tables).await;
    let mut first = connect(daemon.address());
    assert_echo(&mut first, b"hello");
    let mut client = connect(daemon.address());
    client.write_all(PING).unwrap();
    let waiting = || daemon.daemon.reports().remove(0).waiting == 1;
    until("the client waits for a session", waiting).await;

    daemon.end().await;

    assert_explained(
        read_to_end(&client),
        &["the forward is stopping", "connect again"],
    );
}

/// A client whose destination has its request, and does not answer.
async fn unanswered(keys: &str, request: &[u8]) -> (InProcess, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = unpaced();
    options.agent.crash_delay = Duration::from_millis(10);
    let daemon = serving(options, &format!("remote = {port}\n{keys}")).await;
    let mut client = connect(daemon.address());
    client.write_all(request).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut vec![0; request.len()]).unwrap();
    (daemon, client, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_read_before_the_session_ended_is_answered() {
    for sessions in ["per_connection", "shared"] {
        let keys = format!("sessions = \"{sessions}\"\nexplain = \"http\"");
        let (daemon, client, _accepted) = unanswered(&keys, b"GET / HTTP/1.1\r\n\r\n").await;

        assert_eq!(daemon.simulator.inject(None, OneOffFault::KillAgent), 1);

        let (received, is_reset) = read_to_end(&client);
        assert!(!is_reset, "{received}");
        let texts = [
            "HTTP/1.1 502 Bad Gateway\r\n",
            "forward f (the destination may have received the request): ",
            "\nhint: ",
        ];
        assert_names(&received, &texts);
        daemon.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_may_have_been_executed_gets_no_error_reply() {
    let (daemon, client, _accepted) = unanswered(REDIS, PING).await;

    assert_eq!(daemon.simulator.inject(None, OneOffFault::KillAgent), 1);

    assert_eq!(read_to_end(&client), (String::new(), true));
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_follows_bytes_of_the_destination() {
    let (daemon, mut client, mut accepted) =
        unanswered("explain = \"http\"", b"GET / HTTP/1.1\r\n\r\n").await;
    accepted.write_all(b"+").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();

    assert_eq!(daemon.simulator.inject(None, OneOffFault::KillAgent), 1);

    assert_eq!(read_to_end(&client), (String::new(), true));
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_the_destination_is_an_end_without_a_message() {
    let (daemon, client, accepted) =
        unanswered("explain = \"http\"", b"GET / HTTP/1.1\r\n\r\n").await;

    drop(accepted);

    assert_eq!(read_to_end(&client), (String::new(), false));
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_are_reset() {
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let port = free_address().port();
    for (case, keys, bytes) in [
        ("off", "explain = \"off\"", PING),
        ("auto, at an unknown port", "", PING),
        ("TLS instead of Redis", REDIS, tls),
        ("TLS instead of PostgreSQL", "explain = \"postgres\"", tls),
        ("nothing is sent", REDIS, b""),
    ] {
        let daemon = serving(unpaced(), &format!("remote = {port}\n{keys}")).await;

        let answer = request(daemon.address(), bytes);

        assert_eq!(answer, (String::new(), true), "{case}");
        daemon.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_sending_direction_after_its_request_gets_the_message() {
    let daemon = serving(unpaced(), &format!("remote = 1\n{REDIS}")).await;
    let mut client = connect(daemon.address());
    client.write_all(PING).unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    assert_explained(read_to_end(&client), &["could not connect"]);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_unix_sockets_get_the_message() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.sock");
    let listen = format!("\"unix:{}\"", path.display());
    let daemon = InProcess::listening(unpaced(), &listen, &format!("remote = 1\n{REDIS}")).await;
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(PING).unwrap();

    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();

    assert_explained((received, false), &["could not connect"]);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_has_the_true_reason_and_that_it_was_explained() {
    let simulator = ssm_proxyd::sim::Simulator::start(unpaced()).await.unwrap();
    let forwards = forward("f", &format!("remote = {}\n{REDIS}", free_address().port()));
    // The second failure is not a warning.
    let log = "info,ssm_proxyd::forward::access_log=debug";
    let mut daemon = DaemonProcess::with(&simulator, &forwards, |command| {
        command.env("SSM_PROXYD_LOG", log)
    });

    let (answer, _) = request(daemon.address(), PING);
    let explained = daemon.process.stderr.wait_for("ended_by");
    assert_reset(connect(daemon.address()));
    let reset = daemon.process.stderr.wait_for("ended_by");

    assert!(answer.starts_with("-ERR"), "{answer}");
    let reason = "reason=\"destination_unreachable\"";
    let texts = [
        reason,
        "explained=\"redis\"",
        "error message sent to the client",
        "received=0",
    ];
    assert_names(&explained, &texts);
    assert_names(&reset, &[reason, "connection reset"]);
    assert!(!reset.contains("explained"), "{reset}");
    daemon.stop(&simulator);
}
