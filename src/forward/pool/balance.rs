//! Balances demand and tunnels of a pool: gives slots, and starts, cancels and retires tunnels.

use std::time::Instant;

use super::action::{Action, Priority, RejectReason, TunnelId};
use super::entry::{PoolEntry, ReadyTunnel};
use super::handed_over::HandedOverRole;
use super::{Pool, Waiter};
use crate::session::Decision;

impl<E: Clone> Pool<E> {
    /// Gives free slots, starts missing tunnels, cancels and retires surplus ones.
    pub(super) fn balance(&mut self, now: Instant) {
        self.unbalanced = None;
        self.balanced_at = Some(now);
        self.waits_for_breaker = false;
        if self.mode.is_dedicated {
            return self.balance_dedicated(now);
        }
        self.give(now);
        self.start_for_waiting(now);
        self.start_warm(now);
        self.cancel_surplus(now);
        self.close_abandoned(now);
        self.retire(now);
    }

    fn give(&mut self, now: Instant) {
        while !self.waiting.is_empty() {
            let Some((id, ready)) = self.best(now) else {
                return;
            };
            ready.take_slot();
            if let Some(waiter) = self.waiting.pop_front() {
                let waiter = waiter.id;
                self.deadlines.remove(&waiter);
                self.actions
                    .push_back(Action::Assign { waiter, tunnel: id });
            }
        }
    }

    /// Returns the oldest tunnel with a free slot, those that are not stale first. A stale shared
    /// tunnel gets no new connections once a fresh one is ready.
    fn best(&mut self, now: Instant) -> Option<(TunnelId, &mut ReadyTunnel)> {
        let (mode, first) = (self.mode, self.mode_of(TunnelId::FIRST));
        let is_replaced = mode.reuse && self.ready().any(|(_, ready)| !ready.is_stale(now));
        let entries = self.entries.iter_mut();
        let ready = entries.filter_map(|(id, entry)| Some((*id, entry.ready_mut()?)));
        let mode_of = |id| match id {
            TunnelId::FIRST => &first,
            _ => &mode,
        };
        ready
            .filter(|(id, ready)| ready.can_serve(now, mode_of(*id)))
            .filter(|(_, ready)| !is_replaced || !ready.is_stale(now))
            .min_by_key(|(id, ready)| (ready.is_stale(now), *id))
    }

    fn start_for_waiting(&mut self, now: Instant) {
        if self.starts_none() {
            return;
        }
        self.raise_priorities();
        let mut pending = self.pending_slots(now);
        while pending < self.waiting.len() {
            pending += self.mode.slots;
            match self.breaker.check(now) {
                Decision::Allow => self.start(Priority::Waiter, false),
                Decision::Probe => self.start(Priority::Waiter, true),
                Decision::Reject(error) => return self.serve_without_start(now, Some(&error)),
                Decision::Wait => return self.serve_without_start(now, None),
            }
        }
    }

    /// Serves connections for which the circuit breaker permits no start; refuses those that remain
    /// with `error`, or lets them wait.
    fn serve_without_start(&mut self, now: Instant, error: Option<&E>) {
        self.crowd(now, usize::MAX);
        match error.filter(|_| !self.awaits_resume()) {
            Some(error) => self.refuse_last(now, error),
            None => self.waits_for_breaker = true,
        }
    }

    /// Raises the priority of queued warm sessions that a connection needs now.
    fn raise_priorities(&mut self) {
        let urgent = self.entries.values().filter(|entry| entry.is_urgent());
        let missing = self.tunnels_needed().saturating_sub(urgent.count());
        let not_urgent = self.entries.iter_mut().filter_map(|(id, entry)| {
            let priority = entry.priority_mut()?;
            (*priority == Priority::Warm).then_some((id, priority))
        });
        for (id, priority) in not_urgent.take(missing) {
            *priority = Priority::Waiter;
            self.actions.push_back(Action::Prioritize(*id));
        }
    }

    /// Refuses the connections without a pending tunnel, newest first.
    fn refuse_last(&mut self, now: Instant, error: &E) {
        let slots = self.pending_slots(now);
        while self.waiting.len() > slots {
            let Some(waiter) = self.waiting.pop_back() else {
                return;
            };
            self.refuse(waiter, RejectReason::Failed(error.clone()));
        }
    }

    pub(super) fn refuse(&mut self, waiter: Waiter, why: RejectReason<E>) {
        let waiter = waiter.id;
        self.deadlines.remove(&waiter);
        self.actions.push_back(Action::Reject { waiter, why });
    }

    fn start_warm(&mut self, now: Instant) {
        for _ in self.pending_warm(now)..self.warm_missing(now) {
            match self.breaker.check(now) {
                Decision::Allow => self.start(Priority::Warm, false),
                Decision::Probe => self.start(Priority::Warm, true),
                Decision::Reject(_) | Decision::Wait => return self.waits_for_breaker = true,
            }
        }
    }

    pub(super) fn start(&mut self, priority: Priority, probe: bool) {
        let id = self.next;
        self.next = TunnelId(id.0 + 1);
        let previous = self
            .entries
            .insert(id, PoolEntry::Queued { priority, probe });
        debug_assert!(previous.is_none(), "ids are unique");
        self.actions.push_back(Action::Start {
            tunnel: id,
            priority,
        });
    }

    /// Cancels queued starts that are no longer needed, and marks called ones as unwanted: a call
    /// cannot be taken back.
    fn cancel_surplus(&mut self, now: Instant) {
        let needed = self.tunnels_needed() + self.warm_missing(now);
        self.cancel(self.pending(now).saturating_sub(needed));
        let wanted = self.entries.values().filter(|m| m.is_wanted()).count();
        let mut surplus = wanted.saturating_sub(needed);
        for entry in self.entries.values_mut() {
            if surplus == 0 {
                return;
            }
            surplus -= usize::from(entry.mark_unwanted());
        }
    }

    /// Closes tunnels that are not ready yet and would be retired at once when they are. Their
    /// websocket may take until the connect timeout.
    fn close_abandoned(&mut self, now: Instant) {
        if !self.mode.idle.is_zero() {
            return;
        }
        let warm_sessions = self
            .warm_wanted(now)
            .saturating_sub(self.warm_sessions(now));
        let needed = self.tunnels_needed() + warm_sessions;
        let mut surplus = self.pending(now).saturating_sub(needed);
        let mut over = Vec::new();
        for (id, entry) in self.entries.iter().filter(|(_, m)| m.is_abandoned()) {
            if self.is_handed_over(*id) {
                continue;
            }
            if entry.is_pending(now) {
                if surplus == 0 {
                    continue;
                }
                surplus -= 1;
            }
            over.push((*id, entry.is_probe()));
        }
        for (id, is_probe) in over {
            self.entries.remove(&id);
            if is_probe {
                self.breaker.handle_inconclusive_probe();
            }
            self.actions.push_back(Action::Close(id));
        }
    }

    /// Cancels up to `most` queued starts, newest first.
    pub(super) fn cancel(&mut self, most: usize) {
        let queued = self.entries.iter().rev().filter(|(_, m)| m.is_queued());
        let queued = queued.map(|(id, _)| *id);
        let queued = queued.filter(|id| !self.is_handed_over(*id));
        let queued: Vec<TunnelId> = queued.take(most).collect();
        for id in queued {
            if self.entries.remove(&id).is_some_and(|m| m.is_probe()) {
                self.breaker.handle_inconclusive_probe();
            }
            self.actions.push_back(Action::Cancel(id));
        }
    }

    /// Retires tunnels without a connection that are too old, idle for too long or surplus.
    fn retire(&mut self, now: Instant) {
        let mut warm_sessions = 0;
        let fresh = self.warm_sessions(now);
        let wanted = self.warm_wanted(now);
        let mut over = Vec::new();
        for (id, ready) in self.ready() {
            let mode = self.mode_of(id);
            let is_over = if ready.is_stale(now) {
                let is_useless = ready.is_unusable() || ready.is_too_old(now, &mode);
                ready.is_empty() && (is_useless || wanted <= fresh && !self.is_only(id))
            } else {
                warm_sessions += usize::from(ready.is_warm());
                let is_needed = ready.is_warm() && warm_sessions <= wanted;
                !is_needed && ready.is_idle(now, &mode)
            };
            over.extend(is_over.then_some(id));
        }
        for id in over {
            self.entries.remove(&id);
            self.actions.push_back(Action::Close(id));
        }
    }

    /// Number of missing warm sessions: none in a pause, only the probe while the breaker is open.
    fn warm_missing(&self, now: Instant) -> usize {
        let missing = self
            .warm_wanted(now)
            .saturating_sub(self.warm_sessions(now));
        match (self.warm_from, self.breaker.is_closed()) {
            (Some(_), _) => 0,
            (None, true) => missing,
            (None, false) => missing.min(1),
        }
    }

    /// Number of warm sessions wanted, including the successor of a stale shared tunnel.
    fn warm_wanted(&self, now: Instant) -> usize {
        if self.draining || self.handed_over == HandedOverRole::Only {
            return 0;
        }
        let is_old = |(_, ready): (TunnelId, &ReadyTunnel)| {
            ready.is_stale(now) && !ready.is_empty() && !ready.is_unusable()
        };
        let needs_successor = self.mode.reuse
            && self.ready().any(is_old)
            && !self.ready().any(|(_, ready)| !ready.is_stale(now));
        self.mode.warm_sessions.max(usize::from(needs_successor))
    }

    /// Number of ready tunnels with a free slot that are not stale.
    fn warm_sessions(&self, now: Instant) -> usize {
        let ready = self.ready();
        let is_warm = |id: TunnelId, ready: &ReadyTunnel| {
            ready.has_slot(&self.mode_of(id)) && !ready.is_stale(now)
        };
        ready.filter(|(id, ready)| is_warm(*id, ready)).count()
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = (TunnelId, &ReadyTunnel)> {
        let entries = self.entries.iter();
        entries.filter_map(|(id, entry)| Some((*id, entry.ready()?)))
    }

    fn pending_warm(&self, now: Instant) -> usize {
        self.pending(now).saturating_sub(self.tunnels_needed())
    }

    pub(super) fn pending_slots(&self, now: Instant) -> usize {
        self.pending(now) * self.mode.slots
    }

    fn pending(&self, now: Instant) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| entry.is_pending(now)).count()
    }

    fn tunnels_needed(&self) -> usize {
        self.waiting.len().div_ceil(self.mode.slots)
    }
}
