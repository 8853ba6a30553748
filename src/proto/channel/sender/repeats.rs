//! Tracks messages that the agent may have processed twice.
//!
//! An agent processes a message twice if its own websocket broke between processing and
//! acknowledging it, and it received the message again (docs/protocol.md, section 6.5 item 2). That
//! requires two copies from us, of which the first is never acknowledged. So a message sent more
//! than once is suspect until every copy was acknowledged: agents acknowledge duplicates. Agents
//! before 3.2.1041.0 do not, and copies are lost with a websocket. Any damage that such a message
//! can do is done when it is acknowledged, so it stops being suspect some time after that.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages sent more than once, with unacknowledged copies.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    suspects: BTreeMap<u64, Suspect>,
    /// When suspects were acknowledged, and which, in order of time.
    acknowledged: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Suspect {
    /// Number of unacknowledged copies.
    copies: u32,
    /// When a copy was last acknowledged.
    acknowledged: Option<Instant>,
}

impl Repeats {
    /// Another copy of number `seq` is sent.
    pub(super) fn handle_copy(&mut self, seq: u64) {
        let first = Suspect {
            copies: 1,
            acknowledged: None,
        };
        self.suspects.entry(seq).or_insert(first).copies += 1;
    }

    /// Number `seq` was acknowledged, possibly not for the first time.
    pub(super) fn handle_acknowledgement(&mut self, now: Instant, seq: u64) {
        self.expire(now);
        let Some(suspect) = self.suspects.get_mut(&seq) else {
            return;
        };
        suspect.copies -= 1;
        suspect.acknowledged = Some(now);
        if suspect.copies == 0 {
            self.suspects.remove(&seq);
        } else {
            self.acknowledged.push_back((now, seq));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, seq)) = self.acknowledged.front().copied()
            && at + SUSPICION <= now
        {
            self.acknowledged.pop_front();
            let suspect = self.suspects.get(&seq);
            if suspect.is_some_and(|suspect| suspect.acknowledged == Some(at)) {
                self.suspects.remove(&seq);
            }
        }
    }

    /// Returns true if a message before number `end` may have been processed twice recently.
    pub(super) fn has_suspect(&self, now: Instant, end: u64) -> bool {
        let mut before = self.suspects.range(..end);
        before.any(|(_, suspect)| {
            let acknowledged = suspect.acknowledged;
            acknowledged.is_none_or(|at| now < at + SUSPICION)
        })
    }
}

/// Longer than an agent with a broken mux takes to close the channel: up to two seconds.
const SUSPICION: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_message_is_suspect_until_every_copy_was_acknowledged() {
        let now = clock::now();
        let mut repeats = Repeats::default();

        repeats.handle_copy(7);
        assert!(repeats.has_suspect(now, 8) && !repeats.has_suspect(now, 7));
        repeats.handle_acknowledgement(now, 7);
        assert!(repeats.has_suspect(now, 8));
        repeats.handle_acknowledgement(now, 7);
        repeats.handle_acknowledgement(now, 7);

        assert!(!repeats.has_suspect(now, 8));
    }

    #[test]
    fn a_copy_that_was_lost_is_suspect_for_a_while() {
        let start = clock::now();
        let mut repeats = Repeats::default();
        repeats.handle_copy(7);
        repeats.handle_copy(7);

        repeats.handle_acknowledgement(start, 7);
        repeats.handle_acknowledgement(start + SUSPICION / 2, 7);

        assert!(repeats.has_suspect(start + SUSPICION, 8));
        assert!(!repeats.has_suspect(start + SUSPICION * 3 / 2, 8));
        repeats.handle_acknowledgement(start + SUSPICION * 2, 9);
        assert!(repeats.suspects.is_empty(), "nothing is kept for good");
    }
}
