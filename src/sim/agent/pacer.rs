//! Schedule of an agent's data messages.
//!
//! An agent sends one message and sleeps for a millisecond, which takes 1.1 to 1.6 ms in total
//! (docs/protocol.md, section 11.1). The driver's timer is up to a millisecond late as well, so the
//! schedule is absolute: a late message does not delay the following ones. The number of intervals
//! that are caught up is bounded, and the schedule restarts after an idle period.

use std::time::Instant;

use super::options::SendRate;

/// The schedule of one agent.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: SendRate,
    /// When the next message is due; `None` if it may be sent at once.
    due: Option<Instant>,
}

impl Pacer {
    pub(super) fn new(pace: SendRate) -> Self {
        Self { pace, due: None }
    }

    /// Records that a message was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        let SendRate::Every(interval) = self.pace else {
            return;
        };
        let due = self.due.unwrap_or(now) + interval;
        let earliest = now.checked_sub(interval * MAX_LATE).unwrap_or(now);
        self.due = Some(due.max(earliest));
    }

    /// Records that nothing was ready when due: the unused interval is not caught up later.
    pub(super) fn rest(&mut self, now: Instant) {
        self.due = self.due.filter(|due| *due > now);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Returns when the next message may be sent; `None` if at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }
}

/// Maximum number of intervals caught up after a late wake-up: a timer with millisecond resolution
/// is late by less than two.
const MAX_LATE: u32 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::FAITHFUL_INTERVAL;
    use super::*;
    use crate::clock;

    /// Runs a pacer with a timer that is late by `late(n)` and counts messages in `span`.
    fn messages(span: Duration, late: impl Fn(u32) -> Duration) -> u32 {
        let start = clock::now();
        let mut pacer = Pacer::new(SendRate::Every(FAITHFUL_INTERVAL));
        let (mut now, mut count, mut wakes) = (start, 0, 0);
        while now < start + span {
            while pacer.is_due(now) {
                pacer.sent(now);
                count += 1;
            }
            wakes += 1;
            now = pacer.next().unwrap_or(now) + late(wakes);
        }
        count
    }

    #[test]
    fn the_mean_interval_is_that_of_an_agent_with_any_timer() {
        let minute = Duration::from_secs(60);
        for micros in [0, 300, 1_000, 1_900] {
            let count = messages(minute, |n| {
                Duration::from_micros(u64::from(n * 7919 % (micros + 1)))
            });

            let rate = f64::from(count) * 1024.0 / 60.0 / 1_048_576.0;

            assert!(
                (0.65..=0.69).contains(&rate),
                "{rate} MiB/s, late by {micros} µs"
            );
        }
    }

    #[test]
    fn idleness_is_not_caught_up() {
        let start = clock::now();
        let mut pacer = Pacer::new(SendRate::Every(FAITHFUL_INTERVAL));
        pacer.sent(start);
        let later = start + Duration::from_secs(10);
        pacer.rest(later);

        pacer.sent(later);

        assert!(!pacer.is_due(later));
        assert_eq!(pacer.next(), Some(later + FAITHFUL_INTERVAL));
    }

    #[test]
    fn a_stall_is_caught_up_by_a_few_messages_at_most() {
        let start = clock::now();
        let mut pacer = Pacer::new(SendRate::Every(FAITHFUL_INTERVAL));
        pacer.sent(start);
        let later = start + Duration::from_secs(10);

        let mut burst = 0;
        while pacer.is_due(later) {
            pacer.sent(later);
            burst += 1;
        }

        assert!((1..=4).contains(&burst), "{burst} messages at once");
    }
}
