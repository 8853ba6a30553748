//! Stripes: how they are added and removed.

use std::time::Instant;

use super::event::{Event, StripeEnd};
use super::handshake::{Handshake, Hello, RefusalClass, VERSION, Welcome};
use super::ids::StripeId;
use super::limits::MAX_STRIPES;
use super::stripe::{Stripe, StripeState};
use super::{Bundle, Phase, Role};

impl Bundle {
    /// Adds a byte stream that was connected to the relay's port (daemon). Its first bytes are a
    /// HELLO. Returns `None` if the bundle has ended or has too many stripes.
    pub fn connect_stripe(&mut self, now: Instant) -> Option<StripeId> {
        let Role::Daemon(bundle) = self.role else {
            return None;
        };
        if !self.may_have_stripes() || self.stripes.len() >= MAX_STRIPES {
            return None;
        }
        let number = u32::try_from(self.next_stripe + 1).unwrap_or(u32::MAX);
        let hello = Hello {
            version: VERSION,
            features: self.options.features,
            bundle,
            stripe: if self.is_known { number } else { 0 },
            complete: self.received.complete(),
        };
        let head = Handshake::Hello(hello);
        Some(self.add_stripe(now, StripeState::Greeting, &head))
    }

    /// Adds a byte stream whose HELLO names this bundle (relay). Its first bytes are a WELCOME. The
    /// driver has read the HELLO, and has created the bundle if it did not exist and `hello.stripe`
    /// is 0.
    ///
    /// # Errors
    /// The stripe must be refused with this class; the bundle is not changed.
    pub fn accept_stripe(&mut self, now: Instant, hello: &Hello) -> Result<StripeId, RefusalClass> {
        if self.role != Role::Relay || !self.may_have_stripes() {
            return Err(RefusalClass::UnknownBundle);
        }
        if hello.version < VERSION {
            return Err(RefusalClass::Version);
        }
        if self.stripes.len() >= MAX_STRIPES {
            return Err(RefusalClass::TooManyStripes);
        }
        let offered = hello.features & self.options.features;
        let features = self.features.unwrap_or(offered);
        if features & !offered != 0 {
            return Err(RefusalClass::Other);
        }
        if self.handle_complete(hello.complete).is_err() {
            return Err(RefusalClass::Invalid);
        }
        self.features = Some(features);
        let head = Handshake::Welcome(Welcome {
            version: VERSION,
            features,
            complete: self.received.complete(),
        });
        let id = self.add_stripe(now, StripeState::Live, &head);
        self.handle_stripe_live(now);
        Ok(id)
    }

    fn may_have_stripes(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Closing(_) => true,
            Phase::Draining | Phase::Ended => false,
        }
    }

    fn add_stripe(&mut self, now: Instant, state: StripeState, head: &Handshake) -> StripeId {
        let id = StripeId(self.next_stripe);
        self.next_stripe += 1;
        let stripe = Stripe::new(id, state, head.encode(), now);
        self.stripes.insert(id, stripe);
        id
    }

    /// The byte stream of a stripe has ended, for whatever reason. No event follows.
    pub fn handle_stripe_lost(&mut self, now: Instant, id: StripeId) {
        self.last_bytes.remove(&id);
        let Some(stripe) = self.stripes.remove(&id) else {
            return;
        };
        for sent in stripe.records.iter().filter(|sent| sent.is_held) {
            self.ledger.release(sent.number);
        }
        if self.stripe_count() == 0 {
            self.alone_since.get_or_insert(now);
        }
    }

    /// Removes a stripe that cannot be used further.
    pub(super) fn close_stripe(&mut self, now: Instant, id: StripeId, end: StripeEnd) {
        self.handle_stripe_lost(now, id);
        self.events.push_back(Event::StripeClosed(id, end));
    }

    /// A stripe has become live.
    pub(super) fn handle_stripe_live(&mut self, now: Instant) {
        self.alone_since = None;
        self.growth.handle_stripe_live(now);
        self.drain_surplus();
    }

    /// Stops using stripes that are not needed (daemon).
    pub(super) fn drain_surplus(&mut self) {
        if self.role == Role::Relay {
            return;
        }
        let live = self.stripes.values_mut();
        let live = live.filter(|stripe| stripe.state == StripeState::Live);
        for stripe in live.skip(self.growth.wanted()) {
            stripe.state = StripeState::Draining;
        }
    }

    /// The peer sends nothing more on a stripe.
    pub(super) fn handle_stripe_goodbye(&mut self, now: Instant, id: StripeId) {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        stripe.has_peer_left = true;
        if stripe.state == StripeState::Live {
            stripe.state = StripeState::Draining;
        }
        self.update_leaving(now, id);
    }

    /// Says GOODBYE on a stripe that is drained, and removes it when both ends have said it.
    pub(super) fn update_leaving(&mut self, now: Instant, id: StripeId) {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        if stripe.state == StripeState::Draining && stripe.records.is_empty() {
            stripe.state = StripeState::Leaving;
            stripe.is_goodbye_due = true;
        }
        let has_left = stripe.state == StripeState::Leaving && !stripe.is_goodbye_due;
        if has_left && stripe.has_peer_left {
            self.close_stripe(now, id, StripeEnd::Unneeded);
        }
    }

    /// Sends the records of a silent stripe again on others.
    pub(super) fn suspect(&mut self, id: StripeId) {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        for number in stripe.give_up() {
            self.ledger.release(number);
        }
    }
}
