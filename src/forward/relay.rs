//! A connection and its stream, each told how the other ended.
//!
//! ```text
//!   client ── read ──▶ send ──────▶ stream          EOF: half-closed, or gone?
//!          ◀─ write ── receive ◀─── stream          End: FIN     Lost: reset
//! ```
//!
//! FIN closes both directions at the agent, so a client that half-closes keeps its stream open
//! until the answer has ended, it turns out to be gone, or all is quiet for too long. What a client
//! has sent before it left is carried all the same, as long as it moves.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::client::Connection;
use crate::proto::{Reason, Upload};
use crate::telemetry::ForwardMetrics;
use crate::tunnel::{Closed, Stream, Taken};

/// How long a relay waits when nothing moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the answer, after a client has half-closed.
    pub(super) quiet: Duration,
    /// For the destination to take what a client has sent that is gone.
    pub(super) delivery: Duration,
    /// For that to end, whether anything moves or not.
    pub(super) flush_total: Option<Duration>,
}

/// Carries bytes both ways until one side has ended. The connection is not closed yet: its owner
/// tells the client, by the outcome.
pub(super) async fn relay(
    connection: &Connection,
    stream: &Stream,
    patience: Patience,
    counters: &ByteCounters<'_>,
) -> Outcome {
    // True once the client is known to be gone, with something left to carry.
    let gone = AtomicBool::new(false);
    let mut sending = pin!(send(connection, stream, patience.delivery, &gone, counters));
    let mut receiving = pin!(receive(connection, stream, counters));
    let sent = tokio::select! {
        received = &mut receiving => match received {
            Received::Ended(outcome) => return outcome,
            Received::ClientDeaf => {
                gone.store(true, Relaxed);
                return tokio::select! {
                    sent = sending => sent.into_outcome(),
                    ended = discard(stream) => ended,
                };
            }
        },
        sent = &mut sending => sent,
    };
    match sent {
        Sent::StreamEnded => receiving.await.into(),
        Sent::ClientGone | Sent::Undelivered => sent.into_outcome(),
        Sent::End => {
            stream.finish();
            tokio::select! {
                received = receiving => received.into(),
                () = connection.gone() => Outcome::ClientGone,
                () = silence(stream, Stream::traffic, patience.quiet) => Outcome::Quiet,
            }
        }
    }
}

/// Lets what a client has sent reach the destination after it has left.
///
/// # Errors
///
/// What may have kept some of it from arriving: the session was lost, or nothing moved for
/// `patience`.
pub(super) async fn deliver(stream: &Stream, patience: Duration) -> Result<(), String> {
    tokio::select! {
        upload = stream.leave() => judge(upload),
        () = silence(stream, sent, patience) => Err(NOT_TAKEN.to_owned()),
    }
}

/// Whether the destination has what was written to a stream that has ended.
///
/// # Errors
///
/// What may have kept some of it from arriving.
pub(super) fn judge(upload: Upload) -> Result<(), String> {
    match upload {
        Upload::Delivered => Ok(()),
        Upload::CutShort | Upload::Pending => Err(ENDED_EARLY.to_owned()),
        Upload::Lost(reason) => Err(reason.to_string()),
    }
}

/// What a connection carried, in bytes.
#[derive(Debug)]
pub(super) struct ByteCounters<'a> {
    read: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Those of the forward, which count for all.
    metrics: &'a ForwardMetrics,
}

impl<'a> ByteCounters<'a> {
    /// Nothing yet.
    pub(super) fn new(metrics: &'a ForwardMetrics) -> Self {
        Self {
            read: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            metrics,
        }
    }

    fn add_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.metrics.sent.fetch_add(bytes as u64, Relaxed);
    }

    fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        self.metrics.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Read from the client, whether the stream took it or not.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Taken from the client for the destination.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Given to the client.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination ended, and the client has every byte of it.
    End,
    /// The same, but the destination may not have every byte of the client.
    EndedEarly,
    /// The stream was lost or refused: the client shall be reset.
    Lost(Reason),
    /// The client closed or reset its connection.
    ClientGone,
    /// The client is gone, and the destination does not take what it had sent.
    Undelivered,
    /// The client half-closed, and then nothing moved for too long.
    Quiet,
}

async fn send(
    connection: &Connection,
    stream: &Stream,
    patience: Duration,
    gone: &AtomicBool,
    counters: &ByteCounters<'_>,
) -> Sent {
    loop {
        match connection.read().await {
            Ok(bytes) if bytes.is_empty() && gone.load(Relaxed) => return Sent::ClientGone,
            Ok(bytes) if bytes.is_empty() => return Sent::End,
            Err(_) => return Sent::ClientGone,
            Ok(bytes) => {
                counters.add_read(bytes.len());
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let taken = tokio::select! {
                        biased;
                        taken = stream.write(rest) => taken,
                        () = leaving(connection, stream, patience, gone) => {
                            return Sent::Undelivered;
                        }
                    };
                    match taken {
                        Ok(taken) => {
                            counters.add_sent(taken);
                            rest = &rest[taken..];
                        }
                        Err(Closed) => return Sent::StreamEnded,
                    }
                }
            }
        }
    }
}

/// While the stream takes nothing, nothing is read that would tell of a client's end. So it is
/// looked for; and once it is gone, `patience` begins. Ends when that is over.
async fn leaving(connection: &Connection, stream: &Stream, patience: Duration, gone: &AtomicBool) {
    if !gone.load(Relaxed) {
        tokio::time::sleep(FIRST_LOOK).await;
        connection.gone().await;
        gone.store(true, Relaxed);
    }
    silence(stream, sent, patience).await;
}

/// How the direction towards the destination ended.
#[derive(Clone, Copy)]
enum Sent {
    End,
    ClientGone,
    Undelivered,
    /// The other direction knows why.
    StreamEnded,
}

impl Sent {
    /// Of a client that is gone.
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Undelivered => Outcome::Undelivered,
            Self::End | Self::ClientGone | Self::StreamEnded => Outcome::ClientGone,
        }
    }
}

async fn receive(
    connection: &Connection,
    stream: &Stream,
    counters: &ByteCounters<'_>,
) -> Received {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            Taken::End => return Received::Ended(Outcome::End),
            Taken::Lost(reason) => return Received::Ended(Outcome::Lost(reason)),
            Taken::Bytes => {
                if connection.write_all(&buffer).await.is_err() {
                    return Received::ClientDeaf;
                }
                counters.add_received(buffer.len());
            }
        }
    }
}

/// How the direction towards the client ended.
enum Received {
    Ended(Outcome),
    /// The client takes no more bytes.
    ClientDeaf,
}

impl From<Received> for Outcome {
    fn from(received: Received) -> Self {
        match received {
            Received::Ended(outcome) => outcome,
            Received::ClientDeaf => Self::ClientGone,
        }
    }
}

/// Takes what nobody reads, so that it does not hold up anything else. The client does not have
/// every byte, so no end is one of the destination alone.
async fn discard(stream: &Stream) -> Outcome {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            Taken::End => return Outcome::ClientGone,
            Taken::Lost(reason) => return Outcome::Lost(reason),
            Taken::Bytes => {}
        }
    }
}

/// Ends when `traffic` stood still for `timeout`, to within an eighth of it, although it could move.
async fn silence<T: PartialEq>(stream: &Stream, traffic: impl Fn(&Stream) -> T, timeout: Duration) {
    let mut before = traffic(stream);
    let mut quiet = 0;
    while quiet < LOOKS {
        tokio::time::sleep(timeout / LOOKS).await;
        let now = traffic(stream);
        let is_quiet = now == before && stream.is_connected();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        before = now;
    }
}

fn sent(stream: &Stream) -> u64 {
    stream.traffic().0
}

/// Why the last bytes of a client may be lost.
pub(super) const NOT_TAKEN: &str = "the destination takes nothing";

/// Why bytes of a client may not have arrived, although nothing was lost on the way.
pub(super) const ENDED_EARLY: &str = "the destination ended before it had acknowledged everything";

/// What is written to a client at a time.
const WRITE_BUFFER: usize = 64 * 1024;

/// How often silence is looked at within its timeout.
const LOOKS: u32 = 8;

/// How long a stream takes nothing before its client is looked for.
const FIRST_LOOK: Duration = Duration::from_secs(1);
