//! The connections of a forward: a table for the status and the command `close`, and the guard
//! through which each connection gets exactly one record.
//!
//! ```text
//!   accept ─▶ ConnectionTable::add ─▶ TrackedConnection ─ record, or drop ─▶ AccessLog
//! ```
//!
//! The task of a connection calls [`TrackedConnection::record`]. If the task is aborted, dropping
//! the guard writes the record: of a stop if one was requested, which may have cut the upload of a
//! client that has closed; else of an internal error.

mod tracked;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(super) use self::tracked::TrackedConnection;
use crate::clock;
use crate::config;
use crate::forward::bundle_client::BundleClient;
use crate::forward::bundle_records::BundleInfo;
use crate::forward::byte_counters::ByteCounters;
use crate::forward::first_bytes::FirstBytes;
use crate::forward::peer::Peer;
use crate::forward::pool_handle::Lease;
use crate::forward::session_table::SessionTable;
use crate::forward::shutdown::ShutdownWatch;
use crate::forward::timeline::SessionTimeline;
use crate::printable::Printable;
use crate::telemetry::{FailureStatus, ForwardMetrics, Phase, Stage, StageTimes};
use crate::tunnel::Tunnel;

/// The open and pending connections of a forward. Bounded by the permits to accept.
#[derive(Debug)]
pub struct ConnectionTable {
    connections: Mutex<BTreeMap<u64, Arc<ActiveConnection>>>,
    sessions: Arc<SessionTable>,
    settings: Arc<config::Forward>,
    metrics: Arc<ForwardMetrics>,
    /// Open connections that a stop has reset.
    reset_by_stop: AtomicUsize,
    relayed: Option<BundleClient>,
}

/// A connection at one moment.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Its number.
    pub id: u64,
    /// The client.
    pub peer: Printable,
    /// Time since accept.
    pub age: Duration,
    /// Phase.
    pub phase: Phase,
    /// Bytes of the client that were passed on.
    pub sent: u64,
    /// Bytes of the destination that were written to the client.
    pub received: u64,
    /// Session id, once it has a session.
    pub session: Option<Printable>,
    /// What the client of a proxy has requested.
    pub destination: Option<Printable>,
}

impl ConnectionTable {
    pub(super) fn new(
        sessions: Arc<SessionTable>,
        settings: Arc<config::Forward>,
        metrics: Arc<ForwardMetrics>,
        relayed: Option<BundleClient>,
    ) -> Self {
        Self {
            connections: Mutex::default(),
            sessions,
            settings,
            metrics,
            reset_by_stop: AtomicUsize::new(0),
            relayed,
        }
    }

    /// Adds and counts a connection that was just accepted.
    pub(super) fn add(self: &Arc<Self>, peer: Peer, stop: ShutdownWatch) -> TrackedConnection {
        let connection = Arc::new(ActiveConnection {
            id: NEXT_ID.fetch_add(1, Relaxed),
            peer,
            command: OnceLock::new(),
            destination: OnceLock::new(),
            accepted: clock::now(),
            counters: ByteCounters::new(Arc::clone(&self.metrics)),
            first_bytes: FirstBytes::new(self.settings.client_protocol().is_some()),
            current: Mutex::default(),
            close: Notify::new(),
        });
        self.metrics.totals.accepted.fetch_add(1, Relaxed);
        self.lock().insert(connection.id, Arc::clone(&connection));
        TrackedConnection::new(Arc::clone(self), connection, stop)
    }

    /// Resets a connection. Returns false if there is none of this number.
    pub fn close(&self, id: u64) -> bool {
        let connection = self.lock().get(&id).cloned();
        if let Some(connection) = &connection {
            connection.close.notify_one();
        }
        connection.is_some()
    }

    /// Returns at most `max` connections, oldest first, and the number of all.
    pub fn list(&self, max: usize) -> (Vec<ConnectionInfo>, usize) {
        let (first, count) = {
            let connections = self.lock();
            let first: Vec<_> = connections.values().take(max).cloned().collect();
            (first, connections.len())
        };
        let now = clock::now();
        let waiting = Phase::Connecting(self.sessions.opening().stage());
        let list = first.iter().map(|connection| connection.info(now, waiting));
        (list.collect(), count)
    }

    /// Returns the number of connections whose client has not closed.
    pub fn with_client(&self) -> usize {
        let connections = self.lock();
        let with_client = connections.values().filter(|one| !one.is_flushing());
        with_client.count()
    }

    /// Returns how many open connections a stop has reset.
    pub fn reset_by_stop(&self) -> usize {
        self.reset_by_stop.load(Relaxed)
    }

    /// Returns the number of connections of each session.
    pub fn count_by_session(&self) -> BTreeMap<Printable, usize> {
        let connections: Vec<_> = self.lock().values().cloned().collect();
        let mut counts = BTreeMap::new();
        for session in connections.iter().filter_map(|one| one.session()) {
            *counts.entry(session).or_default() += 1;
        }
        counts
    }

    /// Returns the sessions of the forward.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Returns its bundle, if connections go through a relay and there is one.
    pub fn bundle(&self, now: Instant) -> Option<BundleInfo> {
        self.relayed.as_ref()?.info(now)
    }

    /// Returns the last failure of a stripe to its relay.
    pub fn stripe_failure(&self) -> Option<FailureStatus> {
        self.relayed.as_ref()?.last_failure()
    }

    /// Returns the destination of a connection: as requested by the client of a proxy, else as
    /// reported by the agent, else as configured.
    pub(super) fn destination(&self, connection: &ActiveConnection) -> Printable {
        if self.settings.is_proxy() {
            let requested = connection.destination.get();
            return requested.cloned().unwrap_or_else(|| NOT_REQUESTED.into());
        }
        let reported = self.metrics.destination();
        reported.unwrap_or_else(|| Printable::of(&self.settings.remote))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ActiveConnection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has not ended.
#[derive(Debug)]
pub(super) struct ActiveConnection {
    id: u64,
    peer: Peer,
    /// The program of a client on a Unix socket.
    command: OnceLock<Printable>,
    /// What the client of a proxy has requested.
    destination: OnceLock<Printable>,
    accepted: Instant,
    pub(super) counters: ByteCounters,
    pub(super) first_bytes: FirstBytes,
    current: Mutex<Current>,
    close: Notify,
}

/// What a connection does now.
#[derive(Debug, Default)]
struct Current {
    position: Position,
    opened: Option<Opened>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Position {
    /// Waiting for a permit.
    #[default]
    Queued,
    /// Waiting for a session.
    Waiting,
    /// It has a stream.
    Open(Phase),
}

#[derive(Clone, Debug)]
struct Opened {
    at: Instant,
    stages: StageTimes,
    /// `None` if it goes through a relay, over any of its sessions.
    tunnel: Option<Tunnel>,
    /// Number of resumes of the tunnel before.
    resumes: u32,
}

impl ActiveConnection {
    /// Returns when it was accepted.
    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// The client has requested a destination.
    pub(super) fn set_destination(&self, destination: Printable) {
        // Set once.
        let _same = self.destination.set(destination);
    }

    /// It has its permits and waits for a session.
    pub(super) fn handle_waiting(&self) {
        self.current().position = Position::Waiting;
    }

    /// It has a stream.
    pub(super) fn handle_opened(&self, lease: &Lease) {
        let at = clock::now();
        let tunnel = lease.tunnel().clone();
        let stages = lease.timeline().times(self.accepted, at);
        self.counters.handle_opened(at, &stages);
        let opened = Opened {
            at,
            stages,
            resumes: tunnel.resumes(),
            tunnel: Some(tunnel),
        };
        self.set_opened(opened);
    }

    /// The relay has connected it.
    pub(super) fn handle_connected(&self) {
        let at = clock::now();
        let stages = SessionTimeline::default().times(self.accepted, at);
        self.counters.handle_opened(at, &stages);
        let opened = Opened {
            at,
            stages,
            resumes: 0,
            tunnel: None,
        };
        self.set_opened(opened);
    }

    fn set_opened(&self, opened: Opened) {
        let mut current = self.current();
        current.position = Position::Open(Phase::Open);
        current.opened = Some(opened);
    }

    /// Its stream was lost, and it gets another one.
    pub(super) fn handle_lost(&self) {
        *self.current() = Current::default();
    }

    /// It has a stream and enters another phase.
    pub(super) fn set_phase(&self, phase: Phase) {
        self.current().position = Position::Open(phase);
    }

    /// Waits for a request of the operator to close it.
    pub(super) async fn close_requested(&self) {
        self.close.notified().await;
    }

    /// Returns true if the client has closed and its last bytes are being delivered.
    pub(super) fn is_flushing(&self) -> bool {
        matches!(self.current().position, Position::Open(Phase::Flushing))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self) -> Printable {
        match self.command.get() {
            Some(command) => Printable::of(format_args!("{} ({command})", self.peer)),
            None => Printable::of(self.peer),
        }
    }

    /// Returns its state. `waiting` is the phase of those that wait for a session.
    fn info(&self, now: Instant, waiting: Phase) -> ConnectionInfo {
        let position = self.current().position;
        ConnectionInfo {
            id: self.id,
            peer: self.peer(),
            age: now.saturating_duration_since(self.accepted),
            phase: match position {
                Position::Queued => Phase::Connecting(Stage::Queued),
                Position::Waiting => waiting,
                Position::Open(phase) => phase,
            },
            sent: self.counters.sent(),
            received: self.counters.received(),
            session: self.session(),
            destination: self.destination.get().cloned(),
        }
    }

    fn session(&self) -> Option<Printable> {
        let current = self.current();
        let opened = current.opened.as_ref();
        let tunnel = opened.and_then(|opened| opened.tunnel.as_ref());
        tunnel.map(|tunnel| tunnel.session_id().into())
    }
}

/// Destination of a connection whose client has requested none.
const NOT_REQUESTED: &str = "-";

/// Number of the next connection of this process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests;
