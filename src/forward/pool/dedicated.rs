//! Balance of a pool of dedicated tunnels: each is started for a certain connection, because only
//! that connection has its destination, and ends with it.
//!
//! The rest is as in every pool: deadlines, the circuit breaker, and a call that is not cancelled
//! although its connection has left.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::action::{Action, Priority, RejectReason, TunnelId, WaiterId};
use super::{Pool, Waiter};
use crate::session::Decision;

impl<E: Clone> Pool<E> {
    /// Gives each connection its tunnel, starts missing tunnels, and ends those whose connection
    /// has left.
    pub(super) fn balance_dedicated(&mut self, now: Instant) {
        self.forget_owners();
        self.give_dedicated(now);
        self.start_dedicated(now);
        self.end_dedicated();
    }

    /// A start failed. Refuses the connection that it was for; if `is_of_all`, also all others
    /// whose StartSession was not called yet.
    pub(super) fn refuse_dedicated(&mut self, id: TunnelId, error: &E, is_of_all: bool) {
        let owner = self.owners.remove(&id);
        self.forget_owners();
        let kept: BTreeSet<WaiterId> = self.owners.values().copied().collect();
        let is_refused =
            |waiter: &Waiter| Some(waiter.id) == owner || is_of_all && !kept.contains(&waiter.id);
        let (refused, waiting) = self.waiting.drain(..).partition(is_refused);
        self.waiting = waiting;
        self.refuse_all(refused, error);
    }

    fn refuse_all(&mut self, waiters: VecDeque<Waiter>, error: &E) {
        for waiter in waiters {
            self.refuse(waiter, RejectReason::Failed(error.clone()));
        }
    }

    /// Keeps only pairs of a connection that waits and a tunnel that exists.
    fn forget_owners(&mut self) {
        let (entries, deadlines) = (&self.entries, &self.deadlines);
        self.owners.retain(|tunnel, waiter| {
            entries.contains_key(tunnel) && deadlines.contains_key(waiter)
        });
    }

    fn give_dedicated(&mut self, now: Instant) {
        let owners: Vec<_> = self
            .owners
            .iter()
            .map(|(id, owner)| (*id, *owner))
            .collect();
        for (id, waiter) in owners {
            let Some(ready) = self
                .entries
                .get_mut(&id)
                .and_then(|entry| entry.ready_mut())
            else {
                continue;
            };
            if !ready.can_serve(now, &self.mode) {
                // Its websocket broke: another one is faster than a resume.
                self.entries.remove(&id);
                self.owners.remove(&id);
                self.actions.push_back(Action::Close(id));
                continue;
            }
            ready.take_slot();
            self.owners.remove(&id);
            self.take_waiting(waiter);
            self.actions
                .push_back(Action::Assign { waiter, tunnel: id });
        }
    }

    fn start_dedicated(&mut self, now: Instant) {
        let owners: BTreeSet<WaiterId> = self.owners.values().copied().collect();
        let without = self.waiting.iter().map(|waiter| waiter.id);
        let without: Vec<_> = without.filter(|id| !owners.contains(id)).collect();
        for waiter in without {
            let is_probe = match self.breaker.check(now) {
                Decision::Allow => false,
                Decision::Probe => true,
                Decision::Reject(error) => {
                    if let Some(waiter) = self.take_waiting(waiter) {
                        self.refuse(waiter, RejectReason::Failed(error));
                    }
                    continue;
                }
                Decision::Wait => return self.waits_for_breaker = true,
            };
            let tunnel = self.next;
            self.owners.insert(tunnel, waiter);
            self.start(Priority::Waiter, is_probe);
        }
    }

    /// Ends the tunnels that no connection waits for or uses. A call in progress is ended when it
    /// has a session.
    fn end_dedicated(&mut self) {
        let mut over = Vec::new();
        for (id, entry) in &mut self.entries {
            if self.owners.contains_key(id) {
                continue;
            }
            entry.mark_unwanted();
            let is_unused = entry.ready().is_some_and(|ready| ready.is_empty());
            if entry.is_queued() || entry.is_abandoned() || is_unused {
                over.push(*id);
            }
        }
        for id in over {
            let Some(entry) = self.entries.remove(&id) else {
                continue;
            };
            if entry.is_probe() {
                self.breaker.handle_inconclusive_probe();
            }
            self.actions.push_back(match entry.is_queued() {
                true => Action::Cancel(id),
                false => Action::Close(id),
            });
        }
    }
}
