//! One flow at one end.
//!
//! ```text
//!   daemon   Opening ── OPENED, DATA or FIN ─▶ Open
//!              └── FAILED ─▶ (removed)
//!   relay    Dialling ── connected ─▶ Open
//!              └── failed ─▶ Failing ── FAILED sent ─▶ (removed)
//!   Open ── end read, and own end acknowledged ─▶ (removed)
//!   any  ── RESET received ─▶ (removed)
//!   any  ── reset here ─▶ Resetting ── RESET sent ─▶ (removed)
//! ```

use std::time::{Duration, Instant};

use super::assembly::Assembly;
use super::byte_queue::ByteQueue;
use super::credit::Window;
use super::limits::MAX_DATA;
use super::record::{Destination, FailureClass, Record};
use crate::printable::Printable;

/// State of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlowState {
    /// Daemon: not connected yet. Holds the destination until OPEN is sent.
    Opening(Option<Destination>),
    /// Relay: the driver connects it.
    Dialling,
    /// Both directions carry bytes.
    Open,
    /// Relay: FAILED is to be sent.
    Failing(FailureClass, Printable),
    /// RESET is to be sent.
    Resetting,
}

/// One flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) state: FlowState,
    pub(super) inbound: Assembly,
    pub(super) window: Window,
    pub(super) outbound: Outbound,
    /// Records that are to be sent, besides those of the state.
    pub(super) is_opened_due: bool,
    pub(super) is_credit_due: bool,
    /// True if the flow is in the queue of flows with control records.
    pub(super) is_control_queued: bool,
    /// True if the flow is in a queue of flows with data.
    pub(super) is_data_queued: bool,
    /// True if the last read returned nothing.
    pub(super) is_reader_waiting: bool,
    /// True if the last write did not accept everything.
    pub(super) is_writer_waiting: bool,
    /// True if the end was read.
    pub(super) is_end_read: bool,
    /// True if what was read is passed on: its end is confirmed then (relay).
    pub(super) is_passed_on: bool,
    pub(super) activity: Activity,
}

/// The direction away from this end.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) queue: ByteQueue,
    /// Offset of the next byte to send.
    pub(super) next: u64,
    /// Offset up to which the peer permits.
    pub(super) limit: u64,
    pub(super) end: OutboundEnd,
}

/// The end of the direction away from this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutboundEnd {
    /// More may be written.
    Open,
    /// FIN is sent after the last byte.
    Wanted,
    /// FIN was sent.
    Sent,
    /// FIN was acknowledged.
    Acknowledged,
}

impl Outbound {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            queue: ByteQueue::default(),
            next: 0,
            limit,
            end: OutboundEnd::Open,
        }
    }

    /// Returns how many bytes the next DATA record may have; 0 if none can be sent.
    pub(super) fn sendable(&self) -> usize {
        let credit = usize::try_from(self.limit.saturating_sub(self.next)).unwrap_or(usize::MAX);
        self.queue.len().min(credit).min(MAX_DATA)
    }

    /// The peer permits bytes up to an offset. Announcements may arrive in any order.
    pub(super) fn raise_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Removes the bytes of the next DATA record.
    pub(super) fn take(&mut self) -> Record {
        let (offset, bytes) = (self.next, self.queue.pop_to_keep(self.sendable()));
        self.next += bytes.len() as u64;
        Record::Data { offset, bytes }
    }

    /// Returns true if FIN can be sent.
    pub(super) fn is_fin_due(&self) -> bool {
        self.end == OutboundEnd::Wanted && self.queue.is_empty()
    }
}

impl Flow {
    pub(super) fn new(state: FlowState, window: Window, limit: u64, now: Instant) -> Self {
        Self {
            state,
            inbound: Assembly::new(window.size()),
            window,
            outbound: Outbound::new(limit),
            is_opened_due: false,
            is_credit_due: false,
            is_control_queued: false,
            is_data_queued: false,
            is_reader_waiting: true,
            is_writer_waiting: false,
            is_end_read: false,
            is_passed_on: true,
            activity: Activity::new(now),
        }
    }

    /// Returns true if the driver knows the flow.
    pub(super) fn is_visible(&self) -> bool {
        match self.state {
            FlowState::Opening(_) | FlowState::Dialling | FlowState::Open => true,
            FlowState::Failing(..) | FlowState::Resetting => false,
        }
    }

    /// Returns true if DATA can be sent now.
    pub(super) fn has_data(&self) -> bool {
        self.state == FlowState::Open && self.outbound.sendable() > 0
    }

    /// Removes and returns the next control record to send.
    pub(super) fn next_control(&mut self) -> Option<Record> {
        match &mut self.state {
            FlowState::Opening(destination) => {
                let destination = destination.take()?;
                Some(Record::Open(destination, initial(&self.window)))
            }
            FlowState::Dialling => None,
            FlowState::Open => self.next_of_open(),
            FlowState::Failing(class, text) => Some(Record::Failed(*class, text.clone())),
            FlowState::Resetting => Some(Record::Reset),
        }
    }

    fn next_of_open(&mut self) -> Option<Record> {
        if std::mem::take(&mut self.is_opened_due) {
            return Some(Record::Opened(initial(&self.window)));
        }
        if std::mem::take(&mut self.is_credit_due) {
            return Some(Record::Credit(self.inbound.limit()));
        }
        if self.outbound.is_fin_due() {
            self.outbound.end = OutboundEnd::Sent;
            return Some(Record::Fin(self.outbound.next));
        }
        None
    }

    /// Returns true if a control record can be sent.
    pub(super) fn has_control(&self) -> bool {
        match &self.state {
            FlowState::Opening(destination) => destination.is_some(),
            FlowState::Dialling => false,
            FlowState::Open => {
                self.is_opened_due || self.is_credit_due || self.outbound.is_fin_due()
            }
            FlowState::Failing(..) | FlowState::Resetting => true,
        }
    }

    /// Returns true if nothing more will happen on this flow.
    pub(super) fn is_done(&self) -> bool {
        self.is_end_read && self.outbound.end == OutboundEnd::Acknowledged
    }
}

/// The credit in OPEN and OPENED. The window has not grown since the flow was created: it grows
/// only with bytes that the peer sends after it has received this.
fn initial(window: &Window) -> u32 {
    u32::try_from(window.size()).unwrap_or(u32::MAX)
}

/// How much a flow has sent recently.
#[derive(Debug)]
pub(super) struct Activity {
    bytes: u64,
    at: Instant,
}

impl Activity {
    fn new(now: Instant) -> Self {
        Self { bytes: 0, at: now }
    }

    /// Bytes are sent.
    pub(super) fn add(&mut self, now: Instant, len: usize) {
        let halvings = self.halvings(now);
        self.bytes = (self.bytes >> halvings.min(63)) + len as u64;
        self.at += HALF_LIFE * halvings;
    }

    /// Returns true if little was sent recently.
    pub(super) fn is_low(&self, now: Instant) -> bool {
        self.bytes >> self.halvings(now).min(63) < INTERACTIVE
    }

    fn halvings(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at).as_millis();
        u32::try_from(passed / HALF_LIFE.as_millis()).unwrap_or(u32::MAX)
    }
}

const HALF_LIFE: Duration = Duration::from_millis(200);

/// A flow that sent less recently is interactive.
const INTERACTIVE: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn credit_that_arrives_late_does_not_withdraw_any() {
        let mut outbound = Outbound::new(0);
        outbound.queue.extend(b"abcdef");
        assert_eq!(outbound.sendable(), 0);

        outbound.raise_limit(4);
        outbound.raise_limit(2);

        let data = outbound.take();
        let bytes = "abcd".into();
        assert_eq!(data, Record::Data { offset: 0, bytes });
        assert_eq!((outbound.sendable(), outbound.queue.len()), (0, 2));
    }

    #[test]
    fn fin_is_due_after_the_last_byte() {
        let mut outbound = Outbound::new(10);
        outbound.queue.extend(b"ab");
        outbound.end = OutboundEnd::Wanted;

        assert!(!outbound.is_fin_due());
        outbound.take();
        assert!(outbound.is_fin_due());
    }

    #[test]
    fn keystrokes_stay_interactive_and_bulk_becomes_so_after_a_while() {
        let mut now = clock::now();
        let mut activity = Activity::new(now);
        for _ in 0..10_000 {
            activity.add(now, 40);
            now += Duration::from_millis(20);
            assert!(activity.is_low(now));
        }

        activity.add(now, 1 << 20);
        assert!(!activity.is_low(now + HALF_LIFE * 5));
        assert!(activity.is_low(now + HALF_LIFE * 9));
    }
}
