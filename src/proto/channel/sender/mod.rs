//! The sending half of a data channel: messages that were sent and are not yet acknowledged.
//!
//! Every message takes the next sequence number and is kept, encoded, until the agent acknowledges
//! that number. Each has its own deadline; overdue messages are retransmitted, oldest first. A
//! broken websocket may have lost anything, so after a reconnect every kept message is due.
//!
//! ```text
//!    acknowledged   │  unacknowledged  │  free
//!  ─────────────────┼──────────────────┼──────────▶ sequence number
//!                 oldest             next
//! ```
//!
//! The agent acknowledges messages individually and in any order, so there may be holes between
//! `oldest` and `next`.
//!
//! The transport is TCP, which loses nothing and keeps the order, so a message is considered
//! missing only when one sent later was acknowledged. While acknowledgements arrive, messages sent
//! after the last acknowledged one are simply in flight, however slow the path: retransmitting them
//! would only make it slower. While none arrive, the oldest message is retransmitted, at growing
//! intervals, until something is acknowledged: an agent whose destination does not read sends no
//! acknowledgements at all (docs/protocol.md, section 8.5).

mod proof;
mod repeats;
mod retransmit;
mod settled;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::repeats::Repeats;
use crate::proto::channel::congestion::CongestionWindow;
use crate::proto::channel::rtt::RttEstimator;
use crate::wire::message::Seq;

pub(crate) use self::retransmit::Retransmit;

/// The messages that were sent and are not acknowledged.
#[derive(Debug)]
pub(crate) struct Sender {
    /// By number.
    kept: BTreeMap<u64, Unacknowledged>,
    next: u64,
    /// Number of copies sent.
    copies: u64,
    /// Number of websockets so far.
    websocket: u32,
    /// True if the agent acknowledges duplicates of messages that it has processed.
    reacknowledges: bool,
    /// True if a copy was sent that needs a later acknowledgement to be interpreted.
    question_due: bool,
    /// The last message that was sent to be acknowledged after such a copy.
    question: Option<u64>,
    unacknowledged: usize,
    window: usize,
    /// Applies in addition to `window` while streams share the channel.
    shared: CongestionWindow,
    rtt: RttEstimator,
    /// To be retransmitted as soon as permitted.
    due: BTreeSet<u64>,
    /// Nothing is overdue before this.
    deadline: Option<Instant>,
    silence: SilencePeriod,
    repeats: Repeats,
}

/// Period without acknowledgements; meaningless while nothing is unacknowledged.
#[derive(Debug)]
struct SilencePeriod {
    since: Instant,
    /// How often the oldest message was retransmitted in it, and when last.
    retransmissions: u32,
    retransmitted_at: Instant,
    /// When the websocket was replaced: earlier messages are sent again after an acknowledgement.
    replaced: Option<Instant>,
}

impl SilencePeriod {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            retransmissions: 0,
            retransmitted_at: now,
            replaced: None,
        }
    }
}

impl Sender {
    /// Creates a sender. `window` is the maximum of unacknowledged payload bytes.
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
            silence: SilencePeriod::new(now),
            repeats: Repeats::default(),
        }
    }

    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.next)
    }

    /// Keeps a message that is sent now as [`Sender::next_seq`]. `len` is its payload length.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        message: Bytes,
        len: usize,
        retransmit: Retransmit,
    ) {
        if self.kept.is_empty() {
            self.silence = SilencePeriod::new(now);
        }
        self.unacknowledged += len;
        let quiet = now + self.rtt.timeout(1);
        self.hasten(retransmit.next().unwrap_or(quiet));
        self.copies += 1;
        let kept = Unacknowledged {
            message,
            len,
            sent: now,
            copy: self.copies,
            websocket: self.websocket,
            attempts: 1,
            retransmit,
            missed: None,
            proofs: 0,
        };
        self.kept.insert(self.next, kept);
        self.next += 1;
        self.question_due = false;
    }

    /// Handles an acknowledgement. Returns false if the message was not waiting for one.
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
            // If that was for the first copy, acknowledgements of the other messages follow
            // closely.
            _ if self.silence.retransmissions > 0 => {
                self.miss(now + self.rtt.grace(), kept.sent, ..);
            }
            _ => {}
        }
        self.end_silence(now);
        true
    }

    /// Marks the messages of `range` sent before `sent` as missing from `at` on.
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
        self.silence = SilencePeriod::new(now);
        if self.kept.is_empty() {
            self.deadline = None;
        }
    }

    /// Queues overdue messages for retransmission.
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
        self.retransmit_oldest(now);
    }

    /// While nothing is acknowledged, retransmits the oldest message: the agent waits for it.
    fn retransmit_oldest(&mut self, now: Instant) {
        let Some((&oldest, kept)) = self.kept.iter().find(|(_, kept)| kept.is_normal()) else {
            return;
        };
        let retransmissions = self.silence.retransmissions;
        let retransmitted_at = self.silence.retransmitted_at;
        let at = retransmitted_at.max(kept.sent) + self.rtt.timeout(retransmissions + 1);
        if now < at {
            return self.hasten(at);
        }
        self.due.insert(oldest);
        self.silence.retransmissions = retransmissions.saturating_add(1);
        self.silence.retransmitted_at = now;
        self.hasten(now + self.rtt.timeout(self.silence.retransmissions + 1));
    }

    /// The websocket was replaced: everything unacknowledged is due. But if the agent was silent
    /// before, only the oldest and the newest message are sent until it acknowledges one: agents
    /// before 3.2.1041.0 do not acknowledge what they have, and the newest may be new to them.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.websocket += 1;
        if self.silence.retransmissions >= SILENT {
            let ends = [self.kept.first_key_value(), self.kept.last_key_value()];
            self.due = ends.into_iter().flatten().map(|(seq, _)| *seq).collect();
            self.silence.replaced = Some(now);
            self.silence.retransmitted_at = now;
        } else {
            self.due = self.kept.keys().copied().collect();
            self.silence = SilencePeriod::new(now);
        }
    }

    /// Returns the next message to retransmit, oldest first; the same bytes each time.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        let seq = self.due.pop_first()?;
        let kept = self.kept.get_mut(&seq)?;
        kept.attempts = kept.attempts.saturating_add(1);
        kept.missed = None;
        self.copies += 1;
        kept.copy = self.copies;
        kept.websocket = self.websocket;
        if kept.is_normal() {
            kept.sent = now;
            self.question_due = !self.reacknowledges;
            self.repeats.handle_copy(seq);
        } else {
            kept.retransmit = kept.retransmit.after(now);
        }
        let message = kept.message.clone();
        let next = kept.retransmit.next();
        let quiet = now + self.rtt.timeout(1);
        self.hasten(next.unwrap_or(quiet));
        Some(message)
    }

    /// Message `seq` is a probe that is repeated at short intervals from now on.
    pub(crate) fn hasten_probe(&mut self, now: Instant, seq: Seq) {
        let retransmit = Retransmit::probe(now);
        if let Some(kept) = self.kept.get_mut(&seq.0)
            && kept.is_normal()
        {
            kept.retransmit = retransmit;
            self.hasten(retransmit.next().unwrap_or(now));
        }
    }

    /// Unacknowledged probes are no longer repeated at short intervals.
    pub(crate) fn relax(&mut self) {
        for kept in self.kept.values_mut() {
            kept.retransmit = Retransmit::Normal;
        }
    }

    /// Returns when [`Sender::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Returns true if a payload of `len` bytes fits the window.
    pub(crate) fn has_room(&self, len: usize, share: Share) -> bool {
        let fits = self.unacknowledged + len <= self.window && self.kept.len() < MAX_UNACKNOWLEDGED;
        fits && (share == Share::Alone || self.shared.has_room(self.unacknowledged, len))
    }

    /// Something is held back by the window.
    pub(crate) fn on_limited(&mut self) {
        self.shared.on_limited();
    }

    /// Returns since when acknowledgements are missing; `None` if nothing is unacknowledged.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        (!self.kept.is_empty()).then_some(self.silence.since)
    }

    /// Returns true if everything that was sent is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the number of unacknowledged payload bytes that count towards the window.
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

/// Whether other streams are affected by what is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// The channel has a single stream.
    Alone,
    /// Several streams share the channel.
    Shared,
}

#[derive(Debug)]
struct Unacknowledged {
    message: Bytes,
    len: usize,
    /// When the last copy was sent.
    sent: Instant,
    /// Number of the last copy, and of its websocket.
    copy: u64,
    websocket: u32,
    attempts: u32,
    retransmit: Retransmit,
    /// Since when it is missing: a message sent later was acknowledged.
    missed: Option<Instant>,
    /// How often a missing acknowledgement proved that it was processed.
    proofs: u32,
}

impl Unacknowledged {
    /// Returns true if the last copy was sent on this websocket and was not the first one.
    fn is_repeated_on(&self, websocket: u32) -> bool {
        self.is_normal() && self.attempts > 1 && self.websocket == websocket
    }

    /// Returns when it is to be retransmitted, if at all.
    fn overdue(&self, rtt: &RttEstimator) -> Option<Instant> {
        match self.retransmit {
            Retransmit::Normal => {
                let missed = self.missed?;
                Some(missed.max(self.sent + rtt.timeout(self.attempts)))
            }
            Retransmit::Probe { next, .. } => Some(next),
        }
    }

    fn is_normal(&self) -> bool {
        self.retransmit == Retransmit::Normal
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Maximum number of kept messages. The window counts payloads only, and a payload may be a single
/// byte, or be returned to the window before its message is dropped.
const MAX_UNACKNOWLEDGED: usize = 10_000;

/// Unanswered retransmissions of the oldest message after which an agent is considered silent.
const SILENT: u32 = 2;

#[cfg(test)]
mod tests;
