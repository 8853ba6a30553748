//! Runs a `proto::Tunnel` over a websocket and a clock.
//!
//! ```text
//!   Tunnel, Stream (handles) ──┐                      ┌── write_loop ─▶ websocket
//!                              ├── Shared: the core ──┤
//!   wakers ◀── dispatch ───────┘   behind one lock    └── read_loop ◀── websocket
//! ```
//!
//! The lock is held for one operation at a time and never across an `await`. Handles change the
//! core and notify the driver; the driver moves frames and wakes the handles. The core decides.

mod backoff;
mod batch;
mod driver;
mod error;
mod heartbeat;
mod history;
mod http_head;
mod queries;
mod resume;
mod step;
mod stream;
mod trigger;
mod websocket;
mod writer;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::clock;
use crate::printable::Printable;
use crate::proto;
use crate::proto::{Reason, StreamId};

use self::driver::CoreStart;
pub use self::driver::{Driver, TunnelOptions};
pub use self::error::Error;
use self::history::History;
pub use self::history::Milestones;
pub use self::step::Step;
pub use self::stream::{ReadOutcome, Stream, WriteClosed};
pub use self::trigger::{Trigger, TriggerReceiver};

/// Handle of a tunnel. Cheap to clone; the [`Driver`] owns the session.
#[derive(Clone, Debug)]
pub struct Tunnel {
    shared: Arc<Shared>,
    session_id: Arc<str>,
    /// The managed node.
    node: Arc<str>,
    started: Instant,
    phase: watch::Receiver<Phase>,
}

impl Tunnel {
    /// Waits until streams can be opened. A tunnel that has ended meanwhile is ready too if its one
    /// stream can still be opened and read.
    ///
    /// # Errors
    ///
    /// If the tunnel ended before.
    pub async fn ready(&mut self) -> Result<(), Arc<Error>> {
        let phase = self
            .phase
            .wait_for(|phase| !matches!(phase, Phase::Opening(_)))
            .await;
        let ended = match phase.as_deref() {
            Ok(Phase::Ready | Phase::Disconnected) => return Ok(()),
            Ok(Phase::Ended(error)) => Arc::clone(error),
            Ok(Phase::Opening(_)) | Err(_) => Arc::new(Error::Ended(Reason::Finished)),
        };
        // Phase changes happen under the lock of the core, so it must not be taken while borrowed.
        drop(phase);
        let has_remainder = self.shared.lock().core.has_remainder();
        has_remainder.then_some(()).ok_or(ended)
    }

    /// Waits until the state differs from `before`, and returns it.
    pub async fn changed(&mut self, before: State) -> State {
        let changed = self.phase.wait_for(|phase| State::of(phase) != before);
        changed
            .await
            .map_or(State::Ended, |phase| State::of(&phase))
    }

    /// Returns the step that a tunnel which is not ready is waiting for.
    pub fn step(&self) -> Step {
        match &*self.phase.borrow() {
            Phase::Opening(step) => step.clone(),
            Phase::Ready | Phase::Disconnected => Step::of("the tunnel"),
            Phase::Ended(_) => Step::of("the end of the tunnel"),
        }
    }

    /// Opens a stream: the agent connects to the destination.
    ///
    /// # Errors
    ///
    /// Before the tunnel is ready, and after its end.
    pub fn open_stream(&self) -> Result<Stream, proto::OpenError> {
        let id = self.shared.with_core(proto::Tunnel::open)?;
        Ok(Stream::new(Arc::clone(&self.shared), id))
    }

    /// Ends the session, and notifies the agent if possible. The driver ends soon after.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.output_ready.notify_one();
    }

    /// Ends the tunnel after a panic of its owner: its streams are lost by an internal error.
    pub fn fail(&self) {
        let mut inner = self.shared.lock();
        inner.core.abandon(INTERNAL_ERROR);
        inner.dispatch();
        inner.wake_all();
    }
}

/// State of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not ready yet.
    Opening,
    /// Streams can be opened.
    Ready,
    /// The websocket broke; streams continue once another one works.
    Disconnected,
    /// It has ended.
    Ended,
}

impl State {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Opening(_) => Self::Opening,
            Phase::Ready => Self::Ready,
            Phase::Disconnected => Self::Disconnected,
            Phase::Ended(_) => Self::Ended,
        }
    }
}

/// State of a tunnel, with details.
#[derive(Clone, Debug)]
enum Phase {
    /// Not ready; the step that it is waiting for.
    Opening(Step),
    Ready,
    /// Ready, but without a websocket that is known to work.
    Disconnected,
    Ended(Arc<Error>),
}

/// State shared by handles and driver.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// The write loop may have something to send.
    output_ready: Notify,
    /// The same, from the read loop. See [`Shared::handle_input`].
    input_handled: AtomicBool,
    /// The read loop may continue.
    input_ready: Notify,
    start: CoreStart,
}

#[derive(Debug)]
struct Inner {
    core: proto::Tunnel,
    readers: BTreeMap<StreamId, Waker>,
    writers: BTreeMap<StreamId, Waker>,
    phase: watch::Sender<Phase>,
    destination: Option<Printable>,
    history: History,
    /// The owner wants the session to end. Never reset.
    closing: bool,
    /// The core was closed.
    is_core_closed: bool,
    /// Set if the websocket must be replaced: how long the agent acknowledged nothing.
    stale: Option<Duration>,
}

impl Shared {
    /// Creates the shared state, and a receiver of its phase.
    fn new(core: proto::Tunnel, start: CoreStart) -> (Self, watch::Receiver<Phase>) {
        let (phase, watcher) = watch::channel(Phase::Opening(Step::of("the websocket")));
        let inner = Inner {
            core,
            readers: BTreeMap::new(),
            writers: BTreeMap::new(),
            phase,
            destination: None,
            history: History::default(),
            closing: false,
            is_core_closed: false,
            stale: None,
        };
        let shared = Self {
            inner: Mutex::new(inner),
            output_ready: Notify::new(),
            input_handled: AtomicBool::new(false),
            input_ready: Notify::new(),
            start,
        };
        (shared, watcher)
    }

    /// Locks the state. After a panic under the lock the core may be inconsistent: it is replaced,
    /// the tunnel has ended, and every stream is lost.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = poisoned.into_inner();
            let CoreStart { now, wall, options } = self.start;
            inner.lose(proto::Tunnel::lost(
                now,
                wall,
                options,
                INTERNAL_ERROR.to_owned(),
            ));
            self.inner.clear_poison();
            self.output_ready.notify_one();
            self.input_ready.notify_one();
            inner
        })
    }

    fn connect(&self, now: Instant, token: &str) {
        self.lock().core.handle_connected(now, token);
    }

    fn disconnect(&self, now: Instant) {
        let mut inner = self.lock();
        inner.core.handle_disconnected(now);
        inner.dispatch();
        inner.mark_disconnected();
    }

    /// Input was handled, by the read loop: there may be output. The write loop is polled after it in
    /// the same poll of their task, so no waker is needed. Waking a task that is running costs a
    /// wake-up of another thread for each message.
    fn handle_input(&self) {
        self.input_handled.store(true, Ordering::Relaxed);
    }

    /// Waits until there may be output.
    async fn output_wanted(&self) {
        let from_read_loop = poll_fn(
            |_| match self.input_handled.swap(false, Ordering::Relaxed) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        );
        tokio::select! {
            biased;
            () = from_read_loop => {}
            () = self.output_ready.notified() => {}
        }
    }

    /// Waits until the owner wants the session to end.
    async fn close_requested(&self) {
        while !self.lock().closing {
            self.output_ready.notified().await;
        }
    }

    /// Runs an operation that may free buffer space, and resumes the read loop if it did.
    fn with_backpressure<T>(&self, operation: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let was_paused = !inner.core.wants_input();
        let outcome = operation(&mut inner);
        #[cfg(test)]
        let was_paused = was_paused && !crate::mutants::Mutant::SilentRoom.is_active();
        if was_paused && inner.core.wants_input() {
            self.input_ready.notify_one();
        }
        outcome
    }

    /// Runs one operation of a stream: changes the core and notifies the driver.
    fn with_core<T>(&self, operation: impl FnOnce(&mut proto::Tunnel) -> T) -> T {
        let outcome = self.with_backpressure(|inner| {
            let outcome = operation(&mut inner.core);
            inner.dispatch();
            outcome
        });
        self.output_ready.notify_one();
        outcome
    }
}

impl Inner {
    /// Handles the events of the core and wakes the affected tasks.
    fn dispatch(&mut self) {
        while let Some(event) = self.core.poll_event() {
            match event {
                proto::Event::Readable(id) => wake(&mut self.readers, id),
                proto::Event::Writable(id) => wake(&mut self.writers, id),
                proto::Event::Ready {
                    agent_version,
                    destination,
                } => {
                    let reported = destination.as_deref();
                    debug!(%agent_version, destination = reported, "tunnel ready");
                    self.history.agent_version = Some(agent_version);
                    self.destination = destination;
                    self.history.milestones.ready = Some(clock::now());
                    self.phase.send_replace(Phase::Ready);
                }
                proto::Event::Notice(text) => {
                    info!(text = text.as_str(), "message from the target");
                }
                proto::Event::RateLowered { rate } => {
                    warn!(
                        rate,
                        "rate limited by Session Manager; lowering the send rate"
                    );
                }
                proto::Event::AckTimeout { silent, suspect } => {
                    let stream = suspect.map(tracing::field::display);
                    warn!(
                        ?silent,
                        stream,
                        "no acknowledgements from the agent; the destination of this stream may have stopped reading"
                    );
                }
                proto::Event::WebsocketStale { silent } => self.stale = Some(silent),
                proto::Event::Closed(reason) => self.end(Error::Ended(reason)),
            }
        }
    }

    /// Ends the tunnel by replacing its core.
    fn lose(&mut self, core: proto::Tunnel) {
        self.core = core;
        self.dispatch();
        self.wake_all();
    }

    fn wake_all(&mut self) {
        let readers = std::mem::take(&mut self.readers).into_values();
        let writers = std::mem::take(&mut self.writers).into_values();
        readers.chain(writers).for_each(Waker::wake);
    }

    /// Records the end of the tunnel. Only the first error is kept.
    fn end(&mut self, error: Error) {
        self.change(|state| state != State::Ended, Phase::Ended(Arc::new(error)));
    }

    /// The websocket of a ready tunnel broke.
    fn mark_disconnected(&mut self) {
        if self.change(|state| state == State::Ready, Phase::Disconnected) {
            self.history.handle_disconnected(clock::now());
        }
    }

    /// The session was resumed: its new websocket works.
    fn mark_resumed(&mut self) {
        if self.change(|state| state == State::Disconnected, Phase::Ready) {
            self.history.handle_resumed(clock::now());
        }
    }

    /// Changes the phase if it `is_due`, and returns whether it was.
    fn change(&mut self, is_due: impl Fn(State) -> bool, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let is_due = is_due(State::of(phase));
            if is_due {
                *phase = to;
            }
            is_due
        })
    }

    fn step(&mut self, step: Step) {
        self.phase.send_replace(Phase::Opening(step));
    }
}

fn wake(wakers: &mut BTreeMap<StreamId, Waker>, id: StreamId) {
    if let Some(waker) = wakers.remove(&id) {
        waker.wake();
    }
}

/// Reason of a tunnel that was lost in a panic.
const INTERNAL_ERROR: &str = "internal error (please report it with the preceding log lines)";

#[cfg(test)]
mod tests;
