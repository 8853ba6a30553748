//! What an agent counted, and when it passed which point.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Counts of one agent. Bytes are payload bytes.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Sequenced messages that were consumed, in order.
    pub messages_in: u64,
    /// Output bytes in them.
    pub bytes_in: u64,
    /// Messages that arrived twice.
    pub duplicates_in: u64,
    /// Messages that arrived before one with a smaller number.
    pub early_in: u64,
    /// Messages that were processed and could not be acknowledged, so that they are processed
    /// again when they come again.
    pub unacknowledged_in: u64,
    /// Messages that were acknowledged and discarded between HandshakeComplete and the agent's
    /// own mark.
    pub discarded_in: u64,
    /// Acknowledgements that arrived.
    pub acknowledgements_in: u64,
    /// Sequenced messages, retransmissions not counted.
    pub messages_out: u64,
    /// Output bytes in them.
    pub bytes_out: u64,
    /// Messages that were sent again.
    pub retransmitted: u64,
    /// Streams that the client opened (or dials, without a mux).
    pub dials: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// What the client did that it must not, and how often.
    pub violations: BTreeMap<Violation, u64>,
}

impl Stats {
    pub(super) fn note(&mut self, violation: Violation) {
        *self.violations.entry(violation).or_default() += 1;
    }
}

/// When an agent passed which point; `None` if it has not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    /// HandshakeRequest was first sent.
    pub requested: Option<Instant>,
    /// HandshakeResponse came, and HandshakeComplete was sent.
    pub complete: Option<Instant>,
    /// Data is acknowledged from now on.
    pub ready: Option<Instant>,
    /// The first message of data came in order.
    pub first_input: Option<Instant>,
    /// The session ended, seen from the agent.
    pub ended: Option<Instant>,
}

impl Timeline {
    /// How long nothing was acknowledged after the handshake.
    pub fn readiness(&self) -> Option<Duration> {
        Some(self.ready? - self.complete?)
    }
}

/// Something that a client must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A payload did not match its digest.
    BadDigest,
    /// A message that the agent could not read.
    Unreadable,
    /// A message that would crash the agent's reader (protocol.md section 3).
    CrashingHeader,
    /// A type that clients do not send.
    UnexpectedKind,
    /// A second HandshakeResponse under a new number (section 5.1).
    SecondHandshakeResponse,
    /// An EncChallengeResponse that was not asked for (section 5.1).
    UnaskedChallenge,
    /// Stream data before HandshakeComplete; it was lost (section 5.1).
    DataBeforeHandshake,
    /// An acknowledgement of a number that was never sent.
    UnknownAcknowledgement,
    /// Bytes that are no smux v1 (section 8.3).
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
