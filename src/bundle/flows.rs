//! Flows, as the driver sees them.

use std::time::{Duration, Instant};

use super::error::OpenError;
use super::event::{Event, Read};
use super::flow::{Flow, FlowState, OutboundEnd};
use super::ids::FlowId;
use super::limits::{MAX_FLOW_UNSENT, MAX_FLOWS, MAX_UNSENT};
use super::record::{Destination, FailureClass, is_host};
use super::{Bundle, Phase, Role};
use crate::printable::Printable;

impl Bundle {
    /// Opens a flow to a host and port; port 0 for a Unix socket (daemon).
    ///
    /// [`Event::Opened`], [`Event::Failed`] or [`Event::Reset`] follows. Bytes may be written
    /// before.
    ///
    /// # Errors
    /// The flow cannot be opened now.
    pub fn open(&mut self, now: Instant, host: &str, port: u16) -> Result<FlowId, OpenError> {
        if self.phase != Phase::Open || self.role == Role::Relay {
            return Err(OpenError::Ended);
        }
        if !is_host(host) {
            return Err(OpenError::Destination);
        }
        if self.flows.len() >= MAX_FLOWS {
            return Err(OpenError::TooManyFlows);
        }
        let id = u32::try_from(self.known_flows.complete() + 1);
        let id = FlowId(id.map_err(|_| OpenError::Exhausted)?);
        self.known_flows.insert(u64::from(id.0));
        let host = Printable::new(host);
        let state = FlowState::Opening(Some(Destination { host, port }));
        let flow = Flow::new(state, self.credit.open(now), 0, now);
        self.flows.insert(id, flow);
        self.queue_control(id);
        Ok(id)
    }

    /// The flow of an [`Event::Open`] is connected (relay).
    pub fn handle_dialled(&mut self, id: FlowId) {
        let Some(flow) = self.dialling(id) else {
            return;
        };
        flow.state = FlowState::Open;
        flow.is_opened_due = true;
        self.queue_control(id);
        self.queue_data(id);
    }

    /// The flow of an [`Event::Open`] could not be connected (relay). It has ended.
    pub fn handle_dial_failed(&mut self, id: FlowId, class: FailureClass, text: Printable) {
        let Some(flow) = self.dialling(id) else {
            return;
        };
        flow.state = FlowState::Failing(class, text);
        self.forget_content(id);
        self.queue_control(id);
    }

    fn dialling(&mut self, id: FlowId) -> Option<&mut Flow> {
        let flow = self.flows.get_mut(&id);
        flow.filter(|flow| flow.state == FlowState::Dialling)
    }

    /// Accepts bytes for a flow, and returns how many. [`Event::Writable`] follows if it is not all
    /// of them, unless the flow has ended.
    pub fn write(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let max = self.max_unsent();
        let Some(flow) = self.visible(id) else {
            return 0;
        };
        if flow.outbound.end != OutboundEnd::Open {
            return 0;
        }
        let room = max.saturating_sub(flow.outbound.queue.len());
        let accepted = &bytes[..bytes.len().min(room)];
        flow.outbound.queue.extend(accepted);
        flow.is_writer_waiting |= accepted.len() < bytes.len();
        let len = accepted.len();
        self.queue_data(id);
        len
    }

    /// Returns how many bytes [`Bundle::append`] should be given next: 0 until at least half of
    /// what the flow may hold is free, and [`Event::Writable`] follows then.
    pub fn room(&mut self, id: FlowId) -> usize {
        let max = self.max_unsent();
        let Some(flow) = self.visible(id) else {
            return 0;
        };
        if flow.outbound.end != OutboundEnd::Open {
            return 0;
        }
        let room = max.saturating_sub(flow.outbound.queue.len());
        if room >= max / 2 || flow.outbound.queue.is_empty() {
            return room;
        }
        flow.is_writer_waiting = true;
        0
    }

    /// Accepts all bytes for a flow, for which there was room.
    pub fn append(&mut self, id: FlowId, bytes: Vec<u8>) {
        let Some(flow) = self.visible(id) else {
            return;
        };
        if flow.outbound.end == OutboundEnd::Open {
            flow.outbound.queue.push(bytes.into());
            self.queue_data(id);
        }
    }

    /// Returns how many bytes of one flow may wait to be sent, at least 1 KiB.
    fn max_unsent(&self) -> usize {
        MAX_FLOW_UNSENT.min(MAX_UNSENT / self.flows.len().max(1))
    }

    /// Ends the direction away from this end, after all bytes that were written.
    pub fn finish(&mut self, id: FlowId) {
        let Some(flow) = self.visible(id) else {
            return;
        };
        if flow.outbound.end == OutboundEnd::Open {
            flow.outbound.end = OutboundEnd::Wanted;
            self.queue_control(id);
        }
    }

    /// Returns true if the peer has received everything that was written to a flow, and its end.
    pub fn is_received(&self, id: FlowId) -> bool {
        let flow = self.flows.get(&id);
        let is_unsent = flow.is_some_and(|flow| {
            !flow.outbound.queue.is_empty() || flow.outbound.end == OutboundEnd::Wanted
        });
        !is_unsent && !self.ledger.keeps(id)
    }

    /// Aborts a flow. No event follows.
    pub fn reset(&mut self, id: FlowId) {
        let Some(flow) = self.visible(id) else {
            return;
        };
        flow.state = FlowState::Resetting;
        self.forget_content(id);
        match self.phase {
            Phase::Open | Phase::Closing(_) => self.queue_control(id),
            Phase::Draining | Phase::Ended => {
                self.remove_flow(id);
                self.update_draining();
            }
        }
    }

    /// Returns up to `max` bytes that the peer has sent, and permits it to send more. The driver
    /// holds what it has read, so it reads only what it can write on at once.
    pub fn read(&mut self, now: Instant, id: FlowId, max: usize) -> Read {
        let Some(flow) = self.visible(id) else {
            return Read::Reset;
        };
        let bytes = flow.inbound.read(max);
        if bytes.is_empty() {
            if !flow.inbound.is_at_end() {
                flow.is_reader_waiting = true;
                return Read::Blocked;
            }
            flow.is_end_read = true;
            self.remove_if_done(id);
            self.update_draining();
            return Read::End;
        }
        self.raise_credit(now, id);
        Read::Data(bytes)
    }

    /// Announces more credit if enough was read.
    fn raise_credit(&mut self, now: Instant, id: FlowId) {
        let trip = self.round_trip();
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let Flow {
            inbound, window, ..
        } = flow;
        let is_too_small = window.is_too_small(now, inbound.read_offset(), trip);
        if is_too_small && inbound.is_nearly_read(window.size()) {
            self.credit.grow(window);
        }
        if inbound.raise_limit(window.size()).is_some() {
            flow.is_credit_due = true;
            self.queue_control(id);
        }
    }

    /// Returns the longest round trip of the stripes in use: a flow waits for the slowest.
    fn round_trip(&self) -> Duration {
        let usable = self.stripes.values().filter(|stripe| stripe.is_usable());
        let trips = usable.map(|stripe| stripe.path.round_trip());
        trips.max().unwrap_or_default()
    }

    fn visible(&mut self, id: FlowId) -> Option<&mut Flow> {
        let is_ended = self.phase == Phase::Ended;
        let flow = self.flows.get_mut(&id).filter(|_| !is_ended);
        flow.filter(|flow| flow.is_visible())
    }

    /// Puts a flow in the queue of those with control records, if it has any.
    pub(super) fn queue_control(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.has_control() && !flow.is_control_queued {
            flow.is_control_queued = true;
            self.queues.control.push_back(id);
        }
    }

    /// The event of a flow that can be read or has its end, once per blocked read.
    pub(super) fn wake_reader(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        if flow.is_reader_waiting && flow.inbound.is_readable() && flow.is_visible() {
            flow.is_reader_waiting = false;
            self.events.push_back(Event::Readable(id));
        }
    }

    /// Drops the bytes of a flow in both directions, and returns its credit.
    pub(super) fn forget_content(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        self.fragments -= flow.inbound.fragments();
        flow.inbound.clear();
        flow.outbound.queue.clear();
        self.credit.release(&mut flow.window);
    }

    pub(super) fn remove_flow(&mut self, id: FlowId) {
        self.forget_content(id);
        if let Some(flow) = self.flows.remove(&id) {
            let is_queued = flow.is_control_queued || flow.is_data_queued;
            self.queues.remove(id, is_queued);
        }
    }

    pub(super) fn remove_if_done(&mut self, id: FlowId) {
        if self.flows.get(&id).is_some_and(Flow::is_done) {
            self.remove_flow(id);
        }
    }

    /// Removes a flow that ends with an event.
    pub(super) fn end_flow(&mut self, id: FlowId, event: Event) {
        let is_visible = self.flows.get(&id).is_some_and(Flow::is_visible);
        self.remove_flow(id);
        if is_visible {
            self.events.push_back(event);
        }
    }
}
