//! A connection and its stream, each told how the other ended.
//!
//! ```text
//!   client ── read ──▶ send ──────▶ stream          EOF: half-closed, or gone?
//!          ◀─ write ── receive ◀─── stream          End: FIN     Lost: reset
//! ```
//!
//! FIN closes both directions at the agent, so a client that half-closes keeps its stream open
//! until the answer has ended, it turns out to be gone, or all is quiet for too long. A client that
//! takes no more bytes may have sent some that wait to be read: they are carried all the same.

use std::pin::pin;
use std::time::Duration;

use super::connection::Connection;
use crate::proto::Reason;
use crate::tunnel::{Stream, Taken};

/// Carries bytes both ways until one side has ended. The connection is not closed yet: its owner
/// tells the client, by the outcome.
pub(super) async fn relay(connection: &Connection, stream: &Stream, quiet: Duration) -> Outcome {
    let mut sending = pin!(send(connection, stream));
    let mut receiving = pin!(receive(connection, stream));
    let sent = tokio::select! {
        received = &mut receiving => match received {
            Received::Ended(outcome) => return outcome,
            Received::ClientDeaf => return tokio::select! {
                _ = sending => Outcome::ClientGone,
                outcome = discard(stream) => outcome,
            },
        },
        sent = &mut sending => sent,
    };
    match sent {
        Sent::StreamEnded => receiving.await.into(),
        Sent::ClientGone => Outcome::ClientGone,
        Sent::End => {
            stream.finish();
            tokio::select! {
                received = receiving => received.into(),
                () = connection.gone() => Outcome::ClientGone,
                () = silence(stream, quiet) => Outcome::Quiet,
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
    stream.reset();
    tokio::select! {
        () = stream.closed() => {}
        () = silence(stream, patience) => return Err("the destination takes nothing".to_owned()),
    }
    // A stream that was closed well is forgotten, and so is told as finished.
    match stream.read(&mut Vec::new(), 1).await {
        Taken::Lost(Reason::Finished) | Taken::End | Taken::Bytes => Ok(()),
        Taken::Lost(reason) => Err(reason.to_string()),
    }
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

async fn receive(connection: &Connection, stream: &Stream) -> Received {
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

/// Takes what nobody reads, so that it does not hold up anything else.
async fn discard(stream: &Stream) -> Outcome {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match stream.read(&mut buffer, WRITE_BUFFER).await {
            Taken::End => return Outcome::End,
            Taken::Lost(reason) => return Outcome::Lost(reason),
            Taken::Bytes => {}
        }
    }
}

/// Ends when nothing moved for `timeout`, to within an eighth of it, although something could.
async fn silence(stream: &Stream, timeout: Duration) {
    let mut before = stream.traffic();
    let mut quiet = 0;
    while quiet < LOOKS {
        tokio::time::sleep(timeout / LOOKS).await;
        let now = stream.traffic();
        let is_quiet = now == before && stream.is_connected();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        before = now;
    }
}

/// What is written to a client at a time.
const WRITE_BUFFER: usize = 64 * 1024;

/// How often silence is looked at within its timeout.
const LOOKS: u32 = 8;
