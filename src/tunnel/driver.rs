//! Two loops between the core and its websocket; reads the clock.
//!
//! Two loops and not one `select!`: a websocket that will not take another message must not keep
//! us from reading the acknowledgement that would free it.

#![expect(clippy::disallowed_methods, reason = "the clock enters here")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::trace;

use super::error::Error;
use super::websocket::{self, Frame, Sink, Source};
use super::{Inner, Phase, Shared, Tunnel};
use crate::network::Network;
use crate::proto::{self, Options, Reason, Transmit};
use crate::session::Session;

/// What moves a tunnel: the owner of its session and its websocket.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    session: Session,
    network: Network,
}

impl Driver {
    /// A tunnel on a session that was just started, and what must be run for it.
    pub fn new(session: Session, network: Network, options: Options) -> (Tunnel, Self) {
        let core = proto::Tunnel::new(Instant::now(), SystemTime::now(), seed(), options);
        let (phase, watcher) = watch::channel(Phase::Opening("the websocket"));
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                core,
                readers: BTreeMap::new(),
                writers: BTreeMap::new(),
                phase,
                closing: false,
            }),
            stirred: Notify::new(),
            hungry: Notify::new(),
        });
        let tunnel = Tunnel {
            shared: Arc::clone(&shared),
            phase: watcher,
        };
        (
            tunnel,
            Self {
                shared,
                session,
                network,
            },
        )
    }

    /// Runs until the tunnel has ended. The session is ended when this is dropped.
    pub async fn run(self) {
        let outcome = self.carry().await;
        let mut inner = self.shared.lock();
        if let Err(error) = outcome {
            let why = error.to_string();
            inner.end(error);
            inner.core.abandon(why);
        }
        inner.core.abandon(Reason::Finished.to_string());
        inner.dispatch();
    }

    async fn carry(&self) -> Result<(), Error> {
        let upgrade = self.session.upgrade().await?;
        let (sink, source) = websocket::connect(&self.network, upgrade, UPGRADE_TIMEOUT).await?;
        {
            let mut inner = self.shared.lock();
            inner.core.handle_connected(self.session.token().expose());
            inner.step("the agent's handshake");
        }
        let heard = Heard(Mutex::new(Instant::now()));
        tokio::select! {
            outcome = write_loop(&self.shared, sink) => outcome,
            outcome = read_loop(&self.shared, source, &heard) => outcome,
            error = watch_silence(&self.shared, &heard) => Err(error),
        }
    }
}

/// Sends whatever the core has to say, then sleeps until it may have more.
async fn write_loop(shared: &Shared, mut sink: Sink) -> Result<(), Error> {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    loop {
        let next = drain(shared, &mut batch);
        for transmit in batch.drain(..) {
            trace!(?transmit, "sending");
            sink.feed(websocket::message(transmit))
                .await
                .map_err(broken)?;
        }
        sink.flush().await.map_err(broken)?;
        match next {
            Next::More => {}
            Next::Ended => return Ok(()),
            Next::At(deadline) => tokio::select! {
                () = shared.stirred.notified() => {}
                () = sleep_until(deadline.into()) => {}
                _ = pings.tick() => sink.feed(websocket::ping()).await.map_err(broken)?,
            },
        }
    }
}

/// When the write loop has to look again.
enum Next {
    /// At once.
    More,
    /// Never: the tunnel has ended.
    Ended,
    /// Then, if nobody stirs before.
    At(Instant),
}

/// Takes what may leave now, up to a batch.
fn drain(shared: &Shared, batch: &mut Vec<Transmit>) -> Next {
    let now = Instant::now();
    let mut inner = shared.lock();
    if std::mem::take(&mut inner.closing) {
        inner.core.close(now);
    }
    inner.core.handle_timeout(now);
    let mut bytes = 0;
    while bytes < MAX_BATCH {
        let Some(transmit) = inner.core.poll_transmit(now) else {
            break;
        };
        bytes += transmit.len();
        batch.push(transmit);
    }
    inner.dispatch();
    if bytes >= MAX_BATCH {
        return Next::More;
    }
    if inner.core.ended().is_some() {
        return Next::Ended;
    }
    Next::At(inner.core.poll_timeout().unwrap_or(now + IDLE))
}

/// Hands what comes to the core, all that is ready at a time.
async fn read_loop(shared: &Shared, source: Source, heard: &Heard) -> Result<(), Error> {
    let mut source = source.ready_chunks(MAX_READY);
    loop {
        while !shared.lock().core.wants_input() {
            shared.hungry.notified().await;
            heard.now();
        }
        let Some(frames) = source.next().await else {
            return Err(Error::Broken(
                "the service closed the connection".to_owned(),
            ));
        };
        heard.now();
        if !handle(shared, frames)? {
            return Ok(());
        }
        shared.stirred.notify_one();
    }
}

/// False once the tunnel has ended.
fn handle(
    shared: &Shared,
    frames: Vec<Result<websocket::Message, websocket::LibraryError>>,
) -> Result<bool, Error> {
    let now = Instant::now();
    let mut inner = shared.lock();
    for frame in frames {
        let outcome = match frame.map(Frame::from) {
            Ok(Frame::Data(bytes)) => inner.core.handle_message(now, bytes),
            Ok(Frame::Pong) => Ok(()),
            Ok(Frame::Close(words)) => {
                inner.dispatch();
                return Err(Error::Broken(words));
            }
            Err(error) => {
                inner.dispatch();
                return Err(broken(error));
            }
        };
        if outcome.is_err() {
            // The core has ended and says why in its events.
            inner.dispatch();
            return Ok(false);
        }
    }
    inner.dispatch();
    Ok(inner.core.ended().is_none())
}

/// When anything came last.
struct Heard(Mutex<Instant>);

impl Heard {
    fn now(&self) {
        *self.0.lock().expect("no holder of this lock panics") = Instant::now();
    }

    fn deadline(&self) -> Instant {
        *self.0.lock().expect("no holder of this lock panics") + MAX_SILENCE
    }
}

/// Ends when nothing came for too long, not even a pong. While we take no input, the deadline
/// rests.
async fn watch_silence(shared: &Shared, heard: &Heard) -> Error {
    loop {
        let deadline = heard.deadline();
        sleep_until(deadline.into()).await;
        if !shared.lock().core.wants_input() {
            heard.now();
        }
        if heard.deadline() <= deadline {
            let why = format!(
                "nothing came for {} s, not even a pong",
                MAX_SILENCE.as_secs()
            );
            return Error::Broken(why);
        }
    }
}

fn broken(error: websocket::LibraryError) -> Error {
    Error::Broken(error.to_string())
}

/// Chance for message ids and the like.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// How long the dial and the upgrade may take, each.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);

/// Often enough that no proxy forgets the connection (protocol.md section 2.4).
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Two pings and a bit.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// Bytes that are handed to the websocket before the core is asked again.
const MAX_BATCH: usize = 64 * 1024;

/// Frames that are handed to the core at a time.
const MAX_READY: usize = 64;

/// Without a deadline of its own, the core is asked this often.
const IDLE: Duration = Duration::from_secs(3600);
