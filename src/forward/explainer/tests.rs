//! Deadlines, limits and stops, in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::watch;
use tracing::Span;

use super::*;
use crate::clock;
use crate::forward::explain::tests::offline;
use crate::forward::shutdown::ShutdownPhase;
use crate::virtual_net::{self, Address, Stream};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6379);
const PING: &[u8] = b"PING\r\n";

fn explainer(slots: usize) -> Explainer {
    Explainer {
        protocol: Some(ClientProtocol::Redis),
        forward: "cache".to_owned(),
        slots: Semaphore::new(slots),
    }
}

fn conclusion() -> Option<Conclusion> {
    Some(Conclusion::new(offline(), None, false, Span::none()))
}

/// A client, and its accepted connection.
async fn pair() -> (Stream, Connection) {
    let listener = virtual_net::bind(Address::Tcp(ADDRESS)).unwrap();
    let client = virtual_net::connect(&Address::Tcp(ADDRESS)).await.unwrap();
    (client, Connection::in_memory(listener.accept().await))
}

fn stop(phase: ShutdownPhase) -> (watch::Sender<ShutdownPhase>, ShutdownWatch) {
    let (sender, receiver) = watch::channel(phase);
    (sender, ShutdownWatch::new(receiver))
}

/// Returns what the client gets until the end, or its error.
async fn read_to_end(client: &Stream) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    loop {
        let bytes = client.read(1 << 16).await?;
        if bytes.is_empty() {
            return Ok(received);
        }
        received.extend(bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_reset_after_the_time_limit() {
    let _net = virtual_net::install();
    let (client, connection) = pair().await;
    let (_sender, mut stop) = stop(ShutdownPhase::Running);
    let begin = clock::now();

    let explainer = explainer(1);
    explainer
        .explain(conclusion(), connection, Vec::new(), &mut stop)
        .await;

    assert_eq!(clock::since(begin), TIME_LIMIT);
    let end = read_to_end(&client).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_close_has_the_message_and_is_left_after_the_time_limit() {
    let _net = virtual_net::install();
    let (client, connection) = pair().await;
    let (_sender, mut stop) = stop(ShutdownPhase::Draining);
    let begin = clock::now();

    let explainer = explainer(1);
    explainer
        .explain(conclusion(), connection, PING.to_vec(), &mut stop)
        .await;

    assert_eq!(clock::since(begin), TIME_LIMIT);
    let received = read_to_end(&client).await.unwrap();
    assert!(received.starts_with(b"-ERR ssm-proxyd: forward cache: "));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_without_end_is_left_after_the_time_limit() {
    let _net = virtual_net::install();
    let (client, connection) = pair().await;
    let (_sender, mut stop) = stop(ShutdownPhase::Running);
    let begin = clock::now();
    let sending = async {
        client.write(PING).await.unwrap();
        while client.write(&[b'x'; 4096]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };

    let explainer = explainer(1);
    let explain = explainer.explain(conclusion(), connection, Vec::new(), &mut stop);
    tokio::join!(explain, sending);

    assert!(clock::since(begin) < TIME_LIMIT * 2);
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_resets_at_once() {
    let _net = virtual_net::install();
    let (client, connection) = pair().await;
    let (sender, mut stop) = stop(ShutdownPhase::Running);
    let begin = clock::now();

    let explainer = explainer(1);
    let explain = explainer.explain(conclusion(), connection, Vec::new(), &mut stop);
    let abort = async { sender.send_replace(ShutdownPhase::Aborting) };
    tokio::join!(explain, abort);

    assert_eq!(clock::since(begin), Duration::ZERO);
    assert!(read_to_end(&client).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clients_beyond_the_limit_are_reset_at_once() {
    let _net = virtual_net::install();
    let explainer = explainer(1);
    let (_silent, first) = pair().await;
    let (client, second) = pair().await;
    let (_sender, mut stop) = stop(ShutdownPhase::Running);
    let mut same = stop.clone();

    let first = explainer.explain(conclusion(), first, Vec::new(), &mut stop);
    let second = async {
        tokio::task::yield_now().await;
        let begin = clock::now();
        let explain = explainer.explain(conclusion(), second, PING.to_vec(), &mut same);
        explain.await;
        clock::since(begin)
    };
    let ((), time) = tokio::join!(first, second);

    assert_eq!(time, Duration::ZERO);
    assert!(read_to_end(&client).await.is_err());
    let (client, third) = pair().await;
    client.write(PING).await.unwrap();
    client.finish();
    explainer
        .explain(conclusion(), third, Vec::new(), &mut same)
        .await;
    assert!(read_to_end(&client).await.is_ok());
}
