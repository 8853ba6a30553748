//! Decides whether an agent that ends the session has completed its work.
//!
//! An agent without a mux ends the session with a bare `channel_closed` when its destination has
//! closed. So does Session Manager if it has lost the agent or has a reason of its own. An agent
//! has then acknowledged everything, and has waited for the acknowledgement of everything it has
//! sent, for at most two seconds (docs/protocol.md, section 9.3):
//!
//! ```text
//!   agent   data ──────▶        ◀────── acknowledgement  ──────▶ channel_closed
//!   here          data received └─ sent ─── a round trip ── received
//! ```
//!
//! A close that is received sooner, or while an acknowledgement is overdue, is not the agent's.

use std::time::{Duration, Instant};

use super::Channel;
use super::version::AgentVersion;
use crate::wire::message::Seq;

/// State of the messages in both directions that an end depends on.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Lower numbers are the handshake and readiness probes. An agent that ends at once leaves the
    /// probes that it refused unacknowledged.
    data_begin: u64,
    /// Lower numbers may be data; higher ones are control messages and do not matter.
    data_end: u64,
    /// Number of new messages whose acknowledgement was not sent yet.
    pub(super) unanswered: usize,
    /// When an acknowledgement of a new message was last sent.
    pub(super) answered: Option<Instant>,
    /// True if the agent waits for acknowledgements before it closes.
    drains: bool,
}

impl Accounts {
    /// The version of the agent is known from the handshake.
    pub(super) fn handle_version(&mut self, version: &AgentVersion) {
        self.drains = version.drains();
    }

    /// The agent is ready; `next` is the first number that may be data.
    pub(super) fn handle_ready(&mut self, next: Seq) {
        self.data_begin = next.0;
    }

    /// Data is sent with this number.
    pub(super) fn handle_data(&mut self, seq: Seq) {
        self.data_end = seq.0 + 1;
    }

    /// Returns true if this number may be data.
    pub(super) fn is_data(&self, seq: Seq) -> bool {
        (self.data_begin..self.data_end).contains(&seq.0)
    }

    /// The acknowledgement of a new message is sent.
    pub(super) fn handle_answer(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.answered = Some(now);
    }
}

impl Channel {
    /// Returns true if a close received now was sent by the agent because its destination closed:
    /// nothing can be missing in either direction.
    pub(crate) fn is_complete(&self, now: Instant) -> bool {
        !self.receiver.has_gap()
            && self.tail_check.is_complete(now)
            && self.has_taken_all(now)
            && self.has_drained(now)
    }

    /// True if all data is acknowledged, and no acknowledgement of a later message is overdue.
    fn has_taken_all(&self, now: Instant) -> bool {
        // Older agents leave messages unacknowledged that they have processed.
        if !self.reacknowledges {
            return true;
        }
        match self.sender.oldest(Seq(self.accounts.data_begin)) {
            None => true,
            Some((seq, _)) if seq.0 < self.accounts.data_end => false,
            Some((_, overdue)) => now < overdue,
        }
    }

    /// True if the agent may have received every acknowledgement, or has waited long enough for
    /// them.
    fn has_drained(&self, now: Instant) -> bool {
        if !self.accounts.drains {
            return true;
        }
        let created = self.tail_check.last_created();
        let is_late = created.is_some_and(|created| now >= created + LEAST_DRAIN);
        let trip = self.sender.least_trip() / 2;
        let answered = self.accounts.answered.is_some_and(|at| now >= at + trip);
        is_late || (self.accounts.unanswered == 0 && answered)
    }
}

/// Time an agent waits for missing acknowledgements: two seconds, less a margin because its clock
/// is known only approximately.
const LEAST_DRAIN: Duration = Duration::from_millis(1500);
