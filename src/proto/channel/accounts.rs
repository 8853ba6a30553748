//! Whether an agent that has ended the session had nothing left to do.
//!
//! An agent without a mux ends the session when its destination has ended, and says no more than
//! `channel_closed`. So does a service that has lost its agent, or ends the session for a reason of
//! its own. An agent has acknowledged by then everything that it was sent, and waits until
//! everything that it has sent is acknowledged, for two seconds at most (protocol.md section 9.3):
//!
//! ```text
//!   agent   data ──────▶        ◀────── acknowledgement  ──────▶ channel_closed
//!   here          data arrives  └─ leaves ── a round trip ── arrives
//! ```
//!
//! An end that comes sooner, or while an acknowledgement is overdue, is none of the agent's.

use std::time::{Duration, Instant};

use super::Channel;
use super::version::AgentVersion;
use crate::wire::message::Seq;

/// What is known of the messages of both sides that an end depends on.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Numbers below it are the handshake and probes of readiness. An agent that ends at once leaves
    /// probes that it refused unacknowledged.
    data_begin: u64,
    /// Numbers below it may be data; what is above is our own, and of no consequence.
    data_end: u64,
    /// New messages whose acknowledgement has not left.
    pub(super) unanswered: usize,
    /// When the acknowledgement of a new message left last.
    pub(super) answered: Option<Instant>,
    /// The agent waits for acknowledgements before it closes.
    drains: bool,
}

impl Accounts {
    /// The handshake told the version of the agent.
    pub(super) fn handle_version(&mut self, version: &AgentVersion) {
        self.drains = version.drains();
    }

    /// The agent is ready; `next` is the first number that may be data.
    pub(super) fn handle_ready(&mut self, next: Seq) {
        self.data_begin = next.0;
    }

    /// Data leaves under this number.
    pub(super) fn handle_data(&mut self, seq: Seq) {
        self.data_end = seq.0 + 1;
    }

    /// True if this number may be data.
    pub(super) fn is_data(&self, seq: Seq) -> bool {
        (self.data_begin..self.data_end).contains(&seq.0)
    }

    /// The acknowledgement of a new message leaves.
    pub(super) fn handle_answer(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.answered = Some(now);
    }
}

impl Channel {
    /// True if an agent that closes the channel now has done so because its destination ended:
    /// nothing of either side can be missing.
    pub(crate) fn is_whole(&self, now: Instant) -> bool {
        !self.receiver.has_gap()
            && self.tail_check.is_whole(now)
            && self.has_taken_all(now)
            && self.has_drained(now)
    }

    /// The agent has acknowledged all data, and owes no acknowledgement of a later message for long.
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

    /// The agent may have received every acknowledgement, or has waited long enough for them.
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

/// How long an agent waits that gets no acknowledgements: two seconds, and our idea of its clock
/// may be wrong by a little.
const LEAST_DRAIN: Duration = Duration::from_millis(1500);
