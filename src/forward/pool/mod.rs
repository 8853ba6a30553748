//! Which tunnel a connection gets: start, give, refuse, retire.
//!
//! Tunnels are not started *for* a connection: whoever has waited longest gets the next place that
//! there is. A tunnel has one place or many, and is ended once it was used or lives on: sessions of
//! a connection of their own and shared ones differ in these numbers and in nothing else.
//!
//! ```text
//!              start          called            ready           given         returned
//!   (nothing) ──────▶ Queued ───────▶ Called ──────────▶ Ready ◀────────────────────┐
//!                       │ cancelled     │ failed           │ ▲ └──────▶ Ready, used ─┘
//!                       ▼               ▼                  ▼ └─ away, back
//!                    (nothing)       (nothing)          retired: too old, idle, one too many
//! ```
//!
//! Connections that wait go before spares. While sessions are known to fail no more than one spare
//! is tried, ever more rarely. It owns no task and reads no clock: after each `handle_*`, drain [`Pool::poll_action`],
//! then sleep until [`Pool::poll_timeout`].

mod action;
mod balance;
mod entry;
mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;

pub(super) use self::action::{Action, Returned, TunnelId, Urgency, WaiterId, Weight, Why};
use self::entry::{Entry, Ready};
pub(super) use self::limits::Shape;
use crate::session::CircuitBreaker;

/// The tunnels of one forward. `E` is why one did not come up.
#[derive(Debug)]
pub(super) struct Pool<E> {
    shape: Shape,
    breaker: CircuitBreaker<E>,
    /// In the order of their deadlines.
    waiting: VecDeque<Waiter>,
    members: BTreeMap<TunnelId, Entry>,
    next: TunnelId,
    /// No spare is started before, because the last one did not live.
    spares_from: Option<Instant>,
    spare_pause: Duration,
    chance: Rng,
    /// Nothing is kept ready any more.
    draining: bool,
    actions: VecDeque<Action<E>>,
    /// The time of an event since the last [`Pool::balance`].
    unbalanced: Option<Instant>,
    /// Connections in `waiting`, and their deadlines.
    deadlines: BTreeMap<WaiterId, Instant>,
    /// The time of the last [`Pool::balance`]: changes up to then have been handled.
    balanced_at: Option<Instant>,
    /// A tunnel is missing and is started when the gate opens.
    waits_for_breaker: bool,
}

impl<E: Clone> Pool<E> {
    /// No tunnel yet.
    pub(super) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            breaker: CircuitBreaker::new(),
            waiting: VecDeque::new(),
            members: BTreeMap::new(),
            next: TunnelId(1),
            spares_from: None,
            spare_pause: FIRST_PAUSE,
            chance: Rng::with_seed(seed),
            draining: false,
            actions: VecDeque::new(),
            unbalanced: None,
            deadlines: BTreeMap::new(),
            balanced_at: None,
            waits_for_breaker: false,
        }
    }

    /// An empty pool in place of this one. Its ids are new, so that news of former tunnels mean none
    /// of its own.
    pub(super) fn successor(&self, seed: u64) -> Self {
        Self {
            next: self.next,
            ..Self::new(self.shape, seed)
        }
    }

    /// A connection wants a place until `deadline`. Places are given in the order of the deadlines.
    pub(super) fn handle_acquire(&mut self, now: Instant, id: WaiterId, deadline: Instant) {
        // Almost always the last one: only a connection whose tunnel ended before it had a stream
        // comes again, with an earlier deadline than others have.
        let place = self
            .waiting
            .partition_point(|other| other.deadline <= deadline);
        self.waiting.insert(place, Waiter { id, deadline });
        self.deadlines.insert(id, deadline);
        self.unbalanced = Some(now);
    }

    /// A connection wants nothing any more.
    pub(super) fn handle_cancel(&mut self, now: Instant, id: WaiterId) {
        // Each connection leaves, most of them after they were given a place.
        let Some(deadline) = self.deadlines.remove(&id) else {
            return;
        };
        let others = |waiter: &Waiter| waiter.deadline < deadline;
        let first = self.waiting.partition_point(others);
        let place = self.waiting.iter().skip(first).position(|w| w.id == id);
        if let Some(place) = place {
            self.waiting.remove(first + place);
        }
        self.unbalanced = Some(now);
    }

    /// StartSession is called now: what began cannot be taken back.
    pub(super) fn handle_called(&mut self, now: Instant, id: TunnelId) {
        if let Some(member @ Entry::Queued { .. }) = self.members.get_mut(&id) {
            *member = Entry::Called {
                begun: now,
                probe: member.is_probe(),
                wanted: true,
            };
        }
    }

    /// A tunnel can carry streams.
    pub(super) fn handle_ready(&mut self, now: Instant, id: TunnelId) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let share = 1.0 - LIFETIME_SPREAD * self.chance.f64();
        let lifetime = self.shape.max_age.map(|age| match self.shape.spares {
            0 => age,
            // Spares that began together shall not end together.
            _ => age.mul_f64(share),
        });
        *member = Entry::Ready(Ready::new(now, lifetime));
        self.breaker.handle_success();
        self.unbalanced = Some(now);
    }

    /// A tunnel did not come up.
    pub(super) fn handle_failed(&mut self, now: Instant, id: TunnelId, error: E, weight: Weight) {
        self.settle();
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        if member.is_probe() {
            self.breaker.handle_inconclusive_probe();
        }
        self.postpone_spares(now);
        match weight {
            Weight::Definite(patience) => {
                let begun = member.begun().unwrap_or(now);
                self.breaker
                    .handle_failure(now, begun, error.clone(), patience);
                self.cancel(usize::MAX);
                // It is the failure of all who have waited for the same.
                self.refuse_first(now, &error, usize::MAX);
            }
            Weight::Passing => self.refuse_first(now, &error, self.shape.slots),
            Weight::Throttled => {}
        }
        self.balance(now);
    }

    /// Those who have waited longest: at most so many, and none whom another tunnel will serve.
    fn refuse_first(&mut self, now: Instant, error: &E, most: usize) {
        let without = self.waiting.len().saturating_sub(self.pending_slots(now));
        for _ in 0..without.min(most) {
            if let Some(waiter) = self.waiting.pop_front() {
                self.refuse(waiter, Why::Failed(error.clone()));
            }
        }
    }

    /// The websocket of a tunnel broke; it is being resumed.
    pub(super) fn handle_disconnected(&mut self, id: TunnelId) {
        if let Some(Entry::Ready(ready)) = self.members.get_mut(&id) {
            ready.away = true;
        }
    }

    /// A tunnel was resumed.
    pub(super) fn handle_resumed(&mut self, now: Instant, id: TunnelId) {
        if let Some(Entry::Ready(ready)) = self.members.get_mut(&id) {
            ready.away = false;
        }
        self.unbalanced = Some(now);
    }

    /// A connection has left its place.
    pub(super) fn handle_returned(&mut self, now: Instant, id: TunnelId, returned: Returned) {
        if let Some(Entry::Ready(ready)) = self.members.get_mut(&id) {
            ready.release(now, returned);
            // As one that ends before it was used.
            if returned == Returned::Unusable && ready.is_spare() && ready.age(now) < HEALTHY {
                self.postpone_spares(now);
            }
        }
        self.unbalanced = Some(now);
    }

    /// A tunnel that was ready is no more.
    pub(super) fn handle_ended(&mut self, now: Instant, id: TunnelId) {
        self.settle();
        let Some(Entry::Ready(ready)) = self.members.get(&id) else {
            return;
        };
        let was_healthy = !ready.is_spare() || ready.age(now) >= HEALTHY;
        self.members.remove(&id);
        match was_healthy {
            true => self.spare_pause = FIRST_PAUSE,
            false => self.postpone_spares(now),
        }
        self.balance(now);
    }

    /// Time has passed; see [`Pool::poll_timeout`].
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.settle();
        while let Some(waiter) = self.waiting.pop_front_if(|waiter| waiter.deadline <= now) {
            self.refuse(waiter, Why::Late);
        }
        self.spares_from = self.spares_from.filter(|from| now < *from);
        self.balance(now);
    }

    /// Nobody will come any more: nothing is kept ready, and what nobody uses ends.
    pub(super) fn handle_drain(&mut self, now: Instant) {
        self.settle();
        self.draining = true;
        self.shape.idle = Duration::ZERO;
        self.balance(now);
    }

    /// Tunnels that can carry streams, and how many of them nobody has used.
    pub(super) fn count(&self) -> (usize, usize) {
        let ready = self.members.values().filter_map(Entry::ready);
        ready.fold((0, 0), |(all, spare), ready| {
            (all + 1, spare + usize::from(ready.is_spare()))
        })
    }

    /// Tries again now, whatever failed before.
    pub(super) fn retry_now(&mut self, now: Instant) {
        self.settle();
        self.breaker.retry_now(now);
        self.spares_from = None;
        self.spare_pause = FIRST_PAUSE;
        self.balance(now);
    }

    /// Whether a connection waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a tunnel is ready and was never used.
    pub(super) fn is_spare(&self, id: TunnelId) -> bool {
        let ready = self.members.get(&id).and_then(Entry::ready);
        ready.is_some_and(Ready::is_spare)
    }

    /// What the owner of the tunnels shall do.
    pub(super) fn poll_action(&mut self) -> Option<Action<E>> {
        self.settle();
        self.actions.pop_front()
    }

    /// When [`Pool::handle_timeout`] has something to do. A time in the past means at once; after
    /// [`Pool::handle_timeout`] it is in the future.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        // The handler consumes these, so one in the past is due.
        let late = self.waiting.front().map(|waiter| waiter.deadline);
        let opening = self
            .breaker
            .next_probe_at()
            .filter(|_| self.waits_for_breaker);
        let consumed = late.into_iter().chain(self.spares_from).chain(opening);
        // These only mark when an answer changes. The last balance has seen those up to its time.
        let ages = self.ready();
        let ages = ages.flat_map(|(_, ready)| ready.changes(&self.shape));
        let doubts = self.members.values().filter_map(Entry::unreliable_after);
        let changes = ages.chain(doubts);
        let changes = changes.filter(|at| self.balanced_at.is_none_or(|seen| *at > seen));
        consumed.chain(changes).min()
    }

    /// Does what follows from the events that only were noted. A balance costs as much as there are
    /// tunnels, so one is made for all events that came together.
    pub(super) fn settle(&mut self) {
        if let Some(now) = self.unbalanced.take() {
            self.balance(now);
        }
    }

    fn postpone_spares(&mut self, now: Instant) {
        let has_none = self.shape.spares == 0 && !self.shape.reuse;
        // What fails meanwhile began before, and is the same failure.
        if has_none || self.spares_from.is_some() {
            return;
        }
        let pause = self.spare_pause;
        self.spares_from = Some(now + pause.mul_f64(0.5 + self.chance.f64() / 2.0));
        self.spare_pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// A connection that wants a place.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: WaiterId,
    deadline: Instant,
}

/// How long to wait before another spare is started after one failed or did not live.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A spare that lived so long did not fail at the start.
const HEALTHY: Duration = Duration::from_secs(60);

/// By how much the lifetimes of spares differ, as a part of `max_age`.
const LIFETIME_SPREAD: f64 = 0.2;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests;
