//! The end of a bundle.

use std::time::Instant;

use super::error::ProtocolError;
use super::event::{End, Event, StripeEnd};
use super::flow::OutboundEnd;
use super::ids::FlowId;
use super::limits::CLOSE_TIMEOUT;
use super::record::{GoodbyeClass, Record, encode};
use super::stripe::Stripe;
use super::{Bundle, Phase, Role};
use crate::printable::Printable;

impl Bundle {
    /// Closes the bundle: resets its flows without an event, waits until the peer has received
    /// everything, at most five seconds, and ends with [`Event::Ended`]. A relay does not wait for
    /// a daemon without stripes, which would have to return: what it keeps is released.
    pub fn close(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            self.reset(id);
        }
        self.phase = Phase::Closing(now + CLOSE_TIMEOUT);
        self.update_closing(now);
    }

    /// Ends a bundle that is being closed if nothing is pending, or if it is time.
    pub(super) fn update_closing(&mut self, now: Instant) {
        let Phase::Closing(deadline) = self.phase else {
            return;
        };
        let is_complete = self.flows.is_empty() && self.ledger.is_empty();
        let is_alone = self.role == Role::Relay && self.stripes.is_empty();
        if now >= deadline || is_complete || is_alone {
            self.say_goodbye(GoodbyeClass::Bundle, &Printable::default());
            self.end(End::Closed);
        }
    }

    /// The peer has ended the bundle, and this end has received everything. Flows whose bytes are
    /// complete are read to their end; others are reset.
    pub(super) fn handle_goodbye(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return self.end(End::ClosedByPeer);
        }
        self.phase = Phase::Draining;
        self.alone_since.get_or_insert(now);
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            match self.flows.get_mut(&id) {
                Some(flow) if flow.is_visible() && flow.inbound.is_complete() => {
                    flow.outbound.queue.clear();
                    flow.outbound.end = OutboundEnd::Acknowledged;
                    self.remove_if_done(id);
                }
                Some(_) | None => self.end_flow(id, Event::Reset(id)),
            }
        }
        self.queues.clear();
        self.close_stripes();
        self.update_draining();
    }

    /// Ends a bundle that the peer has closed, when no flow is left.
    pub(super) fn update_draining(&mut self) {
        if self.phase == Phase::Draining && self.flows.is_empty() {
            self.end(End::ClosedByPeer);
        }
    }

    /// Ends the bundle because the peer violated the protocol.
    pub(super) fn fail(&mut self, error: ProtocolError) {
        self.say_goodbye(GoodbyeClass::Error, &Printable::of(&error));
        self.end(End::Protocol(error));
    }

    /// Prepares the last bytes of each stripe.
    fn say_goodbye(&mut self, class: GoodbyeClass, text: &Printable) {
        let mut bytes = bytes::BytesMut::new();
        let record = Record::Goodbye(class, text.clone());
        encode(FlowId::NONE, 0, &record, &mut bytes);
        let bytes = bytes.freeze();
        let greeted = self.stripes.values().filter(|stripe| stripe.is_greeted());
        self.last_bytes = greeted.map(|stripe| (stripe.id, bytes.clone())).collect();
    }

    /// Ends the bundle: all flows are reset, all stripes are removed.
    pub(super) fn end(&mut self, end: End) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        let ids: Vec<FlowId> = self.flows.keys().copied().collect();
        for id in ids {
            self.end_flow(id, Event::Reset(id));
        }
        self.queues.clear();
        self.close_stripes();
        self.ledger = super::Ledger::default();
        self.events.push_back(Event::Ended(end));
    }

    fn close_stripes(&mut self) {
        for (id, _) in std::mem::take(&mut self.stripes) {
            let event = Event::StripeClosed(id, StripeEnd::Unneeded);
            self.events.push_back(event);
        }
    }
}

impl Stripe {
    /// Returns true if records may be sent, after the first bytes.
    fn is_greeted(&self) -> bool {
        self.state != super::stripe::StripeState::Greeting && self.head.is_none()
    }
}
