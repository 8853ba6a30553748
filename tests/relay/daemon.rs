//! The daemon, whose forward reaches the relay through sessions of the simulator.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use ssm_proxyd::sim::{ServerKind, Simulator};

use super::Relay;
use crate::support::daemon_process::{DaemonProcess, assert_clean, connect, forward};
use crate::support::in_process::{destination, unpaced};
use crate::support::payload::{assert_whole, pattern};

/// A forward to a port of the target, through a relay.
fn relayed(relay: SocketAddr, destination: SocketAddr, more: &str) -> String {
    let (relay, destination) = (relay.port(), destination.port());
    forward(
        "f",
        &format!("remote = {destination}\nrelay = {relay}\nstripes = 4\n{more}"),
    )
}

/// A destination that serves one connection in a thread.
fn served<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, thread)
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// Waits for the end of a connection, and asserts that it is a reset.
fn assert_reset(mut stream: &TcpStream) {
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Sends in one thread and receives in this one; both to the end.
fn exchange(client: &TcpStream, data: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sending = client;
            sending.write_all(data).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        read_all(client)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_half_closes_pass_both_ways() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (up, down) = (pattern(1, 3_000_000), pattern(2, 3_000_000));
    let answer = down.clone();
    let (address, server) = served(move |mut stream| {
        let all = read_all(&stream);
        stream.write_all(&answer).unwrap();
        all
    });
    let daemon = DaemonProcess::start(&simulator, &relayed(relay.address, address, ""));
    let client = connect(daemon.address());

    let received = exchange(&client, &up);

    assert_whole(&received, &down);
    assert_whole(&server.join().unwrap(), &up);
    drop(client);
    let log = daemon.stop(&simulator);
    assert!(log.contains("reason=\"destination_closed\""), "{log}");
    assert_eq!(log.matches("reason=").count(), 1, "{log}");
}

/// As with a direct connection: the destination gets what was sent before the close.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_bytes_of_a_client_that_closes_arrive() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (address, server) = served(|stream| read_all(&stream));
    let daemon = DaemonProcess::start(&simulator, &relayed(relay.address, address, ""));
    let mut client = connect(daemon.address());

    let data = pattern(4, 500_000);
    client.write_all(&data).unwrap();
    drop(client);

    assert_whole(&server.join().unwrap(), &data);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_relay_reset_the_client_and_are_recorded() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::start(&["--allow", "127.0.0.1:1"]);
    let denied = destination(ServerKind::Echo).await;
    let to_closed = SocketAddr::from(([127, 0, 0, 1], 1));
    for (to, class) in [
        (to_closed, "DestinationRefused"),
        (denied.address(), "DestinationForbidden"),
    ] {
        let daemon = DaemonProcess::start(&simulator, &relayed(relay.address, to, ""));

        assert_reset(&connect(daemon.address()));

        let log = daemon.stop(&simulator);
        assert!(log.contains("reason=\"destination_unreachable\""), "{log}");
        assert!(log.contains(class), "{log}");
        assert!(log.contains("the relay on the target"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_a_relay_is_named() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    for (kind, port) in [(None, closed), (Some(ServerKind::Echo), closed)] {
        let server = match kind {
            Some(kind) => Some(destination(kind).await),
            None => None,
        };
        let port = server.as_ref().map_or(port, |server| server.address());
        let daemon = DaemonProcess::start(&simulator, &relayed(port, port, ""));

        assert_reset(&connect(daemon.address()));

        let log = daemon.stop(&simulator);
        assert!(log.contains("reason=\"session_not_started\""), "{log}");
        assert!(log.contains("RelayUnavailable"), "{log}");
        assert!(log.contains("ssm-proxyd relay"), "no hint: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_resets_its_clients() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let echo = destination(ServerKind::Echo).await;
    let keys = "resume_timeout = \"2s\"";
    let daemon = DaemonProcess::start(&simulator, &relayed(relay.address, echo.address(), keys));
    let mut client = connect(daemon.address());
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();

    relay.process.signal("KILL");

    assert_reset(&client);
    let log = daemon.stop(&simulator);
    assert!(log.contains("reason=\"session_lost\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_later_serves_the_next_clients() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let address = {
        let relay = Relay::local();
        relay.address
    };
    let echo = destination(ServerKind::Echo).await;
    let daemon = DaemonProcess::start(&simulator, &relayed(address, echo.address(), ""));
    assert_reset(&connect(daemon.address()));

    let _relay = Relay::listening(&address.to_string(), &["--allow", "127.0.0.0/8:*"]);

    // Connections are refused for a second after one that did not find a relay.
    let served = || {
        let mut client = connect(daemon.address());
        let asked = client.write_all(b"hello").is_ok() && client.shutdown(Shutdown::Write).is_ok();
        let mut answer = Vec::new();
        asked && client.read_to_end(&mut answer).is_ok() && answer == b"hello"
    };
    crate::support::in_process::until("a connection is served", served).await;
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_all_sessions() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let echo = destination(ServerKind::Echo).await;
    let daemon = DaemonProcess::start(&simulator, &relayed(relay.address, echo.address(), ""));
    let mut client = connect(daemon.address());
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    assert!(simulator.open_sessions() > 0);

    daemon.stop(&simulator);

    assert_reset(&client);
    assert_clean(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_the_end_of_its_destination_is_recorded_as_such() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (address, server) = served(|mut stream| {
        stream.write_all(b"answer").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream)
    });
    let mut daemon = DaemonProcess::start(&simulator, &relayed(relay.address, address, ""));
    let mut client = connect(daemon.address());

    assert_eq!(read_all(&client), b"answer");
    client.write_all(b"thanks").unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    assert_eq!(server.join().unwrap(), b"thanks");
    let line = daemon.process.stderr.wait_for("reason=");
    assert!(line.contains("reason=\"destination_closed\""), "{line}");
    daemon.stop(&simulator);
}

/// A destination with small buffers, and its listener.
fn slow_listener() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    (listener.local_addr().unwrap(), listener)
}

const SHORT: &str = "half_close_timeout = \"1s\"\nresume_timeout = \"5s\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_destination_gets_everything_from_a_client_that_has_closed() {
    const LEN: usize = 7 << 20;
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (address, listener) = slow_listener();
    let data = pattern(6, LEN);
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 128 * 1024]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(all),
                Ok(len) => all.extend_from_slice(&buffer[..len]),
                Err(error) => return Err((error, all.len())),
            }
            // Much longer than `half_close_timeout` in all.
            thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let settings = relayed(relay.address, address, SHORT);
    let mut daemon = DaemonProcess::start(&simulator, &settings);
    let mut client = connect(daemon.address());

    client.write_all(&data).unwrap();
    drop(client);

    let line = daemon.process.stderr.wait_for("reason=");
    assert_whole(&server.join().unwrap().unwrap(), &data);
    assert!(
        line.contains("client_closed") || line.contains("destination_closed"),
        "{line}"
    );
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_taken_ends_with_a_reset_and_is_recorded_as_incomplete() {
    let simulator = Simulator::start(unpaced()).await.unwrap();
    let relay = Relay::local();
    let (address, listener) = slow_listener();
    let settings = relayed(relay.address, address, SHORT);
    let mut daemon = DaemonProcess::start(&simulator, &settings);
    let mut client = connect(daemon.address());
    let stream = listener.accept().unwrap().0;

    // Until all buffers are full.
    client.set_nonblocking(true).unwrap();
    let mut refused = 0;
    while refused < 100 {
        match client.write(&[7; 65_536]) {
            Ok(_) => refused = 0,
            Err(_) => refused += 1,
        }
        thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(client);

    let line = daemon.process.stderr.wait_for("reason=");
    assert!(line.contains("upload_incomplete"), "{line}");
    assert_reset(&stream);
    daemon.stop(&simulator);
}
