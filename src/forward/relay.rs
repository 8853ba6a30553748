//! Relays bytes between a connection and its stream, and propagates how each side ends.
//!
//! ```text
//!   client ── read ──▶ send ──────▶ stream          EOF: half-closed, or closed?
//!          ◀─ write ── receive ◀─── stream          End: FIN     Lost: reset
//! ```
//!
//! FIN closes both directions at the agent. After a half-close by the client, the stream therefore
//! stays open until the destination ends, the client turns out to be closed, or no byte moves for
//! too long. Bytes sent before the client closed are still delivered, as long as they move.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::client::Connection;
use super::connections::ActiveConnection;
use super::outcome::Outcome;
use crate::proto::Upload;
use crate::telemetry::Phase;
use crate::tunnel::{ReadOutcome, Stream, WriteClosed};

/// Timeouts of a relay without traffic.
#[derive(Clone, Copy, Debug)]
pub(super) struct RelayTimeouts {
    /// For the response, after the client has half-closed.
    pub(super) half_close_idle: Duration,
    /// For the destination to take the remaining upload of a client that has closed.
    pub(super) flush_idle: Duration,
    /// For the whole of that delivery, with or without traffic.
    pub(super) flush_total: Option<Duration>,
}

/// Relays both ways until one side has ended. `first` was already read from the client. The connection is not closed yet: its owner closes
/// or resets it, depending on the outcome.
pub(super) async fn relay(
    connection: &Connection,
    first: Vec<u8>,
    stream: &Stream,
    timeouts: RelayTimeouts,
    active: &ActiveConnection,
) -> Outcome {
    // True once the client is known to be closed while upload remains.
    let gone = AtomicBool::new(false);
    let mut sending = pin!(send(
        connection,
        first,
        stream,
        timeouts.flush_idle,
        &gone,
        active
    ));
    let mut receiving = pin!(receive(connection, stream, active));
    let sent = tokio::select! {
        received = &mut receiving => match received {
            DownloadEnd::Ended(outcome) => return outcome,
            DownloadEnd::ClientWriteFailed => {
                gone.store(true, Relaxed);
                active.set_phase(Phase::Flushing);
                return tokio::select! {
                    sent = sending => sent.into_outcome(),
                    ended = discard_download(stream) => ended,
                };
            }
        },
        sent = &mut sending => sent,
    };
    match sent {
        Sent::StreamEnded => receiving.await.into(),
        Sent::ClientClosed | Sent::UploadIncomplete => sent.into_outcome(),
        Sent::ClientHalfClosed => {
            stream.finish();
            active.set_phase(Phase::HalfClosed);
            tokio::select! {
                received = receiving => received.into(),
                () = connection.client_closed() => Outcome::ClientClosed,
                () = until_idle(stream, Stream::traffic, timeouts.half_close_idle) => Outcome::HalfCloseTimeout,
            }
        }
    }
}

/// Waits until the upload of a closed client has been delivered to the destination.
///
/// # Errors
///
/// Describes why some of it may not have arrived: the session was lost, or nothing moved for
/// `timeout`.
pub(super) async fn flush_upload(stream: &Stream, timeout: Duration) -> Result<(), String> {
    tokio::select! {
        upload = stream.leave() => classify(upload),
        () = until_idle(stream, sent, timeout) => Err(NOT_TAKEN.to_owned()),
    }
}

/// Checks that the destination received everything written to a stream that has ended.
///
/// # Errors
///
/// Describes why some of it may not have arrived.
pub(super) fn classify(upload: Upload) -> Result<(), String> {
    match upload {
        Upload::Delivered => Ok(()),
        Upload::CutShort | Upload::Pending => Err(ENDED_EARLY.to_owned()),
        Upload::Lost(reason) => Err(reason.to_string()),
    }
}

async fn send(
    connection: &Connection,
    mut first: Vec<u8>,
    stream: &Stream,
    timeout: Duration,
    gone: &AtomicBool,
    active: &ActiveConnection,
) -> Sent {
    let counters = &active.counters;
    loop {
        let read = match first.is_empty() {
            true => connection.read().await,
            false => Ok(std::mem::take(&mut first)),
        };
        match read {
            Ok(bytes) if bytes.is_empty() && gone.load(Relaxed) => return Sent::ClientClosed,
            Ok(bytes) if bytes.is_empty() => return Sent::ClientHalfClosed,
            Err(_) => return Sent::ClientClosed,
            Ok(bytes) => {
                counters.add_read(bytes.len());
                active.first_bytes.handle_read(&bytes);
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let taken = tokio::select! {
                        biased;
                        taken = stream.write(rest) => taken,
                        () = client_closing(connection, stream, timeout, gone, active) => {
                            return Sent::UploadIncomplete;
                        }
                    };
                    match taken {
                        Ok(taken) => {
                            counters.add_sent(taken);
                            rest = &rest[taken..];
                        }
                        Err(WriteClosed) => return Sent::StreamEnded,
                    }
                }
            }
        }
    }
}

/// While the stream takes nothing, nothing is read, so the end of the client is not noticed by a
/// read. Polls for it instead; returns when nothing moved for `timeout` after that.
async fn client_closing(
    connection: &Connection,
    stream: &Stream,
    timeout: Duration,
    gone: &AtomicBool,
    active: &ActiveConnection,
) {
    if !gone.load(Relaxed) {
        tokio::time::sleep(CLOSE_POLL_DELAY).await;
        connection.client_closed().await;
        gone.store(true, Relaxed);
        active.set_phase(Phase::Flushing);
    }
    until_idle(stream, sent, timeout).await;
}

/// How the direction towards the destination ended.
#[derive(Clone, Copy)]
enum Sent {
    ClientHalfClosed,
    ClientClosed,
    UploadIncomplete,
    /// The other direction knows the reason.
    StreamEnded,
}

impl Sent {
    /// Converts to the outcome for a client that has closed.
    fn into_outcome(self) -> Outcome {
        match self {
            Self::UploadIncomplete => Outcome::UploadIncomplete,
            Self::ClientHalfClosed | Self::ClientClosed | Self::StreamEnded => {
                Outcome::ClientClosed
            }
        }
    }
}

async fn receive(
    connection: &Connection,
    stream: &Stream,
    active: &ActiveConnection,
) -> DownloadEnd {
    let counters = &active.counters;
    let mut buffer = Vec::new();
    let mut is_first = true;
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            ReadOutcome::End => return DownloadEnd::Ended(Outcome::DestinationClosed),
            ReadOutcome::Lost(reason) => return DownloadEnd::Ended(Outcome::StreamLost(reason)),
            ReadOutcome::Bytes => {
                if std::mem::take(&mut is_first) {
                    active.first_bytes.handle_answer();
                }
                let written = |len| counters.add_received(len);
                if connection.write_all(&buffer, written).await.is_err() {
                    return DownloadEnd::ClientWriteFailed;
                }
            }
        }
    }
}

/// How the direction towards the client ended.
enum DownloadEnd {
    Ended(Outcome),
    /// The client takes no more bytes.
    ClientWriteFailed,
}

impl From<DownloadEnd> for Outcome {
    fn from(received: DownloadEnd) -> Self {
        match received {
            DownloadEnd::Ended(outcome) => outcome,
            DownloadEnd::ClientWriteFailed => Self::ClientClosed,
        }
    }
}

/// Reads and discards the download, so that it does not block other streams. The client misses
/// bytes, so an end of the destination is reported as `ClientClosed`.
async fn discard_download(stream: &Stream) -> Outcome {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            ReadOutcome::End => return Outcome::ClientClosed,
            ReadOutcome::Lost(reason) => return Outcome::StreamLost(reason),
            ReadOutcome::Bytes => {}
        }
    }
}

/// Returns when `traffic` was unchanged for `timeout` (accurate to 1/8 of it) while connected.
async fn until_idle<T: PartialEq>(
    stream: &Stream,
    traffic: impl Fn(&Stream) -> T,
    timeout: Duration,
) {
    let mut before = traffic(stream);
    let mut quiet_checks = 0;
    while quiet_checks < CHECKS_PER_TIMEOUT {
        tokio::time::sleep(timeout / CHECKS_PER_TIMEOUT).await;
        let now = traffic(stream);
        let is_quiet = now == before && stream.is_connected();
        quiet_checks = if is_quiet { quiet_checks + 1 } else { 0 };
        before = now;
    }
}

fn sent(stream: &Stream) -> u64 {
    stream.traffic().0
}

/// Reason why the last bytes of a client may be lost.
pub(super) const NOT_TAKEN: &str = "the destination does not accept data";

/// Reason why bytes of a client may not have arrived, although the stream was not lost.
pub(super) const ENDED_EARLY: &str = "the destination closed before it had acknowledged everything";

/// Maximum bytes per write to a client.
const WRITE_BUFFER: usize = 64 * 1024;

/// Checks for traffic per timeout.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// How long a stream must be blocked before its client is polled for a close.
const CLOSE_POLL_DELAY: Duration = Duration::from_secs(1);
