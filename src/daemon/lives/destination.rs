//! The destination of all forwards: verifies what it receives, sends what the client requests, and
//! keeps the truth about each connection.
//!
//! A client first sends 16 bytes: its number, and how many bytes each side will send. Then both
//! sides send bytes that their number and position determine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clock;
use crate::virtual_net::{Listener, Stream};

/// What happened at the destination, by the number of the client.
#[derive(Debug, Default)]
pub(super) struct Truth(Mutex<BTreeMap<u32, Fate>>);

/// What happened to one connection at the destination.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    pub(super) received: usize,
    pub(super) sent: usize,
    /// The destination has ended the connection, after everything that it has sent.
    pub(super) is_finished: bool,
    /// Position of the first wrong byte.
    pub(super) wrong: Option<usize>,
    /// When bytes last moved.
    moved: Option<Instant>,
}

impl Truth {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Fate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what happened to a client; `None` if its connection has not arrived.
    pub(super) fn of(&self, client: u32) -> Option<Fate> {
        self.lock().get(&client).copied()
    }

    /// Returns the first client of which a wrong byte has arrived.
    pub(super) fn wrong(&self) -> Option<(u32, usize)> {
        let fates = self.lock();
        fates
            .iter()
            .find_map(|(client, fate)| Some((*client, fate.wrong?)))
    }

    /// Returns true if a connection has not ended.
    pub(super) fn is_used(&self) -> bool {
        self.lock().values().any(|fate| !fate.is_finished)
    }

    /// Returns true if bytes of a connection have just moved, and it has not ended.
    pub(super) fn is_moving(&self) -> bool {
        let recent = clock::now().checked_sub(MOVING);
        let fates = self.lock();
        let mut open = fates.values().filter(|fate| !fate.is_finished);
        open.any(|fate| fate.moved >= recent)
    }

    fn change(&self, client: u32, change: impl FnOnce(&mut Fate)) {
        let mut fates = self.lock();
        let fate = fates.entry(client).or_default();
        change(fate);
        fate.moved = Some(clock::now());
    }
}

/// The first bytes of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) client: u32,
    pub(super) up: u32,
    pub(super) down: u32,
}

impl Opening {
    pub(super) const LEN: usize = 16;

    pub(super) fn encoded(self) -> Vec<u8> {
        let numbers = [MAGIC, self.client, self.up, self.down];
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        (number(0)? == MAGIC).then_some(())?;
        Some(Self {
            client: number(4)?,
            up: number(8)?,
            down: number(12)?,
        })
    }
}

/// Accepts connections until it is dropped.
pub(super) async fn serve(listener: Listener, truth: Arc<Truth>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let truth = Arc::clone(&truth);
        connections.spawn(async move { serve_one(&stream, &truth).await });
    }
}

async fn serve_one(stream: &Stream, truth: &Truth) {
    let mut head = Vec::new();
    while head.len() < Opening::LEN {
        match stream.read(Opening::LEN - head.len()).await {
            Ok(bytes) if !bytes.is_empty() => head.extend_from_slice(&bytes),
            Ok(_) | Err(_) => return,
        }
    }
    let Some(opening) = Opening::decoded(&head) else {
        // No client is known by a wrong number.
        return truth.change(u32::MAX, |fate| fate.wrong = Some(0));
    };
    let client = opening.client;
    truth.change(client, |_| {});
    exchange(stream, opening, truth).await;
    truth.change(client, |fate| fate.is_finished = true);
    stream.finish();
    // What still arrives would otherwise make the drop a reset.
    while stream.read(READ).await.is_ok_and(|bytes| !bytes.is_empty()) {}
}

/// Receives and sends; returns when both are done, or the client has ended.
async fn exchange(stream: &Stream, opening: Opening, truth: &Truth) {
    let mut sending = std::pin::pin!(send(stream, opening, truth));
    let mut is_sent = false;
    let mut received = 0;
    while received < opening.up as usize || !is_sent {
        tokio::select! {
            biased;
            read = stream.read(READ) => match read {
                Ok(bytes) if !bytes.is_empty() => {
                    let wrong = first_wrong(opening.client, UP, received, &bytes);
                    received += bytes.len();
                    truth.change(opening.client, |fate| {
                        fate.received = received;
                        fate.wrong = fate.wrong.or(wrong);
                    });
                }
                Ok(_) | Err(_) => return,
            },
            () = &mut sending, if !is_sent => is_sent = true,
        }
    }
}

async fn send(stream: &Stream, opening: Opening, truth: &Truth) {
    let mut sent = 0;
    while sent < opening.down as usize {
        let len = (opening.down as usize - sent).min(READ);
        let data = bytes(opening.client, DOWN, sent, len);
        let mut rest = &data[..];
        while !rest.is_empty() {
            let Ok(written) = stream.write(rest).await else {
                return std::future::pending().await;
            };
            rest = &rest[written..];
            sent += written;
            truth.change(opening.client, |fate| fate.sent = sent);
        }
    }
}

/// Returns the bytes that a side of a connection sends from a position on.
pub(super) fn bytes(client: u32, side: u32, from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|at| byte(client, side, at))
        .collect()
}

/// Returns the position of the first byte that is not what that side sends.
pub(super) fn first_wrong(client: u32, side: u32, from: usize, data: &[u8]) -> Option<usize> {
    let wrong = |(at, got): (usize, &u8)| *got != byte(client, side, from + at);
    let index = data.iter().enumerate().position(wrong)?;
    Some(from + index)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the byte is the highest of four"
)]
fn byte(client: u32, side: u32, at: usize) -> u8 {
    let mixed = (at as u32 ^ client << 20 ^ side << 28).wrapping_mul(0x9E37_79B1);
    (mixed >> 24) as u8
}

/// The sides.
pub(super) const UP: u32 = 1;
pub(super) const DOWN: u32 = 2;

const MAGIC: u32 = 0x4C69_6665;
const READ: usize = 16 * 1024;

/// Bytes that moved within this time are in flight.
const MOVING: Duration = Duration::from_millis(200);
