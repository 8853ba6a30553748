//! A connection and its stream, each told how the other ended.
//!
//! ```text
//!   client ── read ──▶ send ──────▶ stream          EOF: half-closed, or gone?
//!          ◀─ write ── receive ◀─── stream          End: FIN     Lost: reset
//! ```
//!
//! FIN closes both directions at the agent, so a client that half-closes keeps its stream open
//! until the answer has ended, it turns out to be gone, or all is quiet for too long.

use std::pin::pin;
use std::time::Duration;

use super::connection::Connection;
use crate::proto::Reason;
use crate::tunnel::{Stream, Taken};

/// Carries bytes both ways until one side has ended. The connection is not closed yet: its owner
/// tells the client, by the outcome.
pub(super) async fn relay(connection: &Connection, stream: &Stream, quiet: Duration) -> Outcome {
    let mut receiving = pin!(receive(connection, stream));
    let sent = tokio::select! {
        outcome = &mut receiving => return conclude(stream, outcome, quiet).await,
        sent = send(connection, stream) => sent,
    };
    let outcome = match sent {
        Sent::StreamEnded => receiving.await,
        Sent::ClientGone => Outcome::ClientGone,
        Sent::End => {
            stream.finish();
            tokio::select! {
                outcome = receiving => outcome,
                () = connection.gone() => Outcome::ClientGone,
                () = silence(stream, quiet) => Outcome::Quiet,
            }
        }
    };
    conclude(stream, outcome, quiet).await
}

/// Lets what was written reach the destination, if the client left first.
async fn conclude(stream: &Stream, outcome: Outcome, quiet: Duration) -> Outcome {
    if matches!(outcome, Outcome::ClientGone | Outcome::Quiet) {
        stream.reset();
        tokio::select! {
            () = stream.closed() => {}
            () = silence(stream, quiet) => {}
        }
    }
    outcome
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination ended, and the client has every byte of it.
    End,
    /// The stream was lost or refused: the client shall be reset.
    Lost(Reason),
    /// The client closed or reset its connection.
    ClientGone,
    /// The client half-closed, and then nothing moved for too long.
    Quiet,
}

async fn send(connection: &Connection, stream: &Stream) -> Sent {
    loop {
        match connection.read().await {
            Ok(bytes) if bytes.is_empty() => return Sent::End,
            Err(_) => return Sent::ClientGone,
            Ok(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    match stream.write(rest).await {
                        Ok(taken) => rest = &rest[taken..],
                        Err(_) => return Sent::StreamEnded,
                    }
                }
            }
        }
    }
}

/// How the direction towards the destination ended.
enum Sent {
    End,
    ClientGone,
    /// The other direction knows why.
    StreamEnded,
}

async fn receive(connection: &Connection, stream: &Stream) -> Outcome {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            Taken::End => return Outcome::End,
            Taken::Lost(reason) => return Outcome::Lost(reason),
            Taken::Bytes => {
                if connection.write_all(&buffer).await.is_err() {
                    return Outcome::ClientGone;
                }
            }
        }
    }
}

/// Ends when nothing moved for `timeout`, to within an eighth of it.
async fn silence(stream: &Stream, timeout: Duration) {
    let mut before = stream.traffic();
    let mut quiet = 0;
    while quiet < LOOKS {
        tokio::time::sleep(timeout / LOOKS).await;
        let now = stream.traffic();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// What is written to a client at a time.
const WRITE_BUFFER: usize = 64 * 1024;

/// How often silence is looked at within its timeout.
const LOOKS: u32 = 8;
