//! Detects whether messages may be missing after the last one that was received.
//!
//! An agent closes when everything is acknowledged, or two seconds after its destination closed.
//! Messages lost with a websocket, ours or the agent's, are retransmitted one at a time, so a close
//! may overtake them, and no gap shows that: the tail is missing. Two things make the tail possibly
//! incomplete (docs/protocol.md, sections 6.3 and 9.3):
//!
//! * Our websocket was resumed. It is possibly incomplete until a message sent on the new one arrives.
//! * A message was received long after it was created, and alone. That is a retransmission: agents
//!   retransmit one message per 100 ms. Messages delayed in a queue, because the path or the reader
//!   is slow, are late too, but arrive in a run with others. It is possibly incomplete until a message
//!   arrives in time.
//!
//! Dates are compared with earlier ones, so if the agent's clock is set forward, a retransmission
//! would seem to be in time. A message that seems much faster than any before it keeps the tail
//! possibly incomplete, or makes it so, until messages arrive in a run.
//!
//! ```text
//!   sent      1 2 3 4 5 ╳ websocket                 6
//!   received  1 2           3 … 4 … channel_closed?  └ 6 confirms the tail, once 5 was received
//! ```
//!
//! The tail is also confirmed when no old message arrives for longer than an agent waits before it
//! closes.

use std::time::{Duration, Instant};

/// State of the tail of an agent's messages.
#[derive(Debug, Default)]
pub(super) struct TailCheck {
    clock: AgentClock,
    /// True if the agent's clock may have been set while the tail was possibly incomplete.
    may_have_jumped: bool,
    /// When the last new message was received, and when it was created, by our clock.
    last: Option<(Instant, Instant)>,
    /// True if there was a websocket before.
    is_opened: bool,
    /// When the newest websocket opened, unless it is the first.
    resumed: Option<Instant>,
    /// Until when the tail is possibly incomplete.
    incomplete_until: Option<Instant>,
}

impl TailCheck {
    pub(super) fn handle_connected(&mut self, now: Instant) {
        if std::mem::replace(&mut self.is_opened, true) {
            self.resumed = Some(now);
            self.incomplete_until = Some(now + DRAIN);
        }
    }

    /// A message with the date `created` was received for the first time.
    pub(super) fn handle_message(&mut self, now: Instant, created: u64) {
        let (delay, has_jumped) = self.clock.delay(now, created);
        let sent = now.checked_sub(delay).unwrap_or(now);
        let before = self.last.replace((now, sent));
        let is_alone = before.is_some_and(|(came, _)| now - came >= MIN_GAP);
        let is_repeated = is_alone && delay >= MIN_RETRANSMIT_DELAY;
        let is_older = self.resumed.is_some_and(|at| sent <= at + MARGIN);
        if has_jumped && (is_alone || !self.is_complete(now)) {
            self.may_have_jumped = true;
        } else if !is_alone || self.is_complete(now) {
            self.may_have_jumped = false;
        }
        let is_incomplete =
            is_repeated || self.may_have_jumped || (is_older && self.incomplete_until.is_some());
        self.incomplete_until = is_incomplete.then(|| now + DRAIN);
    }

    /// Returns true if nothing can be missing after the last message.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.incomplete_until.is_none_or(|until| until <= now)
    }

    /// Returns when the last new message was created, by our clock.
    pub(super) fn last_created(&self) -> Option<Instant> {
        self.last.map(|(_, created)| created)
    }
}

/// Offset of an agent's clock from ours, derived from the fastest message of the last one or two
/// spans. Clocks drift, so older messages are not used.
#[derive(Debug, Default)]
struct AgentClock {
    /// When the first message was received; offsets are relative to it.
    origin: Option<Instant>,
    /// When the newer span began.
    since: Option<Instant>,
    before: Option<i128>,
    current_min: Option<i128>,
    count: u32,
}

impl AgentClock {
    /// Returns how much longer than the fastest message this one took, received now, and whether
    /// the clock was set forward before it was created.
    fn delay(&mut self, now: Instant, created: u64) -> (Duration, bool) {
        let origin = *self.origin.get_or_insert(now);
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SPAN {
            self.before = self.current_min.take();
            self.since = Some(now);
        }
        let came = now.saturating_duration_since(origin).as_millis();
        let offset = i128::try_from(came).unwrap_or(i128::MAX) - i128::from(created);
        let offset_before = [self.before, self.current_min].into_iter().flatten().min();
        let quickest = offset_before.map_or(offset, |before| before.min(offset));
        // The first messages may all have been late: a handshake is retransmitted too.
        let has_jumped = self.count >= MIN_SAMPLES
            && offset_before.is_some_and(|before| offset + CLOCK_JUMP_MS <= before);
        self.count = self.count.saturating_add(1);
        if has_jumped {
            (self.before, self.current_min, self.since) = (None, None, Some(now));
        }
        self.current_min = Some(
            self.current_min
                .map_or(offset, |current_min| current_min.min(offset)),
        );
        let delay = Duration::from_millis(u64::try_from(offset - quickest).unwrap_or(0));
        (delay, has_jumped)
    }
}

/// Longer than an agent waits for acknowledgements before it closes, plus the time to send that.
const DRAIN: Duration = Duration::from_secs(3);

/// Maximum error of our estimate of the agent's clock.
const MARGIN: Duration = Duration::from_secs(1);

/// Minimum delay of a message that was retransmitted after a break. If an agent closes before it
/// has retransmitted everything, the delay of the last retransmitted message is larger: two seconds
/// less one timeout of that message.
const MIN_RETRANSMIT_DELAY: Duration = Duration::from_millis(500);

/// Minimum interval between retransmissions. Those of an agent are at least 100 ms apart; messages
/// from a queue follow one another within some milliseconds.
const MIN_GAP: Duration = Duration::from_millis(20);

/// A message faster than all others by this many milliseconds shows that the clock was set.
const CLOCK_JUMP_MS: i128 = 500;

/// Minimum number of messages to detect that the clock was set.
const MIN_SAMPLES: u32 = 4;

/// Time for which the offset of two clocks is assumed to hold; an outage may last as long.
const SPAN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A tail check with a first websocket and a first message.
    fn begun(start: Instant) -> TailCheck {
        let mut tail_check = TailCheck::default();
        tail_check.handle_connected(start);
        tail_check.handle_message(start, 1_000_000);
        tail_check
    }

    #[test]
    fn after_a_first_websocket_the_tail_is_complete() {
        let start = clock::now();

        assert!(begun(start).is_complete(start));
    }

    #[test]
    fn old_messages_keep_the_tail_incomplete_and_a_new_one_completes_it() {
        let start = clock::now();
        let mut tail_check = begun(start);

        tail_check.handle_connected(start + at(10_000));
        assert!(!tail_check.is_complete(start + at(10_000)));
        tail_check.handle_message(start + at(12_000), 1_009_000);
        assert!(!tail_check.is_complete(start + at(14_000)), "more may come");
        tail_check.handle_message(start + at(14_500), 1_014_400);

        assert!(tail_check.is_complete(start + at(14_500)));
    }

    #[test]
    fn silence_completes_the_tail() {
        let start = clock::now();
        let mut tail_check = begun(start);

        tail_check.handle_connected(start + at(10_000));
        tail_check.handle_message(start + at(10_100), 1_009_000);

        assert!(!tail_check.is_complete(start + at(13_000)));
        assert!(tail_check.is_complete(start + at(13_100)));
    }

    #[test]
    fn a_retransmission_makes_the_tail_incomplete_until_a_message_is_in_time() {
        let start = clock::now();
        let mut tail_check = begun(start);

        tail_check.handle_message(start + at(1000), 1_000_400);
        assert!(!tail_check.is_complete(start + at(1000)));
        tail_check.handle_message(start + at(1100), 1_000_402);
        assert!(!tail_check.is_complete(start + at(1100)));
        tail_check.handle_message(start + at(1200), 1_001_190);

        assert!(tail_check.is_complete(start + at(1200)));
    }

    #[test]
    fn messages_that_waited_in_a_queue_are_no_retransmissions() {
        let start = clock::now();
        let mut tail_check = begun(start);

        for n in 0..1000 {
            // Sent every millisecond, and delivered every four.
            tail_check.handle_message(start + at(4 * n), 1_000_000 + n);
        }

        assert!(tail_check.is_complete(start + at(4000)));
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let start = clock::now();
        let mut tail_check = begun(start);

        for minute in 1..1000 {
            // The agent's clock loses 10 ms in a minute.
            let now = start + at(60_000 * minute);
            tail_check.handle_message(now, 1_000_000 + 59_990 * minute);
            assert!(tail_check.is_complete(now), "after {minute} minutes");
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_does_not_complete_the_tail() {
        let start = clock::now();
        let mut tail_check = begun(start);
        for n in 0..10 {
            tail_check.handle_message(start + at(n), 1_000_000 + n);
        }

        tail_check.handle_connected(start + at(10_000));
        // Created before the resume, after the clock was set forward by a minute.
        tail_check.handle_message(start + at(12_000), 1_069_000);
        assert!(!tail_check.is_complete(start + at(12_000)));
        tail_check.handle_message(start + at(12_100), 1_069_001);
        assert!(!tail_check.is_complete(start + at(12_100)));
        tail_check.handle_message(start + at(12_200), 1_072_199);
        tail_check.handle_message(start + at(12_202), 1_072_201);

        assert!(tail_check.is_complete(start + at(12_202)));
    }

    #[test]
    fn a_retransmission_after_the_clock_was_set_makes_the_tail_incomplete() {
        let start = clock::now();
        let mut tail_check = begun(start);
        for n in 0..10 {
            tail_check.handle_message(start + at(n), 1_000_000 + n);
        }

        tail_check.handle_message(start + at(1500), 1_060_010);

        assert!(!tail_check.is_complete(start + at(1500)));
    }

    #[test]
    fn a_late_first_message_does_not_make_the_tail_incomplete() {
        let start = clock::now();
        let mut tail_check = begun(start);

        tail_check.handle_message(start + at(100), 1_001_100);

        assert!(tail_check.is_complete(start + at(100)));
    }

    #[test]
    fn a_message_held_back_by_an_outage_is_late() {
        let start = clock::now();
        let mut tail_check = begun(start);

        tail_check.handle_message(start + at(600_000), 1_000_001);

        assert!(!tail_check.is_complete(start + at(600_000)));
    }
}
