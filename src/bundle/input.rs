//! What arrives on stripes.

use std::time::Instant;

use super::error::{FlowError, ProtocolError};
use super::event::{End, Event, StripeEnd};
use super::flow::{Flow, FlowState, OutboundEnd};
use super::handshake::{Handshake, RefusalClass, VERSION, Welcome};
use super::ids::{FlowId, StripeId};
use super::ledger::Kept;
use super::limits::{MAX_FLOWS, MAX_KNOWN_FLOWS, RECORD_WINDOW};
use super::record::{Ack, Destination, FailureClass, Frame, GoodbyeClass, HEADER, Record};
use super::stripe::{Ping, StripeState};
use super::{Bundle, Phase, Role};

impl Bundle {
    /// Handles bytes that a stripe received. Unknown stripes are ignored, so that bytes may arrive
    /// after a stripe was removed.
    pub fn handle_bytes(&mut self, now: Instant, id: StripeId, mut input: &[u8]) {
        let Some(stripe) = self.stripes.get_mut(&id).filter(|_| !input.is_empty()) else {
            return;
        };
        stripe.handle_sign_of_life(now);
        if stripe.state == StripeState::Greeting && !self.handle_greeting(now, id, &mut input) {
            return;
        }
        while let Some(stripe) = self.stripes.get_mut(&id) {
            let frame = match stripe.decoder.decode(&mut input) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return self.fail(error.into()),
            };
            if let Err(error) = self.handle_frame(now, id, frame) {
                return self.fail(error);
            }
        }
        if let Some(stripe) = self.stripes.get_mut(&id) {
            stripe.settle();
        }
    }

    /// Handles the answer to HELLO. Returns true if records may follow.
    fn handle_greeting(&mut self, now: Instant, id: StripeId, input: &mut &[u8]) -> bool {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return false;
        };
        match stripe.greeting.decode(input) {
            Ok(None) => return false,
            Ok(Some(Handshake::Welcome(welcome))) => return self.handle_welcome(now, id, &welcome),
            Ok(Some(Handshake::Refused(
                RefusalClass::UnknownBundle | RefusalClass::Invalid,
                text,
            ))) if self.is_known => self.end(End::Forgotten(text)),
            Ok(Some(Handshake::Refused(class, text))) => {
                self.close_stripe(now, id, StripeEnd::Refused(class, text));
            }
            Ok(Some(Handshake::Hello(_))) => {
                let error = super::error::HandshakeError::Unexpected;
                self.close_stripe(now, id, error.into());
            }
            Err(error) => self.close_stripe(now, id, error.into()),
        }
        false
    }

    fn handle_welcome(&mut self, now: Instant, id: StripeId, welcome: &Welcome) -> bool {
        if welcome.version != VERSION {
            self.close_stripe(now, id, StripeEnd::Version(welcome.version));
            return false;
        }
        let features = self.features.unwrap_or(welcome.features);
        if welcome.features != features || features & !self.options.features != 0 {
            self.close_stripe(now, id, StripeEnd::Features(welcome.features));
            return false;
        }
        self.features = Some(features);
        if let Err(error) = self.handle_complete(welcome.complete) {
            self.fail(error);
            return false;
        }
        self.is_known = true;
        if let Some(stripe) = self.stripes.get_mut(&id) {
            stripe.state = StripeState::Live;
        }
        self.handle_stripe_live(now);
        true
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        id: StripeId,
        frame: Frame,
    ) -> Result<(), ProtocolError> {
        if frame.number == 0 {
            return self.handle_stripe_record(now, id, frame.record);
        }
        if let Some(stripe) = self.stripes.get_mut(&id) {
            stripe.received += 1;
            stripe.owed.add(now, HEADER + frame.record.body_len());
        }
        let complete = self.received.complete();
        let number = frame.number;
        if number > complete + RECORD_WINDOW {
            return Err(ProtocolError::Number { number, complete });
        }
        if !self.received.insert(number) {
            return Ok(());
        }
        self.handle_flow_record(now, frame.flow, frame.record)
    }

    fn handle_stripe_record(
        &mut self,
        now: Instant,
        id: StripeId,
        record: Record,
    ) -> Result<(), ProtocolError> {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return Ok(());
        };
        match record {
            Record::Ack(ack) => self.handle_ack(now, id, ack)?,
            Record::Ping(value) => stripe.pong = Some(value),
            Record::Pong(value) => {
                let answered = |ping: &mut Ping| ping.value == value && ping.sent_at.is_some();
                let ping = stripe.ping.take_if(answered);
                if let Some(sent_at) = ping.and_then(|ping| ping.sent_at) {
                    let trip = now.saturating_duration_since(sent_at);
                    stripe.path.handle_round_trip(now, trip);
                }
            }
            Record::Goodbye(GoodbyeClass::Stripe, _) => self.handle_stripe_goodbye(now, id),
            Record::Goodbye(GoodbyeClass::Bundle, _) => self.handle_goodbye(now),
            Record::Goodbye(GoodbyeClass::Error, text) => self.end(End::ErrorAtPeer(text)),
            Record::Open(..)
            | Record::Opened(_)
            | Record::Failed(..)
            | Record::Data { .. }
            | Record::Fin(_)
            | Record::Reset
            | Record::Credit(_) => return Err(ProtocolError::Unexpected(record.name())),
        }
        Ok(())
    }

    fn handle_ack(&mut self, now: Instant, id: StripeId, ack: Ack) -> Result<(), ProtocolError> {
        self.handle_complete(ack.complete)?;
        if ack.is_saturated {
            self.growth.handle_peer_saturated(now);
        }
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return Ok(());
        };
        let known = stripe.acknowledged;
        let new = ack.count.checked_sub(known);
        let sent = stripe.sent as u64;
        let new = new.filter(|new| *new <= sent);
        let new = new.ok_or(ProtocolError::Ack(ack.count))?;
        let (mut bytes, mut last) = (0, None);
        for _ in 0..new {
            let stripe = self.stripes.get_mut(&id);
            let Some(sent) = stripe.and_then(|stripe| stripe.acknowledge_first(now)) else {
                break;
            };
            bytes += sent.len;
            last = sent.mark;
            self.acknowledge(sent.number);
        }
        if let (Some(stripe), Some(mark)) = (self.stripes.get_mut(&id), last) {
            stripe.path.handle_delivered(now, bytes, mark);
        }
        Ok(())
    }

    /// The peer has received all records up to a number.
    pub(super) fn handle_complete(&mut self, complete: u64) -> Result<(), ProtocolError> {
        if complete > self.ledger.last() {
            return Err(ProtocolError::Ack(complete));
        }
        while let Some(number) = self.ledger.first_up_to(complete) {
            self.acknowledge(number);
        }
        Ok(())
    }

    fn acknowledge(&mut self, number: u64) {
        let Some(Kept {
            flow: id, record, ..
        }) = self.ledger.acknowledge(number)
        else {
            return;
        };
        let Record::Fin(_) = record else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.outbound.end = OutboundEnd::Acknowledged;
            self.remove_if_done(id);
        }
    }

    fn handle_flow_record(
        &mut self,
        now: Instant,
        id: FlowId,
        record: Record,
    ) -> Result<(), ProtocolError> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if self.role == Role::Relay {
            if let Record::Open(destination, credit) = record {
                return self.handle_open(now, id, destination, credit);
            }
            if let Record::Opened(_) | Record::Failed(..) = record {
                return Err(ProtocolError::Unexpected(record.name()));
            }
            if record == Record::Reset && self.learn_flow(id)? {
                return Ok(());
            }
        }
        if !self.known_flows.contains(u64::from(id.0)) {
            let record = record.name();
            return Err(ProtocolError::UnknownFlow { flow: id, record });
        }
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.is_visible()) else {
            return Ok(());
        };
        let is_data = matches!(record, Record::Data { .. });
        let before = flow.inbound.fragments();
        let result = flow.handle(&record);
        self.fragments = self.fragments + flow.inbound.fragments() - before;
        let was_opening = result.map_err(|error| ProtocolError::Flow { flow: id, error })?;
        if was_opening {
            self.events.push_back(Event::Opened(id));
        }
        if is_data {
            self.growth.handle_bytes(record.body_len());
        }
        if self.fragments as u64 > RECORD_WINDOW {
            return Err(ProtocolError::TooManyFragments);
        }
        self.handle_flow_changed(id, record);
        Ok(())
    }

    /// Queues what a record of a flow makes possible.
    fn handle_flow_changed(&mut self, id: FlowId, record: Record) {
        match record {
            Record::Reset => self.end_flow(id, Event::Reset(id)),
            Record::Failed(class, text) => self.end_flow(id, Event::Failed(id, class, text)),
            Record::Open(..)
            | Record::Opened(_)
            | Record::Data { .. }
            | Record::Fin(_)
            | Record::Credit(_)
            | Record::Ack(_)
            | Record::Ping(_)
            | Record::Pong(_)
            | Record::Goodbye(..) => {
                self.queue_data(id);
                self.queue_control(id);
                self.wake_reader(id);
            }
        }
    }

    /// Adds a flow to the known ones. Returns true if it was unknown.
    fn learn_flow(&mut self, id: FlowId) -> Result<bool, ProtocolError> {
        let (number, complete) = (u64::from(id.0), self.known_flows.complete());
        if number > complete + RECORD_WINDOW {
            return Err(ProtocolError::Number { number, complete });
        }
        Ok(self.known_flows.insert(number))
    }

    fn handle_open(
        &mut self,
        now: Instant,
        id: FlowId,
        destination: Destination,
        credit: u32,
    ) -> Result<(), ProtocolError> {
        // A RESET may arrive before the OPEN.
        if !self.learn_flow(id)? {
            return Ok(());
        }
        if self.flows.len() >= MAX_KNOWN_FLOWS {
            return Err(ProtocolError::TooManyFlows);
        }
        let flow = Flow::new(
            FlowState::Dialling,
            self.credit.open(now),
            u64::from(credit),
            now,
        );
        self.flows.insert(id, flow);
        if self.flows.len() > MAX_FLOWS {
            let text = "too many connections through this relay".into();
            self.handle_dial_failed(id, FailureClass::Limit, text);
            return Ok(());
        }
        self.events.push_back(Event::Open(id, destination));
        Ok(())
    }
}

impl Flow {
    /// Handles a record. Returns true if it opened the flow.
    fn handle(&mut self, record: &Record) -> Result<bool, FlowError> {
        let is_opening = matches!(self.state, FlowState::Opening(_));
        if self.state == FlowState::Dialling && *record != Record::Reset {
            return Err(FlowError::Unexpected(record.name()));
        }
        match record {
            Record::Opened(credit) => self.outbound.raise_limit(u64::from(*credit)),
            Record::Data { offset, bytes } => self.inbound.insert(*offset, bytes.clone())?,
            Record::Fin(end) => self.inbound.finish(*end)?,
            Record::Credit(limit) => self.outbound.raise_limit(*limit),
            Record::Failed(..) if is_opening => return Ok(false),
            Record::Reset => return Ok(false),
            Record::Open(..)
            | Record::Failed(..)
            | Record::Ack(_)
            | Record::Ping(_)
            | Record::Pong(_)
            | Record::Goodbye(..) => return Err(FlowError::Unexpected(record.name())),
        }
        if is_opening {
            self.state = FlowState::Open;
        }
        Ok(is_opening)
    }
}
