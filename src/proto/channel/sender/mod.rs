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
//! Below lies TCP, which loses nothing and keeps the order, so a message is missed only when one
//! that left later was acknowledged. While acknowledgements come, whatever left after the last of
//! them is just under way, however slow that is: to send it again would only make the way longer.
//! While none come, the oldest message asks, ever more rarely, until something is acknowledged: an
//! agent whose destination does not read falls silent altogether (protocol.md section 8.5).

mod proof;
mod repeats;
mod settled;
mod urgency;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::repeats::Repeats;
use crate::proto::channel::congestion::CongestionWindow;
use crate::proto::channel::rtt::RttEstimator;
use crate::wire::message::Seq;

pub(crate) use self::urgency::Urgency;

/// The messages that have left and are not acknowledged.
#[derive(Debug)]
pub(crate) struct Sender {
    /// By number.
    kept: BTreeMap<u64, Kept>,
    next: u64,
    /// Copies that have left.
    copies: u64,
    /// Websockets so far.
    websocket: u32,
    /// The agent acknowledges a message again that it has processed.
    reacknowledges: bool,
    /// A copy has left whose silence means nothing before something else is acknowledged.
    question_due: bool,
    /// The last message that left to be acknowledged behind such a copy.
    question: Option<u64>,
    unacknowledged: usize,
    window: usize,
    /// Holds beside `window` while streams share the channel.
    shared: CongestionWindow,
    rtt: RttEstimator,
    /// To be retransmitted as soon as they may.
    due: BTreeSet<u64>,
    /// Nothing is overdue before this.
    deadline: Option<Instant>,
    silence: Silence,
    repeats: Repeats,
}

/// Since when nothing was acknowledged, and what was done about it; meaningless while nothing is
/// unacknowledged.
#[derive(Debug)]
struct Silence {
    since: Instant,
    /// How often the oldest message has asked, and when it did last.
    asked: u32,
    asked_at: Instant,
    /// When the websocket was replaced meanwhile: what left before goes again when an
    /// acknowledgement comes.
    replaced: Option<Instant>,
}

impl Silence {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            asked: 0,
            asked_at: now,
            replaced: None,
        }
    }
}

impl Sender {
    /// `window` is how many payload bytes may be unacknowledged.
    pub(crate) fn new(now: Instant, window: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            next: 0,
            copies: 0,
            websocket: 0,
            reacknowledges: true,
            question_due: false,
            question: None,
            unacknowledged: 0,
            window,
            shared: CongestionWindow::new(now),
            rtt: RttEstimator::new(),
            due: BTreeSet::new(),
            deadline: None,
            silence: Silence::new(now),
            repeats: Repeats::default(),
        }
    }

    /// The number of the next new message.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.next)
    }

    /// Keeps a message that leaves now under [`Sender::next_seq`]. `len` is its payload's.
    pub(crate) fn send(&mut self, now: Instant, message: Bytes, len: usize, urgency: Urgency) {
        if self.kept.is_empty() {
            self.silence = Silence::new(now);
        }
        self.unacknowledged += len;
        let quiet = now + self.rtt.timeout(1);
        self.hasten(urgency.next().unwrap_or(quiet));
        self.copies += 1;
        let kept = Kept {
            message,
            len,
            sent: now,
            copy: self.copies,
            websocket: self.websocket,
            attempts: 1,
            urgency,
            missed: None,
            proofs: 0,
        };
        self.kept.insert(self.next, kept);
        self.next += 1;
        self.question_due = false;
    }

    /// Takes in an acknowledgement. False if nothing was waiting for it.
    pub(crate) fn acknowledge(&mut self, now: Instant, seq: Seq) -> bool {
        self.repeats.handle_acknowledgement(now, seq.0);
        let Some(kept) = self.kept.remove(&seq.0) else {
            return false;
        };
        self.unacknowledged -= kept.len;
        self.due.remove(&seq.0);
        match kept.attempts {
            1 => {
                let trip = now - kept.sent;
                self.rtt.sample(trip);
                self.shared.sample(now, seq.0, trip, self.next);
                self.miss(now, kept.sent, ..seq.0);
                if !self.reacknowledges && kept.websocket == self.websocket {
                    self.prove(now, kept.copy);
                }
            }
            // If that was for the first copy, acknowledgements of the others are not far behind.
            _ if self.silence.asked > 0 => {
                self.miss(now + self.rtt.grace(), kept.sent, ..);
            }
            _ => {}
        }
        self.end_silence(now);
        true
    }

    /// Those of `range` that left before `sent` are missed from `at` on.
    fn miss(&mut self, at: Instant, sent: Instant, range: impl std::ops::RangeBounds<u64>) {
        let mut first = None;
        for (_, kept) in self.kept.range_mut(range) {
            if kept.sent < sent && kept.missed.is_none() {
                kept.missed = Some(at);
                first = earlier(first, kept.overdue(&self.rtt).unwrap_or(at));
            }
        }
        self.deadline = first.map_or(self.deadline, |first| earlier(self.deadline, first));
    }

    fn end_silence(&mut self, now: Instant) {
        if let Some(replaced) = self.silence.replaced {
            let lost = self.kept.iter().filter(|(_, kept)| kept.sent <= replaced);
            self.due.extend(lost.map(|(seq, _)| *seq));
        }
        self.silence = Silence::new(now);
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
        let mut next = None;
        for (&seq, kept) in &self.kept {
            match kept.overdue(&self.rtt) {
                Some(at) if at <= now => {
                    self.due.insert(seq);
                }
                Some(at) => next = earlier(next, at),
                None => {}
            }
        }
        self.deadline = next;
        self.ask(now);
    }

    /// While nothing is acknowledged, the oldest message asks: the one that an agent waits for.
    fn ask(&mut self, now: Instant) {
        let Some((&oldest, kept)) = self.kept.iter().find(|(_, kept)| kept.is_patient()) else {
            return;
        };
        let Silence {
            asked, asked_at, ..
        } = self.silence;
        let at = asked_at.max(kept.sent) + self.rtt.timeout(asked + 1);
        if now < at {
            return self.hasten(at);
        }
        self.due.insert(oldest);
        self.silence.asked = asked.saturating_add(1);
        self.silence.asked_at = now;
        self.hasten(now + self.rtt.timeout(self.silence.asked + 1));
    }

    /// The websocket was replaced: everything unacknowledged is due. An agent that had been silent
    /// may be so still, and would have all of it once more: there the oldest and the newest message
    /// ask first. Agents before 3.2.1041.0 answer to none that they have, and the newest may be new.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.websocket += 1;
        if self.silence.asked >= SILENT {
            let ends = [self.kept.first_key_value(), self.kept.last_key_value()];
            self.due = ends.into_iter().flatten().map(|(seq, _)| *seq).collect();
            self.silence.replaced = Some(now);
            self.silence.asked_at = now;
        } else {
            self.due = self.kept.keys().copied().collect();
            self.silence = Silence::new(now);
        }
    }

    /// The next message to retransmit, oldest first; the same bytes as ever.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        let seq = self.due.pop_first()?;
        let kept = self.kept.get_mut(&seq)?;
        kept.attempts = kept.attempts.saturating_add(1);
        kept.missed = None;
        self.copies += 1;
        kept.copy = self.copies;
        kept.websocket = self.websocket;
        if kept.is_patient() {
            kept.sent = now;
            self.question_due = !self.reacknowledges;
            self.repeats.handle_copy(seq);
        } else {
            kept.urgency = kept.urgency.after(now);
        }
        let message = kept.message.clone();
        let next = kept.urgency.next();
        let quiet = now + self.rtt.timeout(1);
        self.hasten(next.unwrap_or(quiet));
        Some(message)
    }

    /// Message `seq` is a probe that is repeated quickly from now on.
    pub(crate) fn hasten_probe(&mut self, now: Instant, seq: Seq) {
        let urgency = Urgency::probe(now);
        if let Some(kept) = self.kept.get_mut(&seq.0)
            && kept.is_patient()
        {
            kept.urgency = urgency;
            self.hasten(urgency.next().unwrap_or(now));
        }
    }

    /// Probes that are not acknowledged have lost their hurry.
    pub(crate) fn relax(&mut self) {
        for kept in self.kept.values_mut() {
            kept.urgency = Urgency::Patient;
        }
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
    pub(crate) fn has_room(&self, len: usize, share: Share) -> bool {
        let fits = self.unacknowledged + len <= self.window && self.kept.len() < MAX_KEPT;
        fits && (share == Share::Alone || self.shared.has_room(self.unacknowledged, len))
    }

    /// Something waits for room.
    pub(crate) fn hold_back(&mut self) {
        self.shared.hold_back();
    }

    /// Since when the agent owes an acknowledgement; `None` if it owes none.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        (!self.kept.is_empty()).then_some(self.silence.since)
    }

    /// True if everything that was sent has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Payload bytes that are not acknowledged and take up the window.
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

/// Whether others feel what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// One stream has the channel for itself.
    Alone,
    /// Streams share it.
    Shared,
}

#[derive(Debug)]
struct Kept {
    message: Bytes,
    len: usize,
    /// When the last copy left.
    sent: Instant,
    /// Which of all copies that was, and on which websocket.
    copy: u64,
    websocket: u32,
    attempts: u32,
    urgency: Urgency,
    /// From when on it is missed: what left later was acknowledged.
    missed: Option<Instant>,
    /// How often its agent's silence proved that it was processed.
    proofs: u32,
}

impl Kept {
    /// True if the last copy left on this websocket, and was not the first one.
    fn is_repeated_on(&self, websocket: u32) -> bool {
        self.is_patient() && self.attempts > 1 && self.websocket == websocket
    }

    /// When it shall go again, if it shall.
    fn overdue(&self, rtt: &RttEstimator) -> Option<Instant> {
        match self.urgency {
            Urgency::Patient => {
                let missed = self.missed?;
                Some(missed.max(self.sent + rtt.timeout(self.attempts)))
            }
            Urgency::Probe { next, .. } => Some(next),
        }
    }

    fn is_patient(&self) -> bool {
        self.urgency == Urgency::Patient
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Messages that are kept at most. The window counts payloads only, and a payload may be one byte,
/// or be given back to the window before its message is dropped.
const MAX_KEPT: usize = 10_000;

/// An agent that answered to none of so many messages that asked is silent.
const SILENT: u32 = 2;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests;
