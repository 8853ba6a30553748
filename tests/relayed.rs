//! Forwards whose connections go through a relay: a simulator whose agents connect to a relay process.

use ssm_proxyd::sim::{ApiFault, OneOffFault, Operation, ServerKind, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::relay::Relay;
use crate::support::daemon_process::DaemonProcess;
use crate::support::in_process::{InProcess, TARGET, destination, unpaced, until};
use crate::support::payload::{assert_whole, mixed, pattern, text};
use crate::support::transfer::{abort, request};

/// A forward through the relay to a port of the target.
fn forward(relay: u16, destination: u16, keys: &str) -> String {
    format!(
        "[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\nremote = {destination}\nrelay = {relay}\n{keys}\n"
    )
}

/// A listener, and a daemon with a forward to it.
async fn served(relay: &Relay) -> (InProcess, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fixture = InProcess::with(unpaced(), &forward(relay.address.port(), port, "")).await;
    (fixture, listener)
}

/// A client and the connection of its destination.
async fn connected(fixture: &InProcess, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(fixture.address()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_through_a_relay_use_the_sessions_of_one_bundle() {
    let relay = Relay::local();
    let echo = destination(ServerKind::Echo).await;
    let settings = forward(relay.address.port(), echo.address().port(), "stripes = 1");
    let fixture = InProcess::with(unpaced(), &settings).await;

    for _ in 0..5 {
        let answer = request(fixture.address(), b"hello").await.unwrap();
        assert_eq!(answer, b"hello");
    }

    assert_eq!(fixture.end().await.started, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_ends_for_itself() {
    let relay = Relay::local();
    let (fixture, listener) = served(&relay).await;
    let (mut client, mut server) = connected(&fixture, &listener).await;

    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    client.read_to_end(&mut greeting).await.unwrap();
    client.write_all(b"answer").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();

    assert_eq!(
        (&greeting[..], &answer[..]),
        (&b"greeting"[..], &b"answer"[..])
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_are_passed_on_in_both_directions() {
    let relay = Relay::local();
    let (fixture, listener) = served(&relay).await;

    let (mut client, server) = connected(&fixture, &listener).await;
    abort(server);
    client.read(&mut [0]).await.unwrap_err();
    let (client, mut server) = connected(&fixture, &listener).await;
    abort(client);
    server.read(&mut [0]).await.unwrap_err();

    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_exact_while_sessions_are_lost() {
    const LEN: usize = 6 << 20;
    exact_while_sessions_are_lost(&pattern(1, LEN), &pattern(2, LEN)).await;
}

/// Compressed, then not, then again.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_bytes_are_exact_while_sessions_are_lost() {
    const LEN: usize = 16 << 20;
    exact_while_sessions_are_lost(&mixed(1, LEN), &mixed(2, LEN)).await;
}

/// Sends both ways through a forward whose sessions are killed.
async fn exact_while_sessions_are_lost(up: &[u8], down: &[u8]) {
    let relay = Relay::local();
    let (fixture, listener) = served(&relay).await;
    let (mut client, mut server) = connected(&fixture, &listener).await;
    // A session that is lost before the daemon knows of the connection delays it beyond
    // `connect_timeout`: the loss of an agent is noticed by its silence.
    server.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    let (mut from_daemon, mut to_daemon) = client.into_split();
    let (mut from_relay, mut to_relay) = server.into_split();
    let (mut received, mut taken) = (Vec::new(), Vec::new());

    let transfers = async {
        tokio::join!(
            async {
                to_daemon.write_all(up).await.unwrap();
                to_daemon.shutdown().await.unwrap();
            },
            async {
                to_relay.write_all(down).await.unwrap();
                to_relay.shutdown().await.unwrap();
            },
            from_daemon.read_to_end(&mut received),
            from_relay.read_to_end(&mut taken),
        )
    };
    let losses = async {
        // All of them, again and again.
        for count in 1..4 {
            let open = || fixture.simulator.open_sessions() > 0;
            until("there is a session", open).await;
            fixture.simulator.inject(None, OneOffFault::KillAgent);
            let replaced = |ledger: &ssm_proxyd::sim::Snapshot| ledger.started > count;
            fixture.until("a lost session is replaced", replaced).await;
        }
    };
    let ((.., read, written), ()) = tokio::join!(transfers, losses);

    read.unwrap();
    written.unwrap();
    assert_whole(&taken, up);
    assert_whole(&received, down);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_carry_a_part_of_the_text_unless_compression_is_off() {
    const LEN: usize = 2 << 20;
    let down = text(3, LEN);
    let mut carried = Vec::new();
    for compress in ["auto", "on", "off"] {
        let relay = Relay::local();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let keys = format!("compress = \"{compress}\"");
        let settings = forward(relay.address.port(), port, &keys);
        let fixture = InProcess::with(unpaced(), &settings).await;
        let (mut client, mut server) = connected(&fixture, &listener).await;

        let mut received = Vec::new();
        let sending = async {
            server.write_all(&down).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(sending, client.read_to_end(&mut received));

        read.unwrap();
        assert_whole(&received, &down);
        drop((client, server));
        let sessions = fixture.end().await.sessions;
        let bytes: u64 = sessions.iter().map(|one| one.traffic.bytes_out).sum();
        carried.push(bytes);
    }

    let len = LEN as u64;
    assert!(carried[0] < len / 3 && carried[1] < len / 3, "{carried:?}");
    assert!(carried[2] >= len, "{carried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_resets_its_connections_and_its_successor_serves() {
    let mut relay = Relay::local();
    let (fixture, listener) = served(&relay).await;
    let (mut client, _server) = connected(&fixture, &listener).await;

    relay.process.signal("KILL");
    relay.process.wait();
    let _successor = Relay::listening(&relay.address.to_string(), &["--allow", "127.0.0.0/8:*"]);

    client.read(&mut [0]).await.unwrap_err();
    let (mut client, mut server) = connected(&fixture, &listener).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
    drop((client, server));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_a_relay_is_reported() {
    let echo = destination(ServerKind::Echo).await;
    let port = echo.address().port();
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let mut daemon = DaemonProcess::start(&simulator, &forward(port, port, ""));

    request(daemon.address(), b"hello").await.unwrap_err();

    let text = format!("port {port} on the target does not belong to a relay");
    let line = daemon.process.stderr.wait_for(&text);
    assert!(line.contains("RelayUnavailable"), "{line}");
    daemon.stop(&simulator);
    assert_eq!(simulator.open_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_the_relay_does_not_allow_is_reset() {
    let relay = Relay::start(&["--allow", "127.0.0.1:1"]);
    let (fixture, _listener) = served(&relay).await;

    request(fixture.address(), b"hello").await.unwrap_err();

    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_is_enough_if_no_other_can_be_started() {
    const LEN: usize = 4 << 20;
    let relay = Relay::local();
    let (fixture, listener) = served(&relay).await;
    let (mut client, mut server) = connected(&fixture, &listener).await;
    let code = "AccessDeniedException".to_owned();
    let denied = ApiFault { code, times: None };
    fixture.simulator.fail(Operation::StartSession, denied);

    let down = pattern(3, LEN);
    let mut received = Vec::new();
    let sending = async {
        server.write_all(&down).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(sending, client.read_to_end(&mut received));

    read.unwrap();
    assert_whole(&received, &down);
    drop(client);
    assert_eq!(fixture.end().await.started, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_reconnect_in_a_loop_to_a_target_without_a_relay_start_few_sessions() {
    const ATTEMPTS: u64 = 40;
    let echo = destination(ServerKind::Echo).await;
    let free = crate::support::free_address::free_address();
    let settings = forward(free.port(), echo.address().port(), "");
    let fixture = InProcess::with(unpaced(), &settings).await;

    for _ in 0..ATTEMPTS {
        request(fixture.address(), b"hello").await.unwrap_err();
    }

    // One at once, and one after 1, 2, 4, 8, 15, 15 … seconds.
    let started = fixture.end().await.started;
    assert!(started < ATTEMPTS / 4, "{started}");
}
