//! Interprets missing acknowledgements of old agents.
//!
//! Agents before 3.2.1041.0 do not acknowledge duplicates of messages that they have processed
//! (docs/protocol.md, sections 6.4 and 6.5 item 5), but acknowledge at once what they have not
//! processed. So if a copy is not acknowledged while a message sent after it on the same websocket
//! is, the agent has processed the message. One such proof returns its bytes to the window; it is
//! still retransmitted, in case the copy was lost with the agent's own websocket. After [`PROVED`]
//! proofs it is dropped.

use std::time::Instant;

use super::{Sender, Unacknowledged, earlier};

impl Sender {
    /// A message that was sent once, as `copy`, was acknowledged. Messages of which a copy other
    /// than the first was sent before it on this websocket are processed.
    pub(super) fn prove(&mut self, now: Instant, copy: u64) {
        let websocket = self.websocket;
        let mut given_back = 0;
        let mut next = None;
        for kept in self.kept.values_mut() {
            if kept.is_repeated_on(websocket) && kept.copy < copy {
                kept.proofs += 1;
                // The next proof needs another copy.
                kept.copy = u64::MAX;
                let missed = *kept.missed.get_or_insert(now);
                next = earlier(next, kept.overdue(&self.rtt).unwrap_or(missed));
                given_back += std::mem::take(&mut kept.len);
            }
        }
        self.unacknowledged -= given_back;
        for (seq, _) in self.kept.iter().filter(|(_, kept)| kept.proofs >= PROVED) {
            self.repeats.handle_acknowledgement(now, *seq);
        }
        self.kept.retain(|_, kept| kept.proofs < PROVED);
        self.due.retain(|seq| self.kept.contains_key(seq));
        self.deadline = next.map_or(self.deadline, |next| earlier(self.deadline, next));
    }

    /// Sets whether the agent acknowledges duplicates of messages that it has processed.
    pub(crate) fn set_reacknowledges(&mut self, reacknowledges: bool) {
        self.reacknowledges = reacknowledges;
    }

    /// Returns true if a small message must be sent so that missing acknowledgements of others can
    /// be interpreted. One at a time is enough.
    pub(crate) fn wants_question(&self) -> bool {
        let is_asked =
            |kept: &Unacknowledged| kept.attempts == 1 && kept.websocket == self.websocket;
        let asked = self.question.and_then(|seq| self.kept.get(&seq));
        self.question_due && self.due.is_empty() && !asked.is_some_and(is_asked)
    }

    /// The next message is the one that [`Sender::wants_question`] requested.
    pub(crate) fn handle_question(&mut self) {
        self.question = Some(self.next);
    }
}

/// Number of proofs after which a message is dropped. An undelivered one would have to be lost as
/// often, each time with a later one getting through.
const PROVED: u32 = 3;
