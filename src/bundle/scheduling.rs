//! Decides which record is sent next, and on which stripe.
//!
//! Order of records: those to be sent again, control records, data of interactive flows, data of
//! others. The stripe is the one with the shortest expected time to deliver the record, of those
//! that have room. While interactive flows are active and there are several stripes, one of them is
//! left to them, so that they do not queue behind bulk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Bundle;
use super::flow::FlowState;
use super::ids::{FlowId, StripeId};
use super::record::{HEADER, Record};
use super::stripe::Stripe;

/// Flows with something to send. Each is at most once in `control`, and once in `interactive` or
/// `bulk`.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) control: VecDeque<FlowId>,
    interactive: VecDeque<FlowId>,
    bulk: VecDeque<FlowId>,
    /// Records of interactive flows since the last one of another.
    in_a_row: u32,
    /// When an interactive flow sent last.
    interactive_at: Option<Instant>,
    /// True if the last attempt to send failed because all stripes were full.
    is_blocked: bool,
}

/// The next record to send.
#[derive(Clone, Copy, Debug)]
enum Next {
    Resend(u64, usize),
    Control(FlowId),
    Interactive(FlowId),
    Bulk(FlowId),
}

impl Queues {
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes a flow that has ended.
    pub(super) fn remove(&mut self, id: FlowId, is_queued: bool) {
        for queue in [&mut self.control, &mut self.interactive, &mut self.bulk] {
            if is_queued {
                queue.retain(|queued| *queued != id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.control.len() + self.interactive.len() + self.bulk.len()
    }
}

impl Bundle {
    /// Puts a flow with data in a queue, unless it is in one.
    pub(super) fn queue_data(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.has_data() && !flow.is_data_queued {
            flow.is_data_queued = true;
            self.queues.interactive.push_back(id);
        }
    }

    /// Assigns records to stripes while there is something to send and room for it.
    pub(super) fn schedule(&mut self, now: Instant) {
        for stripe in self.stripes.values_mut() {
            stripe.path.update(now);
        }
        self.queues.is_blocked = false;
        while let Some(next) = self.next_record(now) {
            let Some(stripe) = self.choose_stripe(now, next) else {
                self.queues.is_blocked = true;
                return;
            };
            self.assign(now, next, stripe);
        }
    }

    fn next_record(&mut self, now: Instant) -> Option<Next> {
        if let Some((number, len)) = self.ledger.next_resend() {
            return Some(Next::Resend(number, len));
        }
        if !self.ledger.has_room() {
            return None;
        }
        while let Some(id) = self.queues.control.front().copied() {
            if self.flows.get(&id).is_some_and(|flow| flow.has_control()) {
                return Some(Next::Control(id));
            }
            self.queues.control.pop_front();
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.is_control_queued = false;
            }
        }
        self.sort_interactive(now);
        let bulk = self.first_with_data();
        let is_bulk_due = self.queues.in_a_row >= MAX_IN_A_ROW;
        match (self.queues.interactive.front(), bulk) {
            (Some(_), Some(bulk)) if is_bulk_due => Some(Next::Bulk(bulk)),
            (Some(id), _) => Some(Next::Interactive(*id)),
            (None, bulk) => bulk.map(Next::Bulk),
        }
    }

    /// Moves flows at the front of `interactive` that have sent much to `bulk`, and drops those
    /// that have nothing to send.
    fn sort_interactive(&mut self, now: Instant) {
        while let Some(id) = self.queues.interactive.front().copied() {
            let flow = self.flows.get_mut(&id);
            let flow = flow.filter(|flow| flow.is_data_queued && flow.state == FlowState::Open);
            match flow {
                Some(flow) if !flow.has_data() => flow.is_data_queued = false,
                Some(flow) if flow.activity.is_low(now) => return,
                Some(_) => self.queues.bulk.push_back(id),
                None => {}
            }
            self.queues.interactive.pop_front();
        }
    }

    /// Returns the first flow of `bulk`, and drops those before it that have nothing to send.
    fn first_with_data(&mut self) -> Option<FlowId> {
        while let Some(id) = self.queues.bulk.front().copied() {
            match self.flows.get_mut(&id) {
                Some(flow) if flow.has_data() => return Some(id),
                Some(flow) => flow.is_data_queued = false,
                None => {}
            }
            self.queues.bulk.pop_front();
        }
        None
    }

    /// Returns the stripe for a record, or `None` if it must wait.
    fn choose_stripe(&self, now: Instant, next: Next) -> Option<StripeId> {
        let len = self.len_of(next) as u64;
        let reserved = match next {
            Next::Bulk(_) => self.reserved_stripe(now),
            Next::Resend(..) | Next::Control(_) | Next::Interactive(_) => None,
        };
        let usable = self.stripes.values().filter(|stripe| stripe.is_usable());
        let usable = usable.filter(|stripe| Some(stripe.id) != reserved);
        let time = |stripe: &Stripe| stripe.path.delivery_time(stripe.flight, len);
        let best = usable.clone().map(time).min()?;
        let fitting = usable.filter(|stripe| stripe.has_room(len));
        let (least, id) = fitting.map(|stripe| (time(stripe), stripe.id)).min()?;
        // A much slower stripe would deliver later than the best one after it has room again.
        (least <= best + MAX_DETOUR).then_some(id)
    }

    /// Returns the stripe that bulk must not use now.
    fn reserved_stripe(&self, now: Instant) -> Option<StripeId> {
        let active = self.queues.interactive_at?;
        if now.saturating_duration_since(active) > ACTIVE {
            return None;
        }
        let usable = self.stripes.values().filter(|stripe| stripe.is_usable());
        if usable.clone().count() < MIN_TO_RESERVE {
            return None;
        }
        // Small differences would make it another one each time.
        let trip = |stripe: &Stripe| stripe.path.delivery_time(0, 0).as_millis() / 8;
        let best = usable.map(|stripe| (trip(stripe), stripe.id)).min();
        best.map(|(_, id)| id)
    }

    fn len_of(&self, next: Next) -> usize {
        match next {
            Next::Resend(_, len) => len,
            Next::Control(_) => CONTROL_LEN,
            Next::Interactive(id) | Next::Bulk(id) => {
                let flow = self.flows.get(&id);
                HEADER + 8 + flow.map_or(0, |flow| flow.outbound.sendable())
            }
        }
    }

    fn assign(&mut self, now: Instant, next: Next, stripe: StripeId) {
        match next {
            Next::Resend(number, len) => {
                self.ledger.hold(number);
                self.push(stripe, number, len);
            }
            Next::Control(id) => {
                let flow = self.flows.get_mut(&id);
                if let Some(record) = flow.and_then(|flow| flow.next_control()) {
                    self.number(id, record, stripe);
                    self.handle_control_sent(id);
                }
            }
            Next::Interactive(id) => {
                self.queues.interactive.pop_front();
                self.queues.in_a_row += 1;
                self.queues.interactive_at = Some(now);
                self.send_data(now, id, stripe);
            }
            Next::Bulk(id) => {
                self.queues.bulk.pop_front();
                self.queues.in_a_row = 0;
                self.send_data(now, id, stripe);
            }
        }
    }

    fn send_data(&mut self, now: Instant, id: FlowId, stripe: StripeId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let record = flow.outbound.take();
        flow.activity.add(now, record.body_len());
        flow.is_data_queued = false;
        self.growth.handle_bytes(record.body_len());
        if std::mem::take(&mut flow.is_writer_waiting) {
            self.events.push_back(super::event::Event::Writable(id));
        }
        self.number(id, record, stripe);
        self.queue_data(id);
        self.queue_control(id);
    }

    fn number(&mut self, id: FlowId, record: Record, stripe: StripeId) {
        let len = HEADER + record.body_len();
        let number = self.ledger.add(id, record);
        self.push(stripe, number, len);
    }

    fn push(&mut self, stripe: StripeId, number: u64, len: usize) {
        if let Some(stripe) = self.stripes.get_mut(&stripe) {
            stripe.push(number, len);
        }
    }

    /// A control record of a flow was numbered: flows that end with it are removed.
    fn handle_control_sent(&mut self, id: FlowId) {
        let state = self.flows.get(&id).map(|flow| &flow.state);
        if let Some(FlowState::Failing(..) | FlowState::Resetting) = state {
            self.remove_flow(id);
        }
    }
}

/// After this many records of interactive flows, one of another is sent.
const MAX_IN_A_ROW: u32 = 8;

/// A stripe is used only if it is expected to deliver at most this much later than the best one,
/// even if the best one is full.
const MAX_DETOUR: Duration = Duration::from_secs(1);

/// How long a stripe is reserved after an interactive flow has sent.
const ACTIVE: Duration = Duration::from_secs(1);

/// With fewer stripes, none is reserved.
const MIN_TO_RESERVE: usize = 4;

/// Length of a control record, for the choice of the stripe.
const CONTROL_LEN: usize = 64;
