//! One stripe: a reliable byte stream that may end anywhere.
//!
//! ```text
//!              WELCOME          not needed          all acknowledged      GOODBYE
//!   Greeting ───────────▶ Live ────────────▶ Draining ──────────────▶ Leaving ─────▶ (removed)
//! ```
//!
//! The stripe of a relay begins as `Live`. A stripe that is lost is removed from any state.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::HandshakeDecoder;
use super::ids::StripeId;
use super::limits::{ACK_BYTES, ACK_DELAY, GREETING_TIMEOUT, MAX_FLIGHT_RECORDS, SILENCE_LIMIT};
use super::path::{PathModel, SendMark};
use super::record::Decoder;

/// State of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StripeState {
    /// HELLO is sent, WELCOME is expected.
    Greeting,
    /// Records are sent.
    Live,
    /// No new records are sent.
    Draining,
    /// GOODBYE is sent, or will be with the next bytes.
    Leaving,
}

/// A numbered record on a stripe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) len: u64,
    /// None while it is queued.
    pub(super) mark: Option<SendMark>,
    /// False if the record was given up on this stripe.
    pub(super) is_held: bool,
}

/// One stripe.
#[derive(Debug)]
pub(super) struct Stripe {
    pub(super) id: StripeId,
    pub(super) state: StripeState,
    pub(super) greeting: HandshakeDecoder,
    pub(super) decoder: Decoder,
    /// Encoded handshake message that is sent first.
    pub(super) head: Option<Bytes>,
    /// Numbered records on this stripe; the first `sent` of them were sent.
    pub(super) records: VecDeque<Sent>,
    pub(super) sent: usize,
    /// Bytes of `records`, and of the first `sent` of them.
    pub(super) flight: u64,
    sent_bytes: u64,
    /// How many records of this stripe the peer has acknowledged.
    pub(super) acknowledged: u64,
    pub(super) path: PathModel,
    /// Numbered records received.
    pub(super) received: u64,
    pub(super) owed: OwedAck,
    pub(super) ping: Option<Ping>,
    pub(super) pong: Option<u64>,
    pub(super) is_goodbye_due: bool,
    pub(super) has_peer_left: bool,
    pub(super) is_suspect: bool,
    pub(super) created_at: Instant,
    /// When bytes were received last.
    pub(super) heard_at: Instant,
    /// Since when the peer must send something: the first that is to be answered.
    pub(super) waiting_since: Option<Instant>,
    /// Since when no record was acknowledged although some were sent.
    unanswered_since: Option<Instant>,
}

/// A PING that is sent, or will be with the next bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    pub(super) value: u64,
    pub(super) sent_at: Option<Instant>,
}

/// The acknowledgement that this end owes on a stripe.
#[derive(Debug, Default)]
pub(super) struct OwedAck {
    bytes: usize,
    since: Option<Instant>,
    is_now: bool,
}

impl OwedAck {
    /// A numbered record was received.
    pub(super) fn add(&mut self, now: Instant, len: usize) {
        self.bytes += len;
        self.since.get_or_insert(now);
    }

    /// An acknowledgement is sent with the next bytes.
    pub(super) fn hasten(&mut self) {
        self.is_now = true;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_now || self.bytes >= ACK_BYTES || self.deadline().is_some_and(|at| at <= now)
    }

    pub(super) fn is_owed(&self) -> bool {
        self.is_now || self.since.is_some()
    }

    /// Returns when an acknowledgement is due that is not due yet.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self
            .since
            .filter(|_| !self.is_now && self.bytes < ACK_BYTES)?;
        Some(since + ACK_DELAY)
    }
}

impl Stripe {
    pub(super) fn new(id: StripeId, state: StripeState, head: Bytes, now: Instant) -> Self {
        Self {
            id,
            state,
            greeting: HandshakeDecoder::default(),
            decoder: Decoder::default(),
            head: Some(head),
            records: VecDeque::new(),
            sent: 0,
            flight: 0,
            sent_bytes: 0,
            unanswered_since: None,
            acknowledged: 0,
            path: PathModel::new(now),
            received: 0,
            owed: OwedAck::default(),
            ping: None,
            pong: None,
            is_goodbye_due: false,
            has_peer_left: false,
            is_suspect: false,
            created_at: now,
            heard_at: now,
            waiting_since: None,
        }
    }

    /// Returns true if records may be assigned to this stripe.
    pub(super) fn is_usable(&self) -> bool {
        self.state == StripeState::Live && !self.is_suspect
    }

    /// Returns true if at least half of a record of `len` bytes fits into the limit.
    pub(super) fn has_room(&self, len: u64) -> bool {
        let fits = self.flight == 0 || self.flight + len / 2 <= self.path.limit();
        self.is_usable() && fits && self.records.len() < MAX_FLIGHT_RECORDS
    }

    /// Adds a record behind the others.
    pub(super) fn push(&mut self, number: u64, len: usize) {
        self.flight += len as u64;
        self.records.push_back(Sent {
            number,
            len: len as u64,
            mark: None,
            is_held: true,
        });
    }

    /// Marks the next record as sent, and returns its number.
    pub(super) fn send_next(&mut self, now: Instant) -> Option<u64> {
        let next = self.records.get_mut(self.sent)?;
        next.mark = Some(self.path.mark(now, self.sent_bytes));
        self.sent += 1;
        self.sent_bytes += next.len;
        self.unanswered_since.get_or_insert(now);
        self.waiting_since.get_or_insert(now);
        Some(next.number)
    }

    /// Removes the first record, which was acknowledged. None if it was not sent.
    pub(super) fn acknowledge_first(&mut self, now: Instant) -> Option<Sent> {
        self.sent = self.sent.checked_sub(1)?;
        let first = self.records.pop_front()?;
        self.flight -= first.len;
        self.sent_bytes -= first.len;
        self.acknowledged += 1;
        self.is_suspect = false;
        self.unanswered_since = (self.sent > 0).then_some(now);
        Some(first)
    }

    /// Gives its records up to others: those that were not sent are dropped. Returns the numbers of
    /// the records that it no longer holds.
    pub(super) fn give_up(&mut self) -> Vec<u64> {
        self.is_suspect = true;
        let held = self.records.iter().filter(|sent| sent.is_held);
        let numbers = held.map(|sent| sent.number).collect();
        self.records.truncate(self.sent);
        self.flight = self.sent_bytes;
        for sent in &mut self.records {
            sent.is_held = false;
        }
        numbers
    }

    /// Drops the next record, which was acknowledged before it was sent here.
    pub(super) fn skip_next(&mut self) {
        if let Some(next) = self.records.remove(self.sent) {
            self.flight -= next.len;
        }
    }

    /// Returns the number of the next record to send.
    pub(super) fn next_number(&self) -> Option<u64> {
        self.records.get(self.sent).map(|sent| sent.number)
    }

    /// The peer sent something.
    pub(super) fn handle_sign_of_life(&mut self, now: Instant) {
        self.heard_at = now;
        self.waiting_since = self.waiting_since.map(|_| now);
    }

    /// Ends the waiting if nothing is to be answered.
    pub(super) fn settle(&mut self) {
        if self.sent == 0 && self.ping.is_none() {
            self.waiting_since = None;
        }
    }

    /// Returns when the stripe counts as dead.
    pub(super) fn death(&self) -> Option<Instant> {
        match self.state {
            StripeState::Greeting => Some(self.created_at + GREETING_TIMEOUT),
            StripeState::Live | StripeState::Draining | StripeState::Leaving => {
                Some(self.waiting_since? + SILENCE_LIMIT)
            }
        }
    }

    /// Returns when its records are sent again on others.
    pub(super) fn suspicion(&self) -> Option<Instant> {
        let since = self.unanswered_since.filter(|_| self.is_usable())?;
        Some(since + self.path.suspicion())
    }

    /// Returns when the peer is asked for a sign of life.
    pub(super) fn next_ping(&self, after: Duration) -> Option<Instant> {
        let may_ask = self.state != StripeState::Greeting && self.ping.is_none();
        may_ask.then(|| self.heard_at + after)
    }
}
