//! Counters and milestones of an agent.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Counters of one agent. Bytes are payload bytes.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Sequenced messages consumed, in order.
    pub messages_in: u64,
    /// Output bytes in these messages.
    pub bytes_in: u64,
    /// Messages received again.
    pub duplicates_in: u64,
    /// Messages received before one with a smaller number.
    pub early_in: u64,
    /// Messages processed but not acknowledged; processed again when retransmitted.
    pub unacknowledged_in: u64,
    /// Messages acknowledged but discarded between HandshakeComplete and the agent's own mark.
    pub discarded_in: u64,
    /// Acknowledgements received.
    pub acknowledgements_in: u64,
    /// Sequenced messages sent, without retransmissions.
    pub messages_out: u64,
    /// Output bytes in these messages.
    pub bytes_out: u64,
    /// Messages retransmitted.
    pub retransmitted: u64,
    /// Streams opened by the client (dials, without a mux).
    pub dials: u64,
    /// Failed dials.
    pub dials_failed: u64,
    /// Protocol violations of the client, and how often each occurred.
    pub violations: BTreeMap<Violation, u64>,
}

impl Stats {
    pub(super) fn note(&mut self, violation: Violation) {
        *self.violations.entry(violation).or_default() += 1;
    }
}

/// Times of an agent's milestones; `None` until passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    /// HandshakeRequest was sent for the first time.
    pub requested: Option<Instant>,
    /// HandshakeResponse was received and HandshakeComplete sent.
    pub complete: Option<Instant>,
    /// The agent began to acknowledge data.
    pub ready: Option<Instant>,
    /// The first data message was received in order.
    pub first_input: Option<Instant>,
    /// The session ended, as seen by the agent.
    pub ended: Option<Instant>,
}

impl Timeline {
    /// Returns the time from HandshakeComplete until data is acknowledged.
    pub fn readiness(&self) -> Option<Duration> {
        Some(self.ready? - self.complete?)
    }
}

/// A protocol violation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A payload does not match its digest.
    BadDigest,
    /// A message is unreadable.
    Unreadable,
    /// A message would crash the agent's reader (docs/protocol.md, section 3).
    CrashingHeader,
    /// A message type that clients do not send.
    UnexpectedKind,
    /// A second HandshakeResponse with a new number (docs/protocol.md, section 5.1).
    SecondHandshakeResponse,
    /// An EncChallengeResponse that was not requested (docs/protocol.md, section 5.1).
    UnaskedChallenge,
    /// Stream data before HandshakeComplete; it was lost (docs/protocol.md, section 5.1).
    DataBeforeHandshake,
    /// An acknowledgement of a number that was never sent.
    UnknownAcknowledgement,
    /// Bytes that are not smux v1 (docs/protocol.md, section 8.3).
    BrokenMux,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadDigest => "bad_digest",
            Self::Unreadable => "unreadable_message",
            Self::CrashingHeader => "crashing_header",
            Self::UnexpectedKind => "unexpected_message_type",
            Self::SecondHandshakeResponse => "second_handshake_response",
            Self::UnaskedChallenge => "unasked_challenge_response",
            Self::DataBeforeHandshake => "data_before_handshake",
            Self::UnknownAcknowledgement => "unknown_acknowledgement",
            Self::BrokenMux => "broken_mux",
        })
    }
}
