//! Runs the tunnels of one forward: executes the actions of its pool.
//!
//! ```text
//!   connections ── acquire, cancel, release ──▶ PoolTask ◀── events ── one task per tunnel
//!               ◀── lease or refusal ──────────   │ ▲
//!                                                 ▼ │
//!                                                Pool
//! ```
//!
//! A panic here loses the tunnels of this forward only: pending connections are refused, the
//! sessions are terminated, and the task restarts after a pause.

mod actions;
mod bounds;
mod ends;
mod ready;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, error};

use crate::clock;
use crate::config;
use crate::forward::Context;
use crate::forward::error::{ConnectFailure, LogDedup};
use crate::forward::pool::{Action, Pool, PoolMode, TunnelId, WaiterId};
use crate::forward::pool_handle::{
    AcceptPermit, Lease, PoolHandle, PoolRequest, SlotRefusal, TunnelEvent,
};
use crate::forward::session_table::SessionTable;
use crate::forward::shutdown::ShutdownWatch;
use crate::forward::timeline::SessionTimeline;
use crate::forward::tunnel_record::TunnelRecord;
use crate::panics::{self, Panic, caught};
use crate::session::StartStage;
use crate::telemetry::ForwardMetrics;

/// The task behind a [`PoolHandle`].
#[derive(Debug)]
pub(super) struct PoolTask {
    settings: Arc<config::Forward>,
    /// Its sessions lead to a relay, which may not be there although a session is ready.
    is_to_relay: bool,
    context: Context,
    pool: Pool<ConnectFailure>,
    incoming: mpsc::UnboundedReceiver<PoolRequest>,
    requests: mpsc::UnboundedSender<PoolRequest>,
    waiters: BTreeMap<WaiterId, Waiter>,
    tunnels: BTreeMap<TunnelId, TunnelRecord>,
    /// The same, for other tasks to read.
    sessions: Arc<SessionTable>,
    /// The session whose failure the pool is about to pass on to connections.
    failed: Option<SessionTimeline>,
    tasks: JoinSet<()>,
    /// Tunnels that are closing, and when each is aborted.
    ending: Vec<(Instant, AbortHandle)>,
    log_dedup: LogDedup,
    /// Suppresses repeated failures of destinations of a proxy, which end no outage.
    log_of_destinations: LogDedup,
    /// Error of the last throttled call, until a tunnel is ready.
    throttled: Option<ConnectFailure>,
    metrics: Arc<ForwardMetrics>,
}

impl PoolTask {
    /// Creates a handle and its task. The caller must run the task.
    pub(super) fn new(
        settings: &Arc<config::Forward>,
        context: Context,
        metrics: Arc<ForwardMetrics>,
    ) -> (PoolHandle, Self) {
        let stripes = settings.of_stripes().map(Arc::new);
        let is_to_relay = stripes.is_some();
        let settings = stripes.unwrap_or_else(|| Arc::clone(settings));
        let (requests, incoming) = mpsc::unbounded_channel();
        let sessions = Arc::<SessionTable>::default();
        let pool_handle = PoolHandle::new(requests.clone(), Arc::clone(&sessions));
        let pool = Pool::new(PoolMode::of(&settings), context.seed);
        let pool_task = Self {
            pool: pool.with_handed_over(context.first_tunnel.role()),
            settings,
            is_to_relay,
            context,
            incoming,
            requests,
            waiters: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            sessions,
            failed: None,
            tasks: JoinSet::new(),
            ending: Vec::new(),
            log_dedup: LogDedup::default(),
            log_of_destinations: LogDedup::default(),
            throttled: None,
            metrics,
        };
        (pool_handle, pool_task)
    }

    /// Runs until `end` is true, then closes every tunnel. No warm sessions are kept once the
    /// forward has stopped accepting.
    pub(super) async fn run(mut self, stop: ShutdownWatch, mut end: watch::Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = clock::now();
            let Err(panic) = caught(self.handle_events(stop.clone(), &mut end)).await else {
                break;
            };
            let now = clock::now();
            if now.saturating_duration_since(begin) >= STABLE {
                pause = FIRST_PAUSE;
            }
            self.restart(now, &panic, pause);
            if !self.refuse_until(now + pause, &mut end).await {
                break;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
        self.end().await;
    }

    /// Handles events until `end` is true.
    async fn handle_events(&mut self, mut stop: ShutdownWatch, end: &mut watch::Receiver<bool>) {
        let mut draining = false;
        let mut triggered = self.context.triggered.clone().resubscribe();
        self.pool.handle_timeout(clock::now());
        loop {
            self.apply();
            let deadline = self.deadline();
            tokio::select! {
                Some(request) = self.incoming.recv() => self.handle_all(request),
                Some(done) = self.tasks.join_next() => self.handle_done(done),
                () = sleep_until(deadline.into()) => self.handle_timeout(),
                () = triggered.triggered() => self.pool.retry_now(clock::now()),
                () = stop.released(), if !draining => {
                    draining = true;
                    self.pool.handle_drain(clock::now());
                }
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    /// Drops all state after a panic, since it may be inconsistent. Dropped tunnels terminate
    /// their sessions.
    fn restart(&mut self, now: Instant, panic: &Panic, pause: Duration) {
        panics::point("supplier-restart");
        error!(%panic, ?pause, "the pool task panicked and its tunnels are lost; restarting");
        self.metrics
            .record_failure(ConnectFailure::Internal.status(now));
        for (_, Waiter { reply, .. }) in std::mem::take(&mut self.waiters) {
            let _left = reply.send(Err(SlotRefusal::internal()));
        }
        self.pool = self.pool.successor(self.context.seed);
        let lost = std::mem::take(&mut self.tunnels).into_values();
        for tunnel in lost.filter_map(|record| record.tunnel) {
            tunnel.fail();
        }
        self.failed = None;
        self.ending.clear();
        // Dropping the previous set aborts its tasks.
        drop(std::mem::take(&mut self.tasks));
        self.log_dedup = LogDedup::default();
        self.throttled = None;
        self.metrics.sessions.store(0, Relaxed);
        self.metrics.ready.store(0, Relaxed);
    }

    /// Refuses every connection until `at`. Returns false if `end` becomes true before.
    async fn refuse_until(&mut self, at: Instant, end: &mut watch::Receiver<bool>) -> bool {
        loop {
            tokio::select! {
                Some(request) = self.incoming.recv() => {
                    if let PoolRequest::Acquire { reply, .. } = request {
                        let _left = reply.send(Err(SlotRefusal::internal()));
                    }
                }
                () = sleep_until(at.into()) => return true,
                _ = end.wait_for(|end| *end) => return false,
            }
        }
    }

    /// Returns the time of the next timer.
    fn deadline(&self) -> Instant {
        let ending = self.ending.iter().map(|(at, _)| *at);
        let times = ending.chain(self.pool.poll_timeout());
        times.min().unwrap_or_else(|| clock::now() + IDLE)
    }

    fn handle_timeout(&mut self) {
        let now = clock::now();
        self.ending.retain(|(at, task)| {
            if *at <= now {
                task.abort();
            }
            *at > now && !task.is_finished()
        });
        self.pool.handle_timeout(now);
    }

    /// Handles a request and those already queued behind it, before the pool acts on them.
    fn handle_all(&mut self, first: PoolRequest) {
        self.assert_bounds();
        self.handle(first);
        for _ in 0..MAX_BATCH {
            match self.incoming.try_recv() {
                Ok(request) => self.handle(request),
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, request: PoolRequest) {
        let now = clock::now();
        match request {
            PoolRequest::Acquire {
                id,
                deadline,
                reply,
                permit,
                requested,
            } => {
                let waiter = Waiter {
                    reply,
                    permit,
                    requested,
                };
                self.waiters.insert(id, waiter);
                panics::point("supplier");
                self.pool.handle_acquire(now, id, deadline);
            }
            PoolRequest::CancelWait(id, _slot) => {
                self.waiters.remove(&id);
                self.pool.handle_cancel(now, id);
            }
            PoolRequest::Release(id, returned, _slot) => {
                self.pool.handle_returned(now, id, returned);
            }
            PoolRequest::Tunnel(id, event) => {
                // The meaning of an event depends on the pending connections.
                self.pool.settle();
                if matches!(event, TunnelEvent::Ended) {
                    // A slot on it may have just been given, and received bytes may be waiting.
                    self.apply();
                }
                self.handle_event(now, id, event);
            }
        }
    }

    fn handle_event(&mut self, now: Instant, id: TunnelId, event: TunnelEvent) {
        match event {
            TunnelEvent::Stage(stage) => {
                self.with(id, |record| {
                    record.stage = stage;
                    record.session.handle_stage(now, stage);
                });
                if stage == StartStage::Credentials {
                    self.pool.handle_called(now, id);
                }
            }
            TunnelEvent::SessionStarted(tunnel) => {
                self.metrics.totals.started.fetch_add(1, Relaxed);
                self.with(id, |record| {
                    record.session.handle_started(tunnel.clone());
                    record.tunnel = Some(tunnel);
                });
                self.pool.handle_started(now, id);
            }
            // Event of a tunnel that was dropped meanwhile.
            TunnelEvent::Ready if !self.tunnels.contains_key(&id) => {}
            TunnelEvent::Ready if self.is_wasted(id) => self.handle_wasted(now, id),
            TunnelEvent::Ready => self.handle_ready(now, id),
            TunnelEvent::Disconnected => self.handle_disconnected(now, id),
            TunnelEvent::Resumed => self.handle_resumed(now, id),
            TunnelEvent::Failed(failure) => self.handle_failed(now, id, failure),
            TunnelEvent::Ended => self.handle_ended(now, id),
        }
    }

    fn with(&mut self, id: TunnelId, change: impl FnOnce(&mut TunnelRecord)) {
        if let Some(record) = self.tunnels.get_mut(&id) {
            change(record);
        }
    }

    fn apply(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Start { tunnel, priority } => self.start(tunnel, priority),
                Action::Prioritize(id) => self.with(id, |record| record.priority.raise()),
                Action::Cancel(id) => {
                    if let Some(record) = self.tunnels.remove(&id) {
                        record.task.abort();
                    }
                }
                Action::Assign { waiter, tunnel } => self.give(waiter, tunnel),
                Action::Reject { waiter, why } => self.refuse(waiter, why),
                Action::Close(id) => self.retire(id),
            }
        }
        self.failed = None;
        let (sessions, ready) = self.pool.count();
        self.metrics.sessions.store(sessions, Relaxed);
        self.metrics.ready.store(ready, Relaxed);
    }

    /// Refuses the pending connections and closes every tunnel gracefully.
    async fn end(mut self) {
        for (_, Waiter { reply, .. }) in std::mem::take(&mut self.waiters) {
            let _left = reply.send(Err(SlotRefusal::stopping()));
        }
        for (_, TunnelRecord { tunnel, task, .. }) in std::mem::take(&mut self.tunnels) {
            match tunnel {
                Some(tunnel) => tunnel.close(),
                None => task.abort(),
            }
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIMEOUT, all).await.is_err() {
            debug!("some tunnels did not close in time");
        }
        self.tasks.shutdown().await;
    }
}

/// A connection that waits for a slot.
#[derive(Debug)]
struct Waiter {
    reply: oneshot::Sender<Result<Lease, SlotRefusal>>,
    permit: AcceptPermit,
    /// The destination, unless it is that of the forward.
    requested: Option<config::Remote>,
}

/// Maximum requests handled in a row before timers and tasks are polled again.
const MAX_BATCH: usize = 1000;

/// Timeout of a graceful close: the flag on the channel waits 1 s for its acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Pause before a restart after a panic, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause is reset after this long without a panic.
const STABLE: Duration = Duration::from_secs(60);

/// Poll interval of the pool if it has no deadline.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
