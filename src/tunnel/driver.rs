//! Drives a tunnel: a read and a write loop between the core and its websocket. Reads the clock.
//!
//! Two loops and not one `select!`: a websocket that takes no message must not block reading the
//! acknowledgement that would free it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::backoff::Backoff;
use super::batch::next_batch;
use super::error::Error;
use super::heartbeat::Heartbeat;
use super::trigger::TriggerReceiver;
use super::websocket::{Frame, ReceivedItem, WebSocketSink, WebSocketSource};
use super::writer::{MAX_STALL, write_loop};
use super::{INTERNAL_ERROR, Shared, Step, Tunnel};
use crate::clock;
use crate::network::Network;
use crate::panics;
use crate::printable::Printable;
use crate::proto::{self, MessageCounters, Options, Reason, ReorderBudget};
use crate::random;
use crate::session::Session;

/// Runs a tunnel; owns its session and its websocket.
#[derive(Debug)]
pub struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    pub(super) network: Network,
    pub(super) triggered: TriggerReceiver,
    pub(super) resume_timeout: Duration,
    pub(super) backoff: Backoff,
    /// The first websocket, if it was opened in advance.
    pub(super) first: Option<(WebSocketSink, WebSocketSource)>,
}

/// Parameters of a tunnel.
#[derive(Clone, Debug)]
pub struct TunnelOptions {
    /// Options of the core.
    pub options: Options,
    /// Resume timeout, since the last websocket broke that was stable or carried new data.
    pub resume_timeout: Duration,
    /// Makes the tunnel retry now.
    pub triggered: TriggerReceiver,
    /// Memory budget for messages received out of order, shared by all tunnels.
    pub reorder_budget: ReorderBudget,
    /// Counts sent messages, of many tunnels.
    pub messages: MessageCounters,
}

/// Arguments from which a core is created.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoreStart {
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
    pub(super) options: Options,
}

impl Driver {
    /// Creates a tunnel on a session that was just started, and the driver that must be run for it.
    pub fn new(session: Session, network: Network, options: TunnelOptions) -> (Tunnel, Self) {
        let TunnelOptions {
            options,
            resume_timeout,
            triggered,
            reorder_budget,
            messages,
        } = options;
        let start = CoreStart {
            now: clock::now(),
            wall: clock::wall(),
            options,
        };
        let core = proto::Tunnel::new(start.now, start.wall, random::seed(), options);
        let core = core.sharing(reorder_budget).counting(messages);
        let (shared, watcher) = Shared::new(core, start);
        let shared = Arc::new(shared);
        let triggered = triggered.resubscribe();
        let (session_id, node) = (session.id().into(), session.target().into());
        let tunnel = Tunnel {
            shared: Arc::clone(&shared),
            session_id,
            node,
            started: start.now,
            phase: watcher,
        };
        let backoff = Backoff::new(random::seed());
        (
            tunnel,
            Self {
                shared,
                session,
                network,
                triggered,
                resume_timeout,
                backoff,
                first: None,
            },
        )
    }

    /// Runs until the tunnel has ended. Dropping the future, also in a panic, ends the tunnel and
    /// its session.
    pub async fn run(mut self) {
        let _end = EndOnDrop(Arc::clone(&self.shared));
        if let Err(error) = self.drive().await {
            let why = Printable::of(&error);
            let mut inner = self.shared.lock();
            inner.end(error);
            inner.core.abandon(why);
        }
    }

    /// Runs one websocket after the other, until the tunnel has ended.
    async fn drive(&mut self) -> Result<(), Error> {
        let mut websocket = self.connect_first().await?;
        {
            let mut inner = self.shared.lock();
            inner.history.milestones.websocket = Some(clock::now());
            inner.step(Step::of("the agent's handshake"));
        }
        let mut outage = None;
        loop {
            let heartbeat = Heartbeat::new();
            let before = self.shared.lock().core.progress();
            let Err(broken) = self.run_websocket(websocket, &heartbeat, outage).await else {
                return Ok(());
            };
            let broken = broken.through(self.network.proxy_for(self.session.endpoint()));
            if broken.is_final() {
                return Err(broken);
            }
            let now = clock::now();
            self.shared.disconnect(now);
            if self.shared.lock().closing {
                // The session is terminated through the API when this is dropped.
                return Err(Error::Ended(Reason::Finished));
            }
            let is_stable = heartbeat.is_stable(now);
            let has_progress = self.shared.lock().core.progress() > before;
            if is_stable || has_progress {
                outage = None;
            }
            if is_stable {
                self.backoff.reset();
            } else if has_progress {
                self.backoff.limit(MAX_PAUSE_AFTER_PROGRESS);
            }
            let begin = *outage.get_or_insert(now);
            websocket = self.resume(&broken, begin, is_stable).await?;
        }
    }

    /// Carries messages over one websocket. `outage` is when the last websocket broke that was
    /// stable or carried new data.
    async fn run_websocket(
        &mut self,
        (sink, source): (WebSocketSink, WebSocketSource),
        heartbeat: &Heartbeat,
        outage: Option<Instant>,
    ) -> Result<(), Error> {
        let token = self.session.token().expose();
        self.shared.connect(clock::now(), token);
        tokio::select! {
            // The write loop sends what the read loop causes, in the same poll.
            biased;
            outcome = read_loop(&self.shared, source, heartbeat) => outcome,
            outcome = write_loop(&self.shared, sink, heartbeat, MAX_STALL) => outcome,
            error = heartbeat.watch(&self.shared) => Err(error),
            never = heartbeat.test_when_triggered(&mut self.triggered) => never,
            never = heartbeat.report_when_confirmed(&self.shared, outage) => never,
        }
    }
}

/// Ends a tunnel when dropped: the driver has ended, panicked, or was aborted. Wakes all tasks that
/// wait for a stream.
#[derive(Debug)]
pub(super) struct EndOnDrop(pub(super) Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let why = match std::thread::panicking() {
            true => INTERNAL_ERROR.to_owned(),
            false => Reason::Finished.to_string(),
        };
        let end = || {
            let mut inner = self.0.lock();
            inner.core.abandon(why);
            inner.dispatch();
            inner.wake_all();
        };
        // A second panic here would abort the process.
        if catch_unwind(AssertUnwindSafe(end)).is_err() {
            // The lock is poisoned; taking it ends the tunnel.
            drop(self.0.lock());
        }
    }
}

/// Passes received frames to the core, in batches of all that are ready.
async fn read_loop(
    shared: &Shared,
    mut source: WebSocketSource,
    heartbeat: &Heartbeat,
) -> Result<(), Error> {
    loop {
        while !shared.lock().core.wants_input() {
            shared.input_ready.notified().await;
            heartbeat.record_pong();
        }
        let frames = next_batch(&mut source).await;
        if frames.is_empty() {
            return Err(Error::Broken(
                "Session Manager closed the connection".into(),
            ));
        }
        heartbeat.record_frame();
        let goes_on = handle(shared, frames, heartbeat)?;
        if !goes_on {
            return Ok(());
        }
        shared.handle_input();
    }
}

/// Passes frames to the core. Returns false once the tunnel has ended.
fn handle(
    shared: &Shared,
    frames: Vec<ReceivedItem>,
    heartbeat: &Heartbeat,
) -> Result<bool, Error> {
    let now = clock::now();
    panics::point("tunnel");
    let mut inner = shared.lock();
    panics::point("tunnel-core");
    for frame in frames {
        let outcome = match frame.map(Frame::from) {
            Ok(Frame::Data(bytes)) => {
                heartbeat.record_message();
                inner.core.handle_message(now, bytes)
            }
            Ok(Frame::Pong) => {
                heartbeat.record_pong();
                Ok(())
            }
            Ok(Frame::Ping) => Ok(()),
            Ok(Frame::Close(words)) => {
                inner.dispatch();
                return Err(Error::Broken(words));
            }
            Err(error) => {
                inner.dispatch();
                return Err(Error::broken(error));
            }
        };
        if outcome.is_err() {
            // The core has ended; its events contain the reason.
            inner.dispatch();
            return Ok(false);
        }
    }
    if inner.history.milestones.handshake.is_none() && inner.core.has_handshake() {
        inner.history.milestones.handshake = Some(now);
    }
    inner.dispatch();
    Ok(inner.core.ended().is_none())
}

/// Maximum pause after a websocket that broke soon but carried new data: limits ResumeSession to a
/// few calls per second, and lets a transfer continue.
const MAX_PAUSE_AFTER_PROGRESS: Duration = Duration::from_millis(250);
