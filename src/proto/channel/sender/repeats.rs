//! Messages that the agent may have processed twice.
//!
//! An agent processes a message twice if its own websocket broke between processing and
//! acknowledging it, and it received the message again (protocol.md section 6.5 item 2). That takes
//! two copies from us, and the first one is never acknowledged. So a message is suspect that left
//! more than once, until every copy was acknowledged: agents acknowledge duplicates. Those before
//! 3.2.1041.0 do not, and copies are lost with a websocket. What such a message could break is
//! broken when it is acknowledged, so the suspicion ends some time after that.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages that left more than once, with copies that were not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    suspects: BTreeMap<u64, Suspect>,
    /// When suspects were acknowledged, and which, in order of time.
    acknowledged: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Suspect {
    /// Copies that were not acknowledged.
    copies: u32,
    /// When one was acknowledged last.
    acknowledged: Option<Instant>,
}

impl Repeats {
    /// Another copy of number `seq` leaves.
    pub(super) fn handle_copy(&mut self, seq: u64) {
        let first = Suspect {
            copies: 1,
            acknowledged: None,
        };
        self.suspects.entry(seq).or_insert(first).copies += 1;
    }

    /// Number `seq` was acknowledged, perhaps not for the first time.
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

    /// True if a message before number `end` may have been processed twice, a short time ago.
    pub(super) fn has_suspect(&self, now: Instant, end: u64) -> bool {
        let mut before = self.suspects.range(..end);
        before.any(|(_, suspect)| {
            let acknowledged = suspect.acknowledged;
            acknowledged.is_none_or(|at| now < at + SUSPICION)
        })
    }
}

/// Longer than an agent whose mux broke takes to close the channel: up to two seconds.
const SUSPICION: Duration = Duration::from_secs(3);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_suspect_until_every_copy_was_acknowledged() {
        let now = Instant::now();
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
        let start = Instant::now();
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
