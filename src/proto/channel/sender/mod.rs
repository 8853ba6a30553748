//! The sending half of a data channel: what has left and is not yet acknowledged.
//!
//! Every message takes the next sequence number and is kept, encoded, until the agent
//! acknowledges that number. Each has its own deadline; what is overdue goes again, oldest
//! first. A broken websocket may have swallowed anything, so after a reconnect every message
//! kept is due.
//!
//! ```text
//!    acknowledged   │  unacknowledged  │  room
//!  ─────────────────┼──────────────────┼──────────▶ sequence number
//!                 oldest             next
//! ```
//!
//! The agent acknowledges messages one by one and in any order, so there may be holes between
//! `oldest` and `next`.
//!
//! An agent whose destination does not read falls silent altogether (protocol.md section 8.5).
//! So when a timeout passes without any acknowledgement since the last one, only the oldest
//! message asks again, ever more rarely, until something is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proto::channel::rtt::RttEstimator;
use crate::wire::message::Seq;

/// The messages that have left and are not acknowledged.
#[derive(Debug)]
pub(crate) struct Sender {
    /// By number. Holes cost nothing: agents before 3.2.1041.0 leave some for good (protocol.md
    /// section 6.5 item 5).
    kept: BTreeMap<u64, Kept>,
    next: u64,
    unacknowledged: usize,
    window: usize,
    rtt: RttEstimator,
    /// To be retransmitted as soon as they may.
    due: BTreeSet<u64>,
    /// Nothing is overdue before this.
    deadline: Option<Instant>,
    /// Timeouts since the last acknowledgement.
    silent_rounds: u32,
    /// Since when nothing was acknowledged; meaningless while nothing is unacknowledged.
    silent_since: Instant,
}

impl Sender {
    /// `window` is how many payload bytes may be unacknowledged.
    pub(crate) fn new(now: Instant, window: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            next: 0,
            unacknowledged: 0,
            window,
            rtt: RttEstimator::new(),
            due: BTreeSet::new(),
            deadline: None,
            silent_rounds: 0,
            silent_since: now,
        }
    }

    /// The number of the next new message.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.next)
    }

    /// Keeps a message that leaves now under [`Sender::next_seq`]. `len` is its payload's.
    pub(crate) fn send(&mut self, now: Instant, message: Bytes, len: usize, urgency: Urgency) {
        let kept = Kept {
            message,
            len,
            sent: now,
            attempts: 1,
            urgency,
        };
        self.hasten(kept.deadline(&self.rtt));
        if self.kept.is_empty() {
            self.silent_since = now;
        }
        self.unacknowledged += len;
        self.kept.insert(self.next, kept);
        self.next += 1;
    }

    /// Takes in an acknowledgement. False if nothing was waiting for it.
    pub(crate) fn acknowledge(&mut self, now: Instant, seq: Seq) -> bool {
        let Some(kept) = self.kept.remove(&seq.0) else {
            return false;
        };
        if kept.attempts == 1 {
            self.rtt.sample(now - kept.sent);
        }
        self.unacknowledged -= kept.len;
        self.due.remove(&seq.0);
        self.handle_sign_of_life(now);
        true
    }

    /// The silence is over: what it held back may be overdue.
    fn handle_sign_of_life(&mut self, now: Instant) {
        self.silent_since = now;
        if self.silent_rounds > 0 {
            self.silent_rounds = 0;
            self.hasten(now);
        }
        if self.kept.is_empty() {
            self.deadline = None;
        }
    }

    /// Puts what is overdue in line for retransmission.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        let waiting = self.silent_rounds > 0;
        let mut next = None;
        let mut overdue = false;
        for (&seq, kept) in &self.kept {
            let deadline = kept.deadline(&self.rtt);
            if now < deadline {
                next = earlier(next, deadline);
            } else {
                overdue |= kept.urgency == Urgency::Patient;
                self.due.insert(seq);
            }
            if waiting {
                break;
            }
        }
        self.silent_rounds += u32::from(overdue);
        self.deadline = next;
    }

    /// The websocket broke or was replaced: everything unacknowledged is due.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.silent_since = now;
        self.due = self.kept.keys().copied().collect();
        self.silent_rounds = 0;
    }

    /// The next message to retransmit, oldest first; the same bytes as ever.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        let seq = self.due.pop_first()?;
        let kept = self.kept.get_mut(&seq)?;
        kept.attempts = kept.attempts.saturating_add(1);
        if kept.urgency == Urgency::Patient {
            kept.sent = now;
        } else {
            kept.urgency = kept.urgency.after(now);
        }
        let (message, deadline) = (kept.message.clone(), kept.deadline(&self.rtt));
        self.hasten(deadline);
        Some(message)
    }

    /// When [`Sender::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// True if something waits to be retransmitted.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// True if a payload of `len` bytes fits the window.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.unacknowledged + len <= self.window
    }

    /// Since when the agent owes an acknowledgement; `None` if it owes none.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        (!self.kept.is_empty()).then_some(self.silent_since)
    }

    /// Payload bytes that are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// The smoothed round trip.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt.smoothed()
    }

    fn hasten(&mut self, deadline: Instant) {
        self.deadline = earlier(self.deadline, deadline);
    }
}

/// How soon a message is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// By the round trip.
    Patient,
    /// The probe of readiness: agents drop what comes before their plugin is ready, and nobody
    /// can tell when that is (protocol.md section 5.1). Every 3 ms for 30 ms, then 1.5 times
    /// slower each time, up to 50 ms.
    Probe {
        /// When it first left.
        since: Instant,
        /// When it leaves again.
        next: Instant,
        /// The pause before that.
        pause: Duration,
    },
}

impl Urgency {
    /// The urgency of a probe that leaves now.
    pub(crate) fn probe(now: Instant) -> Self {
        Self::Probe {
            since: now,
            next: now + PROBE_PAUSE,
            pause: PROBE_PAUSE,
        }
    }

    fn after(self, now: Instant) -> Self {
        let Self::Probe { since, pause, .. } = self else {
            return self;
        };
        let pause = match now - since < PROBE_STEADY {
            true => pause,
            false => (pause * 3 / 2).min(PROBE_MAX_PAUSE),
        };
        Self::Probe {
            since,
            next: now + pause,
            pause,
        }
    }
}

#[derive(Debug)]
struct Kept {
    message: Bytes,
    len: usize,
    /// When the last copy left.
    sent: Instant,
    attempts: u32,
    urgency: Urgency,
}

impl Kept {
    fn deadline(&self, rtt: &RttEstimator) -> Instant {
        match self.urgency {
            Urgency::Patient => self.sent + rtt.timeout(self.attempts),
            Urgency::Probe { next, .. } => next,
        }
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

// Agents are ready 4 to 9 ms after the handshake, with a remote host up to 450 ms
// (protocol.md section 5.1 and appendix E).
const PROBE_PAUSE: Duration = Duration::from_millis(3);
const PROBE_STEADY: Duration = Duration::from_millis(30);
const PROBE_MAX_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests;
