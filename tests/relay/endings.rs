//! How connections end: exactly as at the other end.

use std::io::ErrorKind;
use std::net::SocketAddr;

use ssm_proxyd::bundle_driver::FlowRead;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};

use super::{Daemon, Relay, connected, in_time, read_all};

async fn assert_reset(mut destination: TcpStream) {
    let mut all = Vec::new();
    let error = in_time(destination.read_to_end(&mut all))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_arrives_and_the_other_direction_continues() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    flow.write_all(b"question").await.unwrap();
    flow.finish();
    let mut question = Vec::new();
    in_time(destination.read_to_end(&mut question))
        .await
        .unwrap();
    destination.write_all(b"answer").await.unwrap();
    drop(destination);

    assert_eq!(question, b"question");
    assert_eq!(read_all(&flow).await.unwrap(), b"answer");
    assert!(flow.write(b"more").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_half_closes_still_receives() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    destination.shutdown().await.unwrap();
    assert_eq!(read_all(&flow).await.unwrap(), b"");
    flow.write_all(b"late").await.unwrap();
    flow.finish();
    let mut late = Vec::new();
    in_time(destination.read_to_end(&mut late)).await.unwrap();

    assert_eq!(late, b"late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_client_resets_the_destination() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (dropped, first) = connected(&daemon).await;
    let (reset, second) = connected(&daemon).await;

    drop(dropped);
    reset.reset();

    assert_reset(first).await;
    assert_reset(second).await;
    assert_eq!(reset.read(1).await, FlowRead::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_destination_resets_the_client() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, destination) = connected(&daemon).await;

    let linger = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(&destination)
        .set_linger(linger)
        .unwrap();
    drop(destination);

    assert_eq!(in_time(flow.read(10)).await, FlowRead::Reset);
    assert!(flow.write(b"x").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_destination_that_does_not_read_its_request_is_complete() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    let answer = vec![7; 300_000];
    let asking = async {
        let request = vec![1; 8 << 20];
        // The destination may be gone before it is written.
        let _written = flow.write_all(&request).await;
        flow.finish();
    };
    let answering = async {
        destination.write_all(&answer).await.unwrap();
        destination.shutdown().await.unwrap();
        // Its kernel answers what it does not read with a reset, after the answer was sent.
        let mut first = [0; 1];
        destination.read_exact(&mut first).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        drop(destination);
    };
    let (_, _, got) = tokio::join!(in_time(asking), in_time(answering), read_all(&flow));

    assert_eq!(got.unwrap(), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_a_destination() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let path = path.to_str().unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let relay = Relay::start(&["--allow", &format!("unix:{path}")]);
    let daemon = Daemon::of(&relay).await;

    let (flow, accepted) = tokio::join!(daemon.handle.open(path, 0), listener.accept());
    let (flow, mut destination) = (flow.unwrap(), accepted.unwrap().0);
    flow.write_all(b"ping").await.unwrap();
    flow.finish();
    let mut got = Vec::new();
    in_time(destination.read_to_end(&mut got)).await.unwrap();
    destination.write_all(b"pong").await.unwrap();
    drop(destination);

    assert_eq!(got, b"ping");
    assert_eq!(read_all(&flow).await.unwrap(), b"pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_relay_is_a_reset_and_never_an_end() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;
    destination.write_all(b"begin").await.unwrap();
    assert!(matches!(in_time(flow.read(5)).await, FlowRead::Data(_)));

    relay.process.signal("KILL");
    let address = relay.address;
    drop(relay);
    let _again = Relay::listening(&address.to_string(), &["--allow", "127.0.0.0/8:*"]);

    assert_eq!(read_all(&flow).await, None);
    let end = in_time(daemon.handle.ended()).await.to_string();
    assert!(end.contains("no longer knows this bundle"), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_end_by_themselves_while_the_relay_stops() {
    let mut relay = Relay::start(&["--allow", "127.0.0.0/8:*", "--drain-timeout", "60s"]);
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    relay.process.signal("TERM");
    relay.process.stderr.wait_for("stopping");
    let refused = daemon.handle.open("127.0.0.1", 1).await.unwrap_err();
    flow.write_all(b"last").await.unwrap();
    flow.finish();
    let mut last = Vec::new();
    in_time(destination.read_to_end(&mut last)).await.unwrap();
    destination.write_all(b"word").await.unwrap();
    drop(destination);

    assert_eq!(refused.to_string(), "the relay is stopping");
    assert_eq!(last, b"last");
    assert_eq!(read_all(&flow).await.unwrap(), b"word");
    assert_eq!(relay.process.exit_code(), 0);
    let end = in_time(daemon.handle.ended()).await;
    assert_eq!(end.to_string(), "closed by the peer");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_end_are_reset_when_the_relay_stops() {
    let mut relay = Relay::start(&["--allow", "127.0.0.0/8:*", "--drain-timeout", "100ms"]);
    let daemon = Daemon::of(&relay).await;
    let (flow, destination) = connected(&daemon).await;

    relay.process.signal("TERM");

    assert_eq!(read_all(&flow).await, None);
    assert_reset(destination).await;
    assert_eq!(relay.process.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_closes_resets_its_connections() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, destination) = connected(&daemon).await;

    daemon.handle.close();

    assert_reset(destination).await;
    assert_eq!(flow.read(1).await, FlowRead::Reset);
    let end = in_time(daemon.handle.ended()).await;
    assert_eq!(end.to_string(), "closed");
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let error = daemon.handle.open("127.0.0.1", nowhere.port()).await;
    assert_eq!(error.unwrap_err().to_string(), "the relay bundle has ended");
}
