//! How fast messages may leave.
//!
//! The service closes the websocket of a client that sends more than about a thousand messages
//! a second (protocol.md section 0.1). The pacer gives each message a slot of `1 / rate`; a
//! sender that was idle may use up to 50 ms worth of slots at once (interfaces.md section 8).
//!
//! ```text
//!   owed ──────────────▶ time        a message may leave while `owed` is at most
//!        │   now                     `BURST` ahead of now; each one moves it by a slot
//!        └─ never behind now
//! ```

use std::time::{Duration, Instant};

/// Spaces messages in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// Time between two messages; zero means no limit.
    slot: Duration,
    /// How far ahead of now the slots may be given away.
    ahead: Duration,
    /// When all the slots given away are over.
    owed: Instant,
}

impl Pacer {
    /// A pacer for `rate` messages per second; 0 means no limit.
    pub(crate) fn new(now: Instant, rate: u32) -> Self {
        let slot = Duration::from_secs(1).checked_div(rate).unwrap_or_default();
        Self {
            slot,
            ahead: BURST.saturating_sub(slot),
            owed: now,
        }
    }

    /// Takes the slot of one message that leaves now.
    pub(crate) fn take(&mut self, now: Instant) {
        self.owed = self.owed.max(now) + self.slot;
    }

    /// When the next message may leave; now or earlier means at once.
    pub(crate) fn next(&self) -> Instant {
        self.owed.checked_sub(self.ahead).unwrap_or(self.owed)
    }
}

/// What may leave at once after a pause.
const BURST: Duration = Duration::from_millis(50);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    /// When messages leave that are offered all the time, polled every `tick`.
    fn departures(rate: u32, tick: Duration, length: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, rate);
        let mut left = Vec::new();
        let mut at = Duration::ZERO;
        while at < length {
            while pacer.next() <= start + at && left.len() < 1_000_000 {
                pacer.take(start + at);
                left.push(at);
            }
            at += tick;
        }
        left
    }

    #[test]
    fn no_window_of_a_second_holds_more_than_the_rate_and_its_burst() {
        for rate in [1, 7, 900, 5000] {
            let left = departures(rate, Duration::from_micros(700), Duration::from_secs(4));
            let burst = (rate as usize / 20).max(1);

            for (first, at) in left.iter().enumerate() {
                let inside = left[first..]
                    .iter()
                    .take_while(|t| **t < *at + Duration::from_secs(1));
                assert!(
                    inside.count() <= rate as usize + burst,
                    "rate {rate} from {at:?}"
                );
            }
        }
    }

    #[test]
    fn the_rate_is_reached_with_a_coarse_clock() {
        let left = departures(900, Duration::from_millis(4), Duration::from_secs(10));

        assert!(left.len() >= 8991, "{} in ten seconds", left.len());
    }

    #[test]
    fn an_idle_sender_may_send_fifty_milliseconds_worth_at_once() {
        let left = departures(900, Duration::from_secs(1), Duration::from_secs(2));

        assert_eq!(left.len(), 2 * 45);
    }

    #[test]
    fn without_a_rate_everything_leaves_at_once() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 0);

        for _ in 0..100_000 {
            pacer.take(start);
        }

        assert!(pacer.next() <= start);
    }
}
