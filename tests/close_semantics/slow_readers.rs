//! Either side does not read, and bytes are queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ssm_proxyd::sim::Options;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use super::fixture::{Client, End, Fixture, Kind, each, pattern, read_to_end};
use crate::support::in_process::{unpaced, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_back_the_destination_and_loses_nothing() {
    each(async |kind| {
        let mut options = unpaced();
        // Unacknowledged bytes are queued in the kernel, which is not measured here.
        options.agent.window = Some(1 << 20);
        let fixture = Fixture::new(kind, options, "").await;
        let (mut client, destination) = fixture.pair().await;
        let data: Arc<[u8]> = pattern(LARGE).into();

        let writer = Writer::begin(destination, Arc::clone(&data));
        let sent = writer.held_back().await;
        assert!(sent < LARGE, "{kind:?}: all {sent} bytes were taken");

        let (bytes_received, end) = client.read_to_end().await;
        assert!(
            bytes_received[..] == data[..],
            "{kind:?}: {} bytes",
            bytes_received.len()
        );
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_read_holds_back_the_client_and_loses_nothing() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), FAST_UPLOAD).await;
        let (client, mut destination) = fixture.pair().await;
        let data: Arc<[u8]> = pattern(LARGE).into();

        let writer = Writer::begin(client.into_io(), Arc::clone(&data));
        let sent = writer.held_back().await;
        assert!(sent < LARGE, "{kind:?}: all {sent} bytes were taken");

        let (bytes_received, end) = read_to_end(&mut destination).await;
        assert!(
            bytes_received[..] == data[..],
            "{kind:?}: {} bytes",
            bytes_received.len()
        );
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_with_megabytes_pending_has_all_of_them_delivered() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), FAST_UPLOAD).await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(3_000_000);

        // The agent takes 4 MiB that its destination does not.
        client.send(&data).await;
        drop(client);
        let mut bytes_received = Vec::new();
        while bytes_received.len() < data.len() / 2 {
            let mut some = [0; 4096];
            let len = destination.read(&mut some).await.unwrap();
            assert!(
                len > 0,
                "{kind:?}: an end after {} bytes",
                bytes_received.len()
            );
            bytes_received.extend(&some[..len]);
            tokio::task::yield_now().await;
        }
        let (rest, end) = read_to_end(&mut destination).await;
        bytes_received.extend(rest);

        assert!(
            bytes_received == data,
            "{kind:?}: {} bytes",
            bytes_received.len()
        );
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_before_a_stalled_destination_is_not_waited_for_indefinitely() {
    let keys = format!("{FAST_UPLOAD}\nhalf_close_timeout = \"1s\"\nresume_timeout = \"1s\"");
    let keys = keys.as_str();
    for leave in [Client::abort, drop] {
        each(async |kind| {
            let fixture = Fixture::new(kind, unpaced(), keys).await;
            let (mut client, _destination) = fixture.pair().await;
            let data = pattern(LARGE);

            // As much as all buffers on the path take.
            let sent = tokio::time::timeout(Duration::from_secs(2), client.send(&data)).await;
            assert!(sent.is_err(), "{kind:?}: all bytes were taken");
            leave(client);

            fixture.end().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_only_sends_does_not_hold_a_disconnected_client() {
    each(async |kind| {
        let keys = "half_close_timeout = \"1s\"\nresume_timeout = \"1s\"";
        let fixture = Fixture::new(kind, unpaced(), &format!("{FAST_UPLOAD}\n{keys}")).await;
        let (mut client, mut destination) = fixture.pair().await;
        // More than sockets take, and less than the agent: its FIN is queued behind it.
        client.send(&pattern(7_000_000)).await;
        drop(client);

        let exchange = async {
            while destination.write_all(b"and another thing").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = fixture
            .in_process
            .until("the session ends", |ledger| ledger.open_sessions() == 0);
        tokio::join!(exchange, ended);
        fixture.end().await;
    })
    .await;
}

/// The last bytes are queued in sockets and not in the daemon, which has closed its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_ends_before_the_client_reads_is_an_end_after_every_byte() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(1_000_000);

        client.send(b"question").await;
        destination.write_all(&data).await.unwrap();
        destination.shutdown().await.unwrap();
        fixture
            .in_process
            .until("all bytes are in flight", |l| {
                l.sessions[0].traffic.bytes_out >= data.len() as u64
            })
            .await;

        let (bytes_received, end) = client.read_to_end().await;
        assert!(
            bytes_received == data,
            "{kind:?}: {} bytes",
            bytes_received.len()
        );
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

/// A destination that sends and does not read stops its agent from reading too, acknowledgements
/// included; those are queued here until no more input is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_sends_before_it_reads_delivers_everything() {
    let mut options = Options {
        gateway_inbox: 64 * 1024,
        ..unpaced()
    };
    options.agent.window = Some(2 * VERY_LARGE);
    let fixture = Fixture::new(Kind::Tcp, options, FAST_UPLOAD).await;
    let (client, destination) = fixture.pair().await;
    let (mut receiver, mut says) = tokio::io::split(destination);
    let (from_daemon, to_daemon) = tokio::io::split(client.into_io());
    let (question, answer): (Arc<[u8]>, Arc<[u8]>) =
        (pattern(LARGE).into(), pattern(VERY_LARGE).into());
    let writer = Writer::begin(to_daemon, Arc::clone(&question));
    let requests = writer.held_back().await;
    assert!(requests < LARGE, "all {requests} bytes were taken");

    let mut reader = Reader::begin(from_daemon);
    let mut exchange = JoinSet::new();
    let data = Arc::clone(&answer);
    exchange.spawn(async move { says.write_all(&data).await.map(|()| says) });
    let received = reader.held_back().await;
    assert!(received < VERY_LARGE, "there was no backpressure");
    let mut bytes_received = vec![0; LARGE];
    receiver.read_exact(&mut bytes_received).await.unwrap();
    let sent = exchange.join_next().await.unwrap().unwrap().unwrap();

    assert!(bytes_received[..] == question[..]);
    reader.received(VERY_LARGE).await;
    drop((receiver, sent));
    let received = reader.whole.join_next().await.unwrap().unwrap();
    assert!(received[..] == answer[..]);
    let ledger = fixture.end().await;
    assert_eq!(
        ledger.sessions[0].attached, 1,
        "the websocket must stay connected"
    );
}

/// A reader, and its progress.
struct Reader {
    received: Arc<AtomicUsize>,
    whole: JoinSet<Vec<u8>>,
}

impl Reader {
    /// Reads to the end.
    fn begin<R: AsyncRead + Unpin + Send + 'static>(mut from: R) -> Self {
        let received = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&received);
        let mut whole = JoinSet::new();
        whole.spawn(async move {
            let mut bytes_received = Vec::new();
            while from.read_buf(&mut bytes_received).await.unwrap() > 0 {
                counter.store(bytes_received.len(), Ordering::Relaxed);
            }
            bytes_received
        });
        Self { received, whole }
    }

    /// Waits until no more bytes arrive, and returns their number.
    async fn held_back(&self) -> usize {
        held_back(&self.received).await
    }

    async fn received(&self, len: usize) {
        until("everything is received", || {
            self.received.load(Ordering::Relaxed) == len
        })
        .await;
    }
}

/// A writer, and its progress.
struct Writer {
    sent: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Writer {
    /// Writes `data` and closes.
    fn begin<W: AsyncWrite + Unpin + Send + 'static>(mut to: W, data: Arc<[u8]>) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        let counter = Arc::clone(&sent);
        task.spawn(async move {
            for piece in data.chunks(16 * 1024) {
                to.write_all(piece).await.unwrap();
                counter.fetch_add(piece.len(), Ordering::Relaxed);
            }
        });
        Self { sent, _task: task }
    }

    /// Waits until no more is taken, and returns the number of bytes.
    async fn held_back(&self) -> usize {
        held_back(&self.sent).await
    }
}

/// Waits until a counter stops changing, and returns it. The time is counted in turns of this process,
/// so that on a busy machine, where the other tasks need longer, it is longer too.
async fn held_back(counter: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let count = counter.load(Ordering::Relaxed);
        if count == before && count > 0 {
            return count;
        }
        before = count;
        for _ in 0..QUIET_TURNS {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::task::yield_now().await;
        }
    }
}

/// Turns of the process without progress.
const QUIET_TURNS: usize = 1000;

/// More than the sum of all limits on the path.
const LARGE: usize = 32 << 20;

/// More acknowledgements than sockets and the daemon can queue, and fewer than the messages that an
/// agent keeps.
const VERY_LARGE: usize = 80 << 20;

/// No speed limit, and large messages.
const FAST_UPLOAD: &str = "upload_rate = 0\nupload_payload = 32768\nupload_window = \"1MiB\"";
