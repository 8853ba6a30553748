//! The bytes that are sent on a stripe.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::Bundle;
use super::ids::{FlowId, StripeId};
use super::record::{Ack, GoodbyeClass, Record, encode};
use super::stripe::{OwedAck, StripeState};
use crate::printable::Printable;

impl Bundle {
    /// Returns the next bytes for a stripe, about 16 KiB at most. Called when its byte stream has
    /// taken all bytes before. May cause events. After [`super::event::Event::StripeClosed`] it
    /// returns the last bytes, if there are any.
    pub fn poll_transmit(&mut self, now: Instant, id: StripeId) -> Option<Bytes> {
        if let Some(bytes) = self.last_bytes.remove(&id) {
            return Some(bytes);
        }
        self.schedule(now);
        self.update_growth(now);
        let stripe = self.stripes.get_mut(&id)?;
        if let Some(head) = stripe.head.take() {
            return Some(head);
        }
        if stripe.state == StripeState::Greeting {
            return None;
        }
        let mut out = BytesMut::new();
        self.put_unnumbered(now, id, &mut out);
        self.put_records(now, id, &mut out);
        self.put_goodbye(now, id, &mut out);
        self.update_closing(now);
        (!out.is_empty()).then(|| out.freeze())
    }

    /// Appends ACK, PING and PONG if they are due. An ACK that is not due goes along with records.
    fn put_unnumbered(&mut self, now: Instant, id: StripeId, out: &mut BytesMut) {
        let complete = self.received.complete();
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        let goes_along = stripe.owed.is_owed() && stripe.next_number().is_some();
        if stripe.owed.is_due(now) || goes_along {
            stripe.owed = OwedAck::default();
            let ack = Ack {
                count: stripe.received,
                complete,
                is_saturated: self.growth.take_report(),
            };
            put(Record::Ack(ack), out);
        }
        if let Some(value) = stripe.pong.take() {
            put(Record::Pong(value), out);
        }
        let unsent = stripe.ping.as_mut().filter(|ping| ping.sent_at.is_none());
        if let Some(ping) = unsent {
            ping.sent_at = Some(now);
            put(Record::Ping(ping.value), out);
            stripe.waiting_since.get_or_insert(now);
        }
    }

    /// Appends the records that were assigned to the stripe.
    fn put_records(&mut self, now: Instant, id: StripeId, out: &mut BytesMut) {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        while let Some(number) = stripe.next_number() {
            let Some(kept) = self.ledger.get(number) else {
                stripe.skip_next();
                continue;
            };
            if !out.is_empty() && out.len() + kept.len() > TRANSMIT {
                return;
            }
            encode(kept.flow, number, &kept.record, out);
            stripe.send_next(now);
        }
    }

    fn put_goodbye(&mut self, now: Instant, id: StripeId, out: &mut BytesMut) {
        self.update_leaving(now, id);
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut stripe.is_goodbye_due) {
            put(
                Record::Goodbye(GoodbyeClass::Stripe, Printable::default()),
                out,
            );
            self.update_leaving(now, id);
        }
    }
}

fn put(record: Record, out: &mut BytesMut) {
    encode(FlowId::NONE, 0, &record, out);
}

/// Maximum number of bytes of one transmission: the longest record and what goes along with it.
const TRANSMIT: usize = 16 * 1024 + 128;
