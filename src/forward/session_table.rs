//! Table of the sessions of a forward, for records of connections and for the status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::pool::TunnelId;
use super::timeline::SessionTimeline;
use crate::session::StartStage;
use crate::tunnel::Tunnel;

/// The sessions of a forward that are being established or are ready. Bounded by the pool.
#[derive(Debug, Default)]
pub struct SessionTable(Mutex<BTreeMap<TunnelId, SessionEntry>>);

#[derive(Clone, Debug, Default)]
struct SessionEntry {
    timeline: SessionTimeline,
    tunnel: Option<Tunnel>,
}

impl SessionEntry {
    fn timeline(&self) -> SessionTimeline {
        match &self.tunnel {
            Some(tunnel) => self
                .timeline
                .with_tunnel(tunnel.started(), tunnel.milestones()),
            None => self.timeline,
        }
    }

    /// Reads the state of the tunnel. Its lock is held for the comparison or replacement of one
    /// value and no other is acquired under it, so this may be called with the table locked.
    fn is_opening(&self) -> bool {
        self.tunnel.as_ref().is_none_or(Tunnel::is_opening)
    }
}

impl SessionTable {
    /// Adds a session that is to be started. It is removed when the result is dropped.
    pub(super) fn add(self: &Arc<Self>, id: TunnelId) -> TabledSession {
        self.lock().insert(id, SessionEntry::default());
        TabledSession {
            id,
            table: Arc::clone(self),
        }
    }

    /// Returns the timeline of the next session to become ready, for which connections wait.
    pub(super) fn opening(&self) -> SessionTimeline {
        let opening = {
            let sessions = self.lock();
            sessions.values().find(|entry| entry.is_opening()).cloned()
        };
        // Not while locked: the lock of the core is held while it handles messages.
        opening.map(|entry| entry.timeline()).unwrap_or_default()
    }

    /// Returns at most `max` sessions that were started, oldest first, and the number of all.
    pub fn tunnels(&self, max: usize) -> (Vec<Tunnel>, usize) {
        let sessions = self.lock();
        let tunnels = sessions.values().filter_map(|entry| entry.tunnel.as_ref());
        let first = tunnels.clone().take(max).cloned().collect();
        (first, tunnels.count())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TunnelId, SessionEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session in a [`SessionTable`].
#[derive(Debug)]
pub(super) struct TabledSession {
    id: TunnelId,
    table: Arc<SessionTable>,
}

impl TabledSession {
    /// Its start waits for another step.
    pub(super) fn handle_stage(&self, now: Instant, stage: StartStage) {
        self.with(|entry| entry.timeline.handle_stage(now, stage));
    }

    /// It was started.
    pub(super) fn handle_started(&self, tunnel: Tunnel) {
        self.with(|entry| entry.tunnel = Some(tunnel));
    }

    /// Returns when it reached its stages.
    pub(super) fn timeline(&self) -> SessionTimeline {
        let entry = self.table.lock().get(&self.id).cloned();
        entry.map(|entry| entry.timeline()).unwrap_or_default()
    }

    fn with(&self, change: impl FnOnce(&mut SessionEntry)) {
        if let Some(entry) = self.table.lock().get_mut(&self.id) {
            change(entry);
        }
    }
}

impl Drop for TabledSession {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}
