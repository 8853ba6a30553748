//! Pool of tunnels: decides which connection gets which tunnel.
//!
//! Tunnels are not started for a certain connection: the connection with the earliest deadline
//! gets the next free slot. A tunnel has one slot or many, and is retired after use or kept:
//! exclusive and shared sessions differ in these parameters only. The exception are the dedicated
//! tunnels of a proxy (`dedicated.rs`).
//!
//! ```text
//!              start          called            ready           given         returned
//!   (nothing) ──────▶ Queued ───────▶ Calling ─────────▶ Ready ◀────────────────────┐
//!                       │ cancelled     │ failed           │ ▲ └──────▶ Ready, used ─┘
//!                       ▼               ▼                  ▼ └─ disconnected, resumed
//!                    (nothing)       (nothing)          closed: too old, idle, surplus
//! ```
//!
//! Waiting connections take priority over warm sessions. While starts are known to fail, at most
//! one warm session is tried, with growing pauses. The pool owns no task and reads no clock: after
//! each `handle_*`, drain [`Pool::poll_action`], then sleep until [`Pool::poll_timeout`].

mod action;
mod balance;
mod dedicated;
mod entry;
mod handed_over;
mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;

pub(super) use self::action::{
    Action, Priority, RejectReason, Returned, Severity, TunnelId, WaiterId,
};
use self::entry::{PoolEntry, ReadyTunnel};
pub use self::handed_over::HandedOverRole;
pub(super) use self::limits::PoolMode;
use crate::session::CircuitBreaker;

/// The tunnels of one forward. `E` is the error of a failed start.
#[derive(Debug)]
pub(super) struct Pool<E> {
    mode: PoolMode,
    breaker: CircuitBreaker<E>,
    /// Sorted by deadline.
    waiting: VecDeque<Waiter>,
    entries: BTreeMap<TunnelId, PoolEntry>,
    next: TunnelId,
    /// No warm session is started before this time, because the last one failed or ended early.
    warm_from: Option<Instant>,
    warm_pause: Duration,
    rng: Rng,
    /// Warm sessions are no longer kept.
    draining: bool,
    actions: VecDeque<Action<E>>,
    /// The time of an event since the last [`Pool::balance`].
    unbalanced: Option<Instant>,
    /// Deadlines of the connections in `waiting`.
    deadlines: BTreeMap<WaiterId, Instant>,
    /// The time of the last [`Pool::balance`]: changes up to then have been handled.
    balanced_at: Option<Instant>,
    /// A tunnel is missing, and is started when the circuit breaker admits it.
    waits_for_breaker: bool,
    /// The connections that wait for dedicated tunnels.
    owners: BTreeMap<TunnelId, WaiterId>,
    handed_over: HandedOverRole,
    /// Connections that shared the tunnel that was handed over for want of another one.
    crowded: u64,
}

impl<E: Clone> Pool<E> {
    /// Creates a pool without tunnels.
    pub(super) fn new(mode: PoolMode, seed: u64) -> Self {
        Self {
            mode,
            breaker: CircuitBreaker::new(),
            waiting: VecDeque::new(),
            entries: BTreeMap::new(),
            next: TunnelId::FIRST,
            warm_from: None,
            warm_pause: FIRST_PAUSE,
            rng: Rng::with_seed(seed),
            draining: false,
            actions: VecDeque::new(),
            unbalanced: None,
            deadlines: BTreeMap::new(),
            balanced_at: None,
            waits_for_breaker: false,
            owners: BTreeMap::new(),
            handed_over: HandedOverRole::None,
            crowded: 0,
        }
    }

    /// Creates an empty pool that replaces this one. It continues the ids, so that events of
    /// earlier tunnels do not match new ones.
    pub(super) fn successor(&self, seed: u64) -> Self {
        Self {
            next: self.next,
            handed_over: self.handed_over,
            ..Self::new(self.mode, seed)
        }
    }

    /// A connection wants a slot until `deadline`. Slots are given in the order of deadlines.
    pub(super) fn handle_acquire(&mut self, now: Instant, id: WaiterId, deadline: Instant) {
        // Almost always the last one: only a connection whose tunnel ended before it had a stream
        // asks again, with an earlier deadline than others.
        let place = self
            .waiting
            .partition_point(|other| other.deadline <= deadline);
        self.waiting.insert(place, Waiter { id, deadline });
        self.deadlines.insert(id, deadline);
        self.unbalanced = Some(now);
    }

    /// A connection no longer waits.
    pub(super) fn handle_cancel(&mut self, now: Instant, id: WaiterId) {
        // Called for every connection; most of them were given a slot before.
        if self.take_waiting(id).is_some() {
            self.unbalanced = Some(now);
        }
    }

    /// Removes a connection from those that wait.
    fn take_waiting(&mut self, id: WaiterId) -> Option<Waiter> {
        let deadline = self.deadlines.remove(&id)?;
        let others = |waiter: &Waiter| waiter.deadline < deadline;
        let first = self.waiting.partition_point(others);
        let place = self.waiting.iter().skip(first).position(|w| w.id == id)?;
        self.waiting.remove(first + place)
    }

    /// StartSession is being called: the start can no longer be cancelled.
    pub(super) fn handle_called(&mut self, now: Instant, id: TunnelId) {
        if let Some(entry @ PoolEntry::Queued { .. }) = self.entries.get_mut(&id) {
            *entry = PoolEntry::Calling {
                begun: now,
                probe: entry.is_probe(),
                wanted: true,
                answered: false,
            };
        }
    }

    /// A session was started; its tunnel is not ready yet.
    pub(super) fn handle_started(&mut self, now: Instant, id: TunnelId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.mark_answered();
            self.unbalanced = Some(now);
        }
    }

    /// A tunnel can carry streams.
    pub(super) fn handle_ready(&mut self, now: Instant, id: TunnelId) {
        if !self.entries.contains_key(&id) {
            return;
        }
        let share = 1.0 - LIFETIME_SPREAD * self.rng.f64();
        let lifetime = self
            .mode_of(id)
            .max_age
            .map(|age| match self.mode.warm_sessions {
                0 => age,
                // Warm sessions that started together must not expire together.
                _ => age.mul_f64(share),
            });
        let ready = PoolEntry::Ready(ReadyTunnel::new(now, lifetime));
        self.entries.insert(id, ready);
        self.breaker.handle_success();
        self.unbalanced = Some(now);
    }

    /// A tunnel could not be established.
    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        id: TunnelId,
        error: E,
        severity: Severity,
    ) {
        self.settle();
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        if entry.is_probe() {
            self.breaker.handle_inconclusive_probe();
        }
        self.postpone_warm(now);
        match severity {
            Severity::Persistent(hold_time) => {
                let begun = entry.begun().unwrap_or(now);
                self.breaker
                    .handle_failure(now, begun, error.clone(), hold_time);
                self.cancel(usize::MAX);
                // The failure applies to every connection that waits for a session.
                match self.mode.is_dedicated {
                    true => self.refuse_dedicated(id, &error, true),
                    false => {
                        self.crowd(now, usize::MAX);
                        if !self.awaits_resume() {
                            self.refuse_first(now, &error, usize::MAX);
                        }
                    }
                }
            }
            Severity::Transient if self.mode.is_dedicated => {
                self.refuse_dedicated(id, &error, false);
            }
            Severity::Transient => {
                let slots = self.mode.slots;
                let before = self.waiting.len();
                self.crowd(now, slots);
                let served = before - self.waiting.len();
                self.refuse_first(now, &error, slots - served);
            }
            Severity::Throttled => self.crowd(now, self.mode.slots),
        }
        self.balance(now);
    }

    /// Refuses the oldest connections, at most `most`, except those that a pending tunnel covers.
    fn refuse_first(&mut self, now: Instant, error: &E, most: usize) {
        let without = self.waiting.len().saturating_sub(self.pending_slots(now));
        for _ in 0..without.min(most) {
            if let Some(waiter) = self.waiting.pop_front() {
                self.refuse(waiter, RejectReason::Failed(error.clone()));
            }
        }
    }

    /// The websocket of a tunnel broke; it is being resumed.
    pub(super) fn handle_disconnected(&mut self, id: TunnelId) {
        if let Some(PoolEntry::Ready(ready)) = self.entries.get_mut(&id) {
            ready.is_disconnected = true;
        }
    }

    /// A tunnel was resumed.
    pub(super) fn handle_resumed(&mut self, now: Instant, id: TunnelId) {
        if let Some(PoolEntry::Ready(ready)) = self.entries.get_mut(&id) {
            ready.is_disconnected = false;
        }
        self.unbalanced = Some(now);
    }

    /// A connection has returned its slot.
    pub(super) fn handle_returned(&mut self, now: Instant, id: TunnelId, returned: Returned) {
        if let Some(PoolEntry::Ready(ready)) = self.entries.get_mut(&id) {
            ready.release(now, returned);
            // Like a warm session that ends before it was used.
            if returned == Returned::Unusable && ready.is_warm() && ready.age(now) < HEALTHY {
                self.postpone_warm(now);
            }
        }
        self.unbalanced = Some(now);
    }

    /// A ready tunnel has ended.
    pub(super) fn handle_ended(&mut self, now: Instant, id: TunnelId) {
        self.settle();
        let Some(PoolEntry::Ready(ready)) = self.entries.get(&id) else {
            return;
        };
        let was_healthy = !ready.is_warm() || ready.age(now) >= HEALTHY;
        self.entries.remove(&id);
        match was_healthy {
            true => self.warm_pause = FIRST_PAUSE,
            false => self.postpone_warm(now),
        }
        self.balance(now);
    }

    /// Time has passed; see [`Pool::poll_timeout`].
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.settle();
        while let Some(waiter) = self.waiting.pop_front_if(|waiter| waiter.deadline <= now) {
            self.refuse(waiter, RejectReason::Late);
        }
        self.warm_from = self.warm_from.filter(|from| now < *from);
        self.balance(now);
    }

    /// No more connections will be accepted: keeps no warm sessions and retires unused tunnels.
    pub(super) fn handle_drain(&mut self, now: Instant) {
        self.settle();
        self.draining = true;
        self.mode.idle = Duration::ZERO;
        self.balance(now);
    }

    /// Returns the number of established tunnels, and of unused ones among them that a connection
    /// can use now: their websocket is open.
    pub(super) fn count(&self) -> (usize, usize) {
        let ready = self.entries.values().filter_map(PoolEntry::ready);
        ready.fold((0, 0), |(all, warm_session), ready| {
            let is_usable = ready.is_warm() && !ready.is_disconnected;
            (all + 1, warm_session + usize::from(is_usable))
        })
    }

    /// Retries now, skipping all backoff.
    pub(super) fn retry_now(&mut self, now: Instant) {
        self.settle();
        self.breaker.retry_now(now);
        self.warm_from = None;
        self.warm_pause = FIRST_PAUSE;
        self.balance(now);
    }

    /// Returns true if a connection is waiting.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the connection that a dedicated tunnel was started for, if it still waits.
    pub(super) fn owner(&self, id: TunnelId) -> Option<WaiterId> {
        let owner = self.owners.get(&id).copied();
        owner.filter(|waiter| self.deadlines.contains_key(waiter))
    }

    /// Returns true if a tunnel is ready and was never used.
    pub(super) fn is_warm(&self, id: TunnelId) -> bool {
        let ready = self.entries.get(&id).and_then(PoolEntry::ready);
        ready.is_some_and(ReadyTunnel::is_warm)
    }

    /// Returns the next action for the owner of the tunnels.
    pub(super) fn poll_action(&mut self) -> Option<Action<E>> {
        self.settle();
        self.actions.pop_front()
    }

    /// Returns when [`Pool::handle_timeout`] must be called. A time in the past is due now; after
    /// [`Pool::handle_timeout`] it is in the future.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // The handler consumes these, so one in the past is due.
        let late = self.waiting.front().map(|waiter| waiter.deadline);
        let opening = self
            .breaker
            .next_probe_at()
            .filter(|_| self.waits_for_breaker);
        let consumed = late.into_iter().chain(self.warm_from).chain(opening);
        // These only mark when a result changes. The last balance has seen those up to its time.
        let ages = self.ready();
        let ages = ages.flat_map(|(id, ready)| ready.changes(&self.mode_of(id)));
        let unreliable = self
            .entries
            .values()
            .filter_map(PoolEntry::unreliable_after);
        let changes = ages.chain(unreliable);
        let changes = changes.filter(|at| self.balanced_at.is_none_or(|seen| *at > seen));
        #[cfg(test)]
        if crate::mutants::Mutant::DroppedDeadline.is_active() {
            let now = crate::clock::now();
            return consumed.chain(changes).filter(|at| *at > now).min();
        }
        consumed.chain(changes).min()
    }

    /// Balances after events that were only recorded. A balance visits every tunnel, so it is done
    /// once for all events that came together.
    pub(super) fn settle(&mut self) {
        if let Some(now) = self.unbalanced.take() {
            self.balance(now);
        }
    }

    fn postpone_warm(&mut self, now: Instant) {
        let has_none = self.mode.warm_sessions == 0 && !self.mode.reuse;
        // Failures during the pause are of starts that began before: the same failure.
        if has_none || self.warm_from.is_some() {
            return;
        }
        let pause = self.warm_pause;
        self.warm_from = Some(now + pause.mul_f64(0.5 + self.rng.f64() / 2.0));
        self.warm_pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// A connection that waits for a slot.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: WaiterId,
    deadline: Instant,
}

/// Pause before the next warm session after one failed or ended early, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A warm session that lived this long counts as started successfully.
const HEALTHY: Duration = Duration::from_secs(60);

/// Spread of the lifetimes of warm sessions, as a fraction of `max_age`.
const LIFETIME_SPREAD: f64 = 0.2;

#[cfg(test)]
mod tests;
