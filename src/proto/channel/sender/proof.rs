//! What the silence of an old agent tells about a message.
//!
//! Agents before 3.2.1041.0 do not acknowledge a message again that they have processed (protocol.md
//! sections 6.4 and 6.5 item 5). Their silence about it tells: they acknowledge at once what they
//! have not processed. So a copy that is not acknowledged, while a message that left behind it on
//! the same websocket is, was of a message that they have. One such answer gives its bytes back to
//! the window; it is still sent again, in case the copy was lost with the agent's own websocket.
//! After [`PROVED`] answers it is dropped.

use std::time::Instant;

use super::{Kept, Sender, earlier};

impl Sender {
    /// A message was acknowledged that left once, as `copy`. Those of which a copy left before it
    /// on this websocket, and not for the first time, are processed.
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

    /// Whether the agent acknowledges a message again that it has processed.
    pub(crate) fn set_reacknowledges(&mut self, reacknowledges: bool) {
        self.reacknowledges = reacknowledges;
    }

    /// True if a small message must leave so that the agent's silence about others can be judged.
    /// One is enough at a time.
    pub(crate) fn wants_question(&self) -> bool {
        let is_asked = |kept: &Kept| kept.attempts == 1 && kept.websocket == self.websocket;
        let asked = self.question.and_then(|seq| self.kept.get(&seq));
        self.question_due && self.due.is_empty() && !asked.is_some_and(is_asked)
    }

    /// The next message is the one that [`Sender::wants_question`] asks for.
    pub(crate) fn handle_question(&mut self) {
        self.question = Some(self.next);
    }
}

/// A message is dropped that its agent was so often silent about. An undelivered one would have to
/// be lost as often, each time with a later one getting through.
const PROVED: u32 = 3;
