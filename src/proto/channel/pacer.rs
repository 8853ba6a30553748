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
    /// Messages per second that were asked for; 0 means no limit.
    rate: u32,
    /// Time between two messages; zero means no limit.
    slot: Duration,
    /// When all the slots given away are over.
    owed: Instant,
    /// Until when the rate is lowered.
    lowered: Option<Instant>,
    /// Messages since a moment at most [`SPAN`] ago, and in the span before it.
    span: Instant,
    count: u32,
    before: u32,
}

impl Pacer {
    /// A pacer for `rate` messages per second; 0 means no limit.
    pub(crate) fn new(now: Instant, rate: u32) -> Self {
        let slot = slot(rate);
        Self {
            rate,
            slot,
            owed: now,
            lowered: None,
            span: now,
            count: 0,
            before: 0,
        }
    }

    /// Takes the slot of one message that leaves now.
    pub(crate) fn take(&mut self, now: Instant) {
        self.owed = self.owed.max(now) + self.slot;
        self.roll(now);
        self.count += 1;
    }

    /// When the next message may leave; now or earlier means at once.
    pub(crate) fn next(&self) -> Instant {
        let ahead = BURST.saturating_sub(self.slot);
        self.owed.checked_sub(ahead).unwrap_or(self.owed)
    }

    /// Time has passed: a lowered rate may be over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.lowered.is_some_and(|until| until <= now) {
            self.lowered = None;
            self.slot = slot(self.rate);
        }
    }

    /// The service asks for less, or has cut off a sender that was busy. Returns the new rate if
    /// that is news: once for each time that it is lowered.
    pub(crate) fn handle_objection(&mut self, now: Instant) -> Option<u32> {
        self.roll(now);
        let busy = self.count + self.before > self.rate / 2;
        if self.rate == 0 || !busy {
            return None;
        }
        let lower = (self.rate / 2).max(1);
        self.slot = slot(lower);
        let news = self.lowered.replace(now + LOWERED).is_none();
        news.then_some(lower)
    }

    fn roll(&mut self, now: Instant) {
        let spans = now.saturating_duration_since(self.span).as_nanos() / SPAN.as_nanos();
        if spans > 0 {
            self.before = if spans == 1 { self.count } else { 0 };
            self.count = 0;
            self.span = now;
        }
    }
}

fn slot(rate: u32) -> Duration {
    Duration::from_secs(1).checked_div(rate).unwrap_or_default()
}

/// What may leave at once after a pause.
const BURST: Duration = Duration::from_millis(50);

/// A sender is busy by what left in the last one or two of these.
const SPAN: Duration = Duration::from_secs(1);

/// How long a rate stays lowered.
const LOWERED: Duration = Duration::from_secs(60);

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

    #[test]
    fn an_objection_to_a_busy_sender_halves_its_rate_for_a_minute() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 900);
        for n in 0..900 {
            pacer.take(start + Duration::from_millis(n));
        }
        let now = start + Duration::from_secs(1);

        assert_eq!(pacer.handle_objection(now), Some(450));
        assert_eq!(pacer.handle_objection(now), None);

        assert_eq!(pacer.slot, slot(450));
        pacer.handle_timeout(now + LOWERED);
        assert_eq!(pacer.slot, slot(900));
    }

    #[test]
    fn an_objection_to_an_idle_sender_or_one_without_a_rate_means_nothing() {
        let start = Instant::now();
        let mut idle = Pacer::new(start, 900);
        let mut unlimited = Pacer::new(start, 0);
        idle.take(start);
        for _ in 0..10_000 {
            unlimited.take(start);
        }

        assert_eq!(idle.handle_objection(start), None);
        assert_eq!(unlimited.handle_objection(start), None);
    }
}
