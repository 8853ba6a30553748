//! A client of a forward. It checks every byte, how the connection ends, and how long it waits.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout, timeout_at};

use super::destination::{DOWN, Opening, Truth, UP, bytes, first_wrong};
use super::script::{ClientSpec, Temper};
use super::world::{CONNECT_TIMEOUT, RESUME_TIMEOUT};
use crate::clock;
use crate::virtual_net::{Address, Stream, connect};

/// A client and what it may expect.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) spec: ClientSpec,
    pub(super) address: Address,
    pub(super) truth: Arc<Truth>,
    pub(super) patience: Patience,
}

/// How the connection of a client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With every byte and a clean end.
    Complete,
    /// The client or the destination has left early.
    Left,
    /// With a reset.
    Reset,
    /// Without a connection: nothing listened.
    Refused,
}

impl Client {
    /// Runs the client.
    ///
    /// # Errors
    ///
    /// Describes what the daemon must not do.
    pub(super) async fn run(self) -> Result<(u32, Outcome), String> {
        let connected = connect(&self.address);
        let outcome = match timeout(Duration::from_secs(1), connected).await {
            Ok(Ok(stream)) => self.talk(stream).await,
            Ok(Err(_)) => Ok(Outcome::Refused),
            Err(_) => Err("no connection and no refusal".to_owned()),
        };
        let number = self.number;
        let named = |why| format!("client {number} ({:?}): {why}", self.spec);
        outcome.map(|outcome| (number, outcome)).map_err(named)
    }

    async fn talk(&self, stream: Stream) -> Result<Outcome, String> {
        let is = |temper| self.spec.temper == temper;
        if is(Temper::Mute) || is(Temper::NeverReads) {
            if is(Temper::NeverReads) {
                drop(timeout(STAY, self.write(&stream, &Progress::new())).await);
            }
            sleep(STAY).await;
            return Ok(Outcome::Left);
        }
        let progress = Progress::new();
        let writing = async {
            match self.write(&stream, &progress).await {
                Ok(()) => pending().await,
                Err(why) => Err(why),
            }
        };
        let talk = async {
            if is(Temper::Request) {
                self.write(&stream, &progress).await?;
            }
            tokio::select! {
                biased;
                outcome = self.read(&stream, &progress) => outcome,
                outcome = writing, if !is(Temper::Request) => outcome,
            }
        };
        if is(Temper::Vanish) || is(Temper::Reset) {
            stream.reset_on_drop(is(Temper::Reset));
            let stay = u64::from(self.spec.up ^ self.spec.down) % 20_000;
            let left = timeout(Duration::from_millis(stay), talk).await;
            return left.unwrap_or(Ok(Outcome::Left));
        }
        talk.await
    }

    /// Sends the request. Does not fail if the daemon takes no more: the reader knows the end.
    async fn write(&self, stream: &Stream, progress: &Progress) -> Result<(), String> {
        let ClientSpec {
            temper, up, down, ..
        } = self.spec;
        let client = self.number;
        let mut data = Opening { client, up, down }.encoded();
        data.extend(bytes(client, UP, 0, up as usize));
        let half = data.len() / 2;
        let mut sent = 0;
        while sent < data.len() {
            let step = match () {
                () if temper == Temper::OneByte => 1,
                () if temper == Temper::Trickle => data.len() / 64 + 1,
                () if temper == Temper::Idle && sent < half => half - sent,
                () => data.len(),
            };
            let end = data.len().min(sent + step);
            match self
                .patience
                .wait(progress, stream.write(&data[sent..end]))
                .await
            {
                Some(Ok(written)) => sent += written,
                Some(Err(_)) => return Ok(()),
                None => return Err(format!("only {sent} of {} bytes were taken", data.len())),
            }
            if temper == Temper::OneByte {
                sleep(Duration::from_millis(100)).await;
            } else if temper == Temper::Trickle {
                sleep(Duration::from_secs(1)).await;
            } else if temper == Temper::Idle && sent == half {
                progress.is_idle.store(true, Relaxed);
                sleep(self.spec.idle_time()).await;
                progress.is_idle.store(false, Relaxed);
                progress.made();
            }
        }
        if temper == Temper::HalfClose {
            stream.finish();
        }
        Ok(())
    }

    async fn read(&self, stream: &Stream, progress: &Progress) -> Result<Outcome, String> {
        let is_slow = self.spec.temper == Temper::SlowReader;
        let max = if is_slow { 2048 } else { READ };
        let mut received = 0;
        loop {
            if is_slow {
                sleep(Duration::from_millis(500)).await;
            }
            let Some(read) = self.patience.wait(progress, stream.read(max)).await else {
                return Err(format!("unresolved: {}", self.state(received)));
            };
            match read {
                Ok(bytes) if bytes.is_empty() => return self.check_end(received),
                Ok(bytes) => {
                    let wrong = first_wrong(self.number, DOWN, received, &bytes);
                    if let Some(at) = wrong {
                        return Err(format!("the byte at {at} is wrong"));
                    }
                    received += bytes.len();
                }
                Err(_) => return Ok(Outcome::Reset),
            }
        }
    }

    fn check_end(&self, received: usize) -> Result<Outcome, String> {
        let fate = self.truth.of(self.number);
        let is_true = fate.is_some_and(|fate| fate.is_finished && fate.sent == received);
        match is_true {
            true if received == self.spec.down as usize => Ok(Outcome::Complete),
            true => Ok(Outcome::Left),
            false => Err(format!("false end: {}", self.state(received))),
        }
    }

    fn state(&self, received: usize) -> String {
        let fate = self.truth.of(self.number);
        format!("{received} bytes received; at the destination: {fate:?}")
    }
}

/// When the bytes of a connection last moved.
struct Progress {
    last: Mutex<Instant>,
    /// The client itself lets nothing move.
    is_idle: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            last: Mutex::new(clock::now()),
            is_idle: AtomicBool::new(false),
        }
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) {
        *self.last() = clock::now();
    }
}

/// How long a client waits, without bytes and without events, until the daemon is at fault.
#[derive(Clone, Debug)]
pub(super) struct Patience(Arc<Mutex<Instant>>);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(clock::now())))
    }

    fn last_event(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits of clients begin anew after `delay`.
    pub(super) fn extend(&self, delay: Duration) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(clock::now() + delay);
    }

    async fn wait<T>(&self, progress: &Progress, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            let begin = match progress.is_idle.load(Relaxed) {
                true => clock::now(),
                false => self.last_event().max(*progress.last()),
            };
            let deadline = begin + PATIENCE;
            if deadline <= clock::now() {
                return None;
            }
            if let Ok(done) = timeout_at(deadline.into(), &mut future).await {
                progress.made();
                return Some(done);
            }
        }
    }
}

/// The sum of the timeouts that a connection can meet one after the other: for a session, for the
/// detection of a dead websocket, and for its resumption.
pub(super) const PATIENCE: Duration =
    Duration::from_secs(CONNECT_TIMEOUT.as_secs() + 45 + RESUME_TIMEOUT.as_secs() + 60);

/// How long clients stay that do not take part.
const STAY: Duration = Duration::from_secs(90);

const READ: usize = 16 * 1024;
