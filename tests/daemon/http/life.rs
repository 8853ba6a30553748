//! HTTP from the start over reloads to the shutdown: its addresses and its responses.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;

use super::{Fixture, curl, get, serving};
use crate::support::daemon_process::{assert_echo, assert_names, connect, free_address};
use crate::support::in_process::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_disables_and_enables_http_and_keeps_unchanged_addresses() {
    let mut fixture = Fixture::new("").await;
    let (first, second) = (fixture.http, free_address());
    let forward = fixture.forward_with("");
    let mut kept = connect(first);

    fixture.write(&serving(first), &forward);
    fixture.reload("reloaded: ");
    kept.write_all(b"GET /startup HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut kept, &mut byte).unwrap();
    assert_eq!(
        &byte, b"H",
        "a connection to an unchanged address continues"
    );

    fixture.write(&serving(second), &forward);
    fixture.reload("reloaded: ");
    assert!(
        TcpStream::connect(first).is_err(),
        "no listener is left there"
    );
    assert_eq!(get(second, "/readiness").status, 200);

    fixture.write("", &forward);
    fixture.reload("reloaded: ");
    assert!(
        TcpStream::connect(second).is_err(),
        "no listener is left there"
    );

    fixture.write(&serving(first), &forward);
    fixture.reload("reloaded: ");
    let status: Value = serde_json::from_str(&get(first, "/status").body).unwrap();
    assert_eq!(status["reloads"], 4);
    assert_echo(&mut connect(fixture.forward), b"hello");
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_to_a_port_in_use_serves_http_once_it_is_free() {
    let mut fixture = Fixture::new("").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();

    fixture.write(&serving(address), &fixture.forward_with(""));
    let line = fixture.reload("cannot serve [http]");
    fixture.daemon.stderr.wait_for("reloaded: ");

    assert_names(&line, &["ERROR", "in use", "hint=", "retrying"]);
    assert!(
        TcpStream::connect(fixture.http).is_err(),
        "the former address is closed"
    );
    assert_echo(&mut connect(fixture.forward), b"hello");

    drop(taken);
    fixture.daemon.stderr.wait_for("serving HTTP");
    assert_eq!(get(address, "/readiness").status, 200);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_move_from_a_forward_to_http_and_back() {
    let mut fixture = Fixture::new("").await;
    let (one, two) = (fixture.forward, fixture.http);
    let at = |fixture: &Fixture, address: std::net::SocketAddr| {
        fixture
            .forward_with("")
            .replace(&one.to_string(), &address.to_string())
    };
    for (forward, http) in [(two, one), (one, two)] {
        fixture.write(&serving(http), &at(&fixture, forward));
        fixture.reload("reloaded: ");

        assert_eq!(get(http, "/readiness").status, 200);
        assert_echo(&mut connect(forward), b"hello");
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_open_connections_finish_the_daemon_is_alive_and_not_ready() {
    let mut fixture = Fixture::new("[shutdown]\ndrain_timeout = \"1h\"\n").await;
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");

    fixture.daemon.signal("TERM");
    fixture
        .daemon
        .stderr
        .wait_for("waiting for open connections");

    let statuses = ["/startup", "/readiness", "/liveness", "/metrics"];
    let statuses = statuses.map(|path| fixture.get(path).status);
    assert_eq!(statuses, [200, 503, 200, 200]);
    assert_eq!(fixture.get("/readiness").body, "stopping\n");
    assert!(
        fixture
            .get("/metrics")
            .body
            .contains("\nssm_proxyd_stopping 1\n")
    );
    let status: Value = serde_json::from_str(&fixture.get("/status").body).unwrap();
    assert_eq!(
        (&status["stopping"], &status["connections"]),
        (&true.into(), &1.into())
    );
    assert_echo(&mut client, b"still here");
    // A client that stays connected does not delay the shutdown.
    let _idle = connect(fixture.http);
    drop(client);
    fixture.is_over();
}

/// Both ask the accept loops, and neither takes the response of the other.
#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_pinged_during_liveness_requests() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let fixture = Fixture::with("", |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "40000")
    })
    .await;

    let mut pings = 0;
    while pings < 20 {
        let mut buffer = [0; 4096];
        let len = manager.recv(&mut buffer).unwrap();
        pings += usize::from(String::from_utf8_lossy(&buffer[..len]).contains("WATCHDOG=1"));
        assert_eq!(fixture.get("/liveness").body, "alive\n");
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_may_listen_on_a_private_unix_socket_and_public_ports() {
    let mut fixture = Fixture::new("").await;
    let socket = fixture.file.directory().join("http.sock");
    let former = fixture.http;
    fixture.http = free_address();
    let port = fixture.http.port();
    let http = format!(
        "[http]\nlisten = [\"0.0.0.0:{port}\", \"unix:{}\"]\nallow_remote_clients = true\n",
        socket.display()
    );
    fixture.write(&http, &fixture.forward_with(""));
    fixture.reload("reloaded: ");

    let path = socket.display().to_string();
    let answer = curl(&["-i", "--unix-socket", &path, "http://localhost/readiness"]);

    assert_eq!(answer.body, "ready\n");
    assert_eq!(fixture.get("/readiness").body, "ready\n");
    assert!(
        TcpStream::connect(former).is_err(),
        "no listener is left there"
    );
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fixture.ends();
    until("its socket file is removed", || !socket.exists()).await;
}
