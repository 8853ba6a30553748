//! The tunnel of a session that another program has started: the first one of its pool.
//!
//! It is kept between connections, because the session cannot be had again. Connections share it
//! if nothing else can serve them.

use std::time::{Duration, Instant};

use super::action::{Action, TunnelId};
use super::{Pool, PoolEntry, PoolMode};

/// What the first tunnel of a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandedOverRole {
    /// It is like every other one.
    #[default]
    None,
    /// It was handed over. It has as many slots as others, but more while no session can be
    /// started.
    Preferred,
    /// It was handed over, and no other one can be started.
    Only,
}

impl TunnelId {
    /// The id of the first tunnel.
    pub(in crate::forward) const FIRST: Self = Self(1);
}

impl<E: Clone> Pool<E> {
    /// Sets what the first tunnel is.
    pub(in crate::forward) fn with_handed_over(self, handed_over: HandedOverRole) -> Self {
        Self {
            handed_over,
            ..self
        }
    }

    /// Returns how many connections have shared the tunnel that was handed over, because no session
    /// could be started for them.
    pub(in crate::forward) fn crowded(&self) -> u64 {
        self.crowded
    }

    pub(super) fn is_handed_over(&self, id: TunnelId) -> bool {
        self.handed_over != HandedOverRole::None && id == TunnelId::FIRST
    }

    /// Returns the parameters of a tunnel.
    pub(super) fn mode_of(&self, id: TunnelId) -> PoolMode {
        if !self.is_handed_over(id) {
            return self.mode;
        }
        PoolMode {
            reuse: true,
            max_age: self.mode.max_age.filter(|_| self.mode.reuse),
            idle: match self.draining {
                true => Duration::ZERO,
                false => KEPT,
            },
            ..self.mode
        }
    }

    /// Returns true if it is the only tunnel there will be.
    pub(super) fn is_only(&self, id: TunnelId) -> bool {
        self.handed_over == HandedOverRole::Only && id == TunnelId::FIRST && !self.draining
    }

    /// Returns true if no tunnel can be started: there is one, and it must be the only one.
    pub(super) fn starts_none(&self) -> bool {
        self.handed_over == HandedOverRole::Only && !self.entries.is_empty()
    }

    /// Gives connections that no pending tunnel covers, at most `most`, the tunnel that was handed
    /// over, whatever connections it has.
    pub(super) fn crowd(&mut self, now: Instant, most: usize) {
        if self.handed_over != HandedOverRole::Preferred {
            return;
        }
        let crowded = PoolMode {
            slots: usize::MAX,
            ..self.mode_of(TunnelId::FIRST)
        };
        let without = self.waiting.len().saturating_sub(self.pending_slots(now));
        for _ in 0..without.min(most) {
            let entry = self.entries.get_mut(&TunnelId::FIRST);
            let ready = entry.and_then(PoolEntry::ready_mut);
            let Some(ready) = ready.filter(|ready| ready.can_serve(now, &crowded)) else {
                return;
            };
            let Some(waiter) = self.waiting.pop_front() else {
                return;
            };
            ready.take_slot();
            self.crowded += 1;
            self.deadlines.remove(&waiter.id);
            self.actions.push_back(Action::Assign {
                waiter: waiter.id,
                tunnel: TunnelId::FIRST,
            });
        }
    }

    /// Returns true if the tunnel that was handed over will serve the connections once its
    /// websocket was replaced.
    pub(super) fn awaits_resume(&self) -> bool {
        let first = self.entries.get(&TunnelId::FIRST);
        let first = first.filter(|_| self.handed_over == HandedOverRole::Preferred);
        first.is_some_and(|entry| {
            let ready = entry.ready();
            ready.is_some_and(|ready| ready.is_disconnected && !ready.is_unusable())
        })
    }
}

/// How long a session that was handed over is kept without a connection: longer than Session
/// Manager keeps any session.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
