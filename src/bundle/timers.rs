//! Deadlines of a bundle.

use std::time::{Duration, Instant};

use super::event::{End, StripeEnd};
use super::ids::StripeId;
use super::limits::{IDLE_PING_AFTER, PING_AFTER};
use super::stripe::{Ping, Stripe, StripeState};
use super::{Bundle, Phase, Role};

impl Bundle {
    /// Returns when [`Bundle::handle_timeout`] must be called. A time in the past is due now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (after, can_suspect) = (self.ping_after(), self.can_suspect());
        let stripes = self.stripes.values();
        let stripes = stripes.filter_map(|stripe| deadline(stripe, after, can_suspect));
        let closing = match self.phase {
            Phase::Closing(at) => Some(at),
            Phase::Open | Phase::Draining | Phase::Ended => None,
        };
        let others = [closing, self.lost_at(), self.growth_deadline()];
        stripes.chain(others.into_iter().flatten()).min()
    }

    /// Handles the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.lost_at().is_some_and(|at| at <= now) {
            return self.end(End::Lost);
        }
        let ids: Vec<StripeId> = self.stripes.keys().copied().collect();
        for id in ids {
            self.handle_stripe_timeout(now, id);
        }
        self.schedule(now);
        self.update_growth(now);
        self.update_closing(now);
    }

    fn handle_stripe_timeout(&mut self, now: Instant, id: StripeId) {
        let (after, can_suspect) = (self.ping_after(), self.can_suspect());
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(stripe.death()) {
            let end = match stripe.state {
                StripeState::Greeting => StripeEnd::NoWelcome,
                StripeState::Live | StripeState::Draining | StripeState::Leaving => {
                    StripeEnd::Silent
                }
            };
            return self.close_stripe(now, id, end);
        }
        if is_due(stripe.owed.deadline()) {
            stripe.owed.hasten();
        }
        if is_due(stripe.next_ping(after)) {
            self.pings += 1;
            stripe.ping = Some(Ping {
                value: self.pings,
                sent_at: None,
            });
            // A byte stream that takes no bytes is silent too.
            stripe.waiting_since.get_or_insert(now);
        }
        if can_suspect && is_due(stripe.suspicion()) {
            self.suspect(id);
        }
    }

    /// Returns true if there is a stripe that can take over the records of another.
    fn can_suspect(&self) -> bool {
        let usable = self.stripes.values().filter(|stripe| stripe.is_usable());
        usable.count() > 1
    }

    fn ping_after(&self) -> Duration {
        match self.flows.is_empty() {
            true => IDLE_PING_AFTER,
            false => PING_AFTER,
        }
    }

    /// Returns when a bundle without stripes ends.
    fn lost_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => Some(self.alone_since? + self.options.keep),
            // A destination that takes nothing must not keep it. The daemon has a limit of its own.
            Phase::Draining if self.role == Role::Relay => {
                Some(self.alone_since? + self.options.keep)
            }
            Phase::Closing(_) | Phase::Draining | Phase::Ended => None,
        }
    }
}

fn deadline(stripe: &Stripe, ping_after: Duration, can_suspect: bool) -> Option<Instant> {
    let deadlines = [
        stripe.death(),
        stripe.owed.deadline(),
        stripe.next_ping(ping_after),
        stripe.suspicion().filter(|_| can_suspect),
    ];
    deadlines.into_iter().flatten().min()
}
