//! A bounded set of client connections that replaces idle ones, so that an idle or slow client does
//! not block others.
//!
//! ```text
//!   admit ─▶ below the limit? ── yes ─────────────────────────────────▶ Client
//!              └ no ─▶ a connection is idle: it is closed ────────────▶ Client
//!                        └ none: wait until one is closed or settles ─▶ Client
//!                                                   └ timeout ────────▶ None: refused
//! ```
//!
//! A client is idle unless its request is being answered: one that sends nothing, sends a request
//! byte by byte, keeps its connection for later or does not read its answer. It can be replaced
//! after [`GRACE`], since a request needs a moment to arrive. The peer with the most connections
//! loses one first, and of its connections the one that has been idle longest; without [`GRACE`] if
//! the new client has fewer connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// The connections of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Name of the server in the log.
    server: &'static str,
    permits: Arc<Semaphore>,
    state: Arc<Mutex<ClientTable>>,
    /// Notified when a connection becomes replaceable.
    settled: Arc<Notify>,
}

#[derive(Debug, Default)]
struct ClientTable {
    /// By admission order.
    entries: BTreeMap<u64, ClientEntry>,
    /// Number of admissions and answers; orders events without a clock.
    events: u64,
    /// Number of connections replaced by others.
    closed: u64,
}

#[derive(Debug)]
struct ClientEntry {
    peer: ClientKey,
    activity: Activity,
    close: Arc<Notify>,
}

/// Activity of a connection, and the event at which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// A request is being answered.
    Answering,
    /// Idle for less than [`GRACE`].
    Fresh(u64),
    /// Idle and replaceable.
    Idle(u64),
}

/// A client whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientKey {
    /// All clients of Unix sockets.
    Local,
    /// A remote IP address.
    Address(IpAddr),
}

impl Clients {
    /// Creates an empty set of at most `max` connections.
    pub(super) fn new(server: &'static str, max: usize) -> Self {
        Self {
            server,
            permits: Arc::new(Semaphore::new(max)),
            state: Arc::default(),
            settled: Arc::default(),
        }
    }

    /// Admits a connection, and closes an idle one for it if necessary. Returns `None` if no
    /// connection becomes replaceable or ends within [`TIMEOUT`].
    pub(super) async fn admit(&self, peer: ClientKey) -> Option<AdmittedClient> {
        let permit = self.acquire_permit(peer).await?;
        let close = Arc::new(Notify::new());
        let mut state = self.state();
        let id = state.next_event();
        let entry = ClientEntry {
            peer,
            activity: Activity::Fresh(id),
            close: Arc::clone(&close),
        };
        state.entries.insert(id, entry);
        drop(state);
        Some(AdmittedClient {
            id,
            clients: self.clone(),
            close,
            changed: Notify::new(),
            _place: permit,
        })
    }

    /// Waits for a permit, and closes an idle connection if there is none. [`TIMEOUT`] ends when
    /// one is closed, as its permit is then on its way.
    async fn acquire_permit(&self, newcomer: ClientKey) -> Option<OwnedSemaphorePermit> {
        let mut freed = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            tokio::select! {
                biased;
                freed = freed.as_mut() => return freed.ok(),
                closed = timeout(TIMEOUT, self.close_idle(newcomer)) => closed.ok()?,
            }
            // A connection that has waited longer gets the permit first.
            if let Ok(freed) = timeout(TIMEOUT, freed.as_mut()).await {
                return freed.ok();
            }
        }
    }

    /// Closes a replaceable connection; waits until there is one.
    async fn close_idle(&self, newcomer: ClientKey) {
        while !self.close_one(newcomer) {
            self.settled.notified().await;
        }
    }

    /// Tells a replaceable connection to close. Returns false if there is none.
    fn close_one(&self, newcomer: ClientKey) -> bool {
        let mut state = self.state();
        let Some(id) = state.victim(newcomer) else {
            return false;
        };
        let entry = state.entries.remove(&id).expect("it was just found");
        state.closed += 1;
        let (server, closed) = (self.server, state.closed);
        drop(state);
        entry.close.notify_one();
        // Logged at powers of two only, so that many connections do not flood the log.
        if closed.is_power_of_two() {
            warn!(
                server,
                closed, "too many connections: closing idle ones to accept new ones"
            );
        } else {
            debug!(
                server,
                closed, "closing an idle connection to accept a new one"
            );
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, ClientTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientTable {
    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// Selects the connection to replace: of the peers with a connection that is not being
    /// answered, the one with the most connections; of its connections, the one idle longest.
    /// If that peer has more connections than `newcomer` would have, one that was just answered
    /// may be selected too: otherwise a busy peer could occupy all of them. Returns `None` if that
    /// peer has no replaceable connection yet.
    fn victim(&self, newcomer: ClientKey) -> Option<u64> {
        let mut counts: BTreeMap<ClientKey, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.peer).or_default() += 1;
        }
        let not_answering = |entry: &&ClientEntry| entry.activity != Activity::Answering;
        let peers = self.entries.values().filter(not_answering);
        let most = peers
            .map(|entry| entry.peer)
            .max_by_key(|peer| counts.get(peer))?;
        let count = |peer| counts.get(&peer).copied().unwrap_or(0);
        let is_greedy = count(most) > count(newcomer) + 1;
        let replaceable = self.entries.iter().filter(|(_, entry)| entry.peer == most);
        let replaceable = replaceable.filter_map(|(id, entry)| match entry.activity {
            Activity::Idle(since) => Some((false, since, *id)),
            Activity::Fresh(since) if is_greedy => Some((true, since, *id)),
            Activity::Fresh(_) | Activity::Answering => None,
        });
        replaceable.min().map(|(_, _, id)| id)
    }
}

/// An admitted connection. Dropping it frees its permit.
#[derive(Debug)]
pub(super) struct AdmittedClient {
    id: u64,
    clients: Clients,
    close: Arc<Notify>,
    /// Notified when an answer begins or ends.
    changed: Notify,
    _place: OwnedSemaphorePermit,
}

impl AdmittedClient {
    /// Waits until this connection must close for another one. It is replaceable only while this is
    /// awaited.
    pub(super) async fn replaced(&self) {
        loop {
            let activity = self.activity();
            tokio::select! {
                () = self.close.notified() => return,
                () = self.changed.notified() => {}
                () = sleep(GRACE), if matches!(activity, Some(Activity::Fresh(_))) => {
                    self.settle(activity);
                }
            }
        }
    }

    /// Marks the connection as answering a request until the returned guard is dropped.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.set(|_| Activity::Answering);
        Answering(self)
    }

    fn activity(&self) -> Option<Activity> {
        let state = self.clients.state();
        state.entries.get(&self.id).map(|entry| entry.activity)
    }

    fn set(&self, activity: impl FnOnce(u64) -> Activity) {
        let mut state = self.clients.state();
        let event = state.next_event();
        if let Some(entry) = state.entries.get_mut(&self.id) {
            entry.activity = activity(event);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Marks the connection as replaceable, if nothing has happened since `then`.
    fn settle(&self, then: Option<Activity>) {
        let mut state = self.clients.state();
        if let Some(entry) = state.entries.get_mut(&self.id)
            && let (Activity::Fresh(since), true) = (entry.activity, then == Some(entry.activity))
        {
            entry.activity = Activity::Idle(since);
            drop(state);
            self.clients.settled.notify_one();
        }
    }
}

impl Drop for AdmittedClient {
    fn drop(&mut self) {
        self.clients.state().entries.remove(&self.id);
    }
}

/// Guard of a request that is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a AdmittedClient);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.set(Activity::Fresh);
        self.0.clients.settled.notify_one();
    }
}

/// Time for which a connection must be idle before it can be replaced.
const GRACE: Duration = Duration::from_millis(250);

/// Timeout for admitting a connection.
const TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
