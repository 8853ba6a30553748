//! Connections that cannot be served: the answer, the log, and other destinations.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use ssm_proxyd::sim::{ServerKind, Simulator};

use super::{answer, echo, http, open, patient, proxy, socks4a, socks5_reply};
use crate::cli::ended;
use crate::support::daemon_process::{DaemonProcess, assert_echo};
use crate::support::in_process::{InProcess, TARGET, destination, unpaced, until};
use crate::support::process::ssm_proxyd;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_target_cannot_resolve_is_a_failure_of_that_name_alone() {
    let (simulator, daemon) = echo("\"*:*\"", "").await;
    let address = daemon.address();

    for _ in 0..3 {
        let text = String::from_utf8(answer(address, &http("nowhere.internal:7"))).unwrap();
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
        assert!(text.contains("lookup nowhere.internal"), "{text}");
        assert_eq!(socks5_reply(address, "nowhere.internal", 7), 4);
        assert_echo(&mut open(address, "echo.internal", 7), b"hello");
    }

    let log = daemon.stop(&simulator);
    assert!(log.contains("destination=nowhere.internal:7"), "{log}");
    assert_eq!(
        log.matches("error=\"the session was terminated").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("session starts succeed again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_offline_is_answered_in_each_protocol_without_a_call_for_each() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    simulator.set_offline(TARGET, true);
    let daemon = DaemonProcess::start(&simulator, &proxy("\"*:*\"", ""));
    let address = daemon.address();

    let text = String::from_utf8(answer(address, &http("db.internal:7"))).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{text}"
    );
    assert!(
        text.contains("hint: check that the target is running"),
        "{text}"
    );
    assert_eq!(socks5_reply(address, "db.internal", 7), 1);
    assert_eq!(answer(address, &socks4a("db.internal", 7))[1], 0x5b);
    for n in 0..50 {
        assert_eq!(socks5_reply(address, &format!("db{n}.internal"), 7), 1);
    }

    let log = daemon.stop(&simulator);
    let calls = simulator.ledger().calls["StartSession"];
    assert!(calls < 10, "the breaker is open: {calls} calls");
    assert!(log.matches(" WARN ").count() < 10, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_hold_no_permit_and_are_reset_in_time() {
    let keys = "max_connections = 1\nconnect_timeout = \"2s\"\n";
    let (simulator, daemon) = echo("\"echo.internal:7\"", keys).await;
    let address = daemon.address();
    let silent: Vec<_> = [
        &b""[..],
        b"\x05",
        b"\x05\x01\x00\x05\x01",
        b"\x04\x01",
        b"CONNECT a",
    ]
    .iter()
    .map(|bytes| {
        let mut client = patient(address);
        client.write_all(bytes).unwrap();
        client
    })
    .collect();

    assert_echo(&mut open(address, "echo.internal", 7), b"served meanwhile");

    for mut client in silent {
        let mut rest = Vec::new();
        // A reset, or the end if the answer to the greeting came before.
        let _end = client.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest == [5, 0], "{rest:?}");
    }
    let log = daemon.stop(&simulator);
    assert!(
        log.contains("no complete request was received in time"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_proxy_its_rules_and_what_clients_have_requested() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let keys = format!("[admin]\nsocket = {:?}\n", socket.display().to_string());
    let (simulator, daemon) = echo("\"echo.internal:7\"", &keys).await;
    let mut client = open(daemon.address(), "echo.internal", 7);
    assert_echo(&mut client, b"hello");

    let mut command = ssm_proxyd();
    command
        .args(["status", "p", "--json", "--socket"])
        .arg(&socket);
    let (code, report, output) = ended(&mut command);

    assert_eq!(code, 0, "{output}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["forward"]["remote"], "proxy to echo.internal:7");
    assert_eq!(report["forward"]["state"], "ready");
    assert_eq!(report["connections"][0]["destination"], "echo.internal:7");
    drop(client);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_do_not_keep_others_from_being_accepted() {
    let (simulator, daemon) = echo("\"echo.internal:7\"", "max_connections = 1\n").await;
    let address = daemon.address();

    // More than all slots of the forward. They are silent for less than the time for a request.
    let silent: Vec<_> = (0..1500).map(|_| patient(address)).collect();

    assert_echo(&mut open(address, "echo.internal", 7), b"served meanwhile");
    drop(silent);
    let log = daemon.stop(&simulator);
    assert!(log.contains("too many clients are waited for"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_after_early_bytes_no_longer_waits() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let keys = "max_connections = 1\nconnect_timeout = \"10m\"\n";
    let forward = format!(
        "[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\nremote = {port}\n"
    );
    let request = http(&format!("localhost:{port}"));
    for (table, request) in [(proxy("\"*:*\"", ""), request), (forward, Vec::new())] {
        let daemon = InProcess::with(unpaced(), &(table + keys)).await;
        let waiting = || daemon.daemon.reports().remove(0).waiting;
        let mut first = patient(daemon.address());
        first.write_all(&[&request[..], b"x"].concat()).unwrap();
        first.read_exact(&mut [0]).unwrap();
        let mut early = patient(daemon.address());
        early.write_all(&[&request[..], b"early"].concat()).unwrap();
        until("the second client waits", || waiting() == 1).await;

        SockRef::from(&early)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(early);

        until("it no longer waits", || waiting() == 0).await;
        drop(first);
        daemon.end().await;
    }
}
