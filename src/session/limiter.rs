//! How often StartSession may be called, for the whole daemon.
//!
//! AWS limits the rate of the call for a whole account, so a burst here would be felt by others.
//! A token bucket: one token for each call, so many a second, and four seconds' worth of them at
//! most (interfaces.md section 2). When AWS throttles a call all the same, every call waits for a
//! while, longer each time, and with jitter, for other clients were throttled in the same moment.
//!
//! ```text
//!   full_at ────────▶ time     the bucket is full again then; each call moves it by a slot, and
//!      │  now                  may go while it is at most four seconds ahead of now
//!      └─ never behind now
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;

/// The calls that may still be made.
#[derive(Debug)]
pub(super) struct Limiter {
    /// What each call costs.
    slot: Duration,
    /// What may be owed before the next call, its own slot included.
    depth: Duration,
    full_at: Instant,
    /// No call may go before, because AWS throttled one.
    paused_until: Instant,
    /// When the pause was decided: calls that were under way then say nothing new.
    paused_at: Instant,
    /// The next pause, without its jitter.
    pause: Duration,
    chance: Rng,
}

impl Limiter {
    /// A full bucket of `rate` calls a second, at least 1.
    pub(super) fn new(now: Instant, rate: u32, seed: u64) -> Self {
        Self {
            slot: Duration::from_secs(1) / rate.max(1),
            depth: BURST,
            full_at: now,
            paused_until: now,
            paused_at: now,
            pause: FIRST_PAUSE,
            chance: Rng::with_seed(seed),
        }
    }

    /// When the next call may go; now or earlier means at once.
    pub(super) fn next(&self) -> Instant {
        let ahead = self.depth.saturating_sub(self.slot);
        let bucket = self.full_at.checked_sub(ahead).unwrap_or(self.full_at);
        bucket.max(self.paused_until)
    }

    /// Takes the token of a call that goes now.
    pub(super) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.slot;
    }

    /// AWS throttled a call that went at `called`.
    pub(super) fn handle_throttled(&mut self, now: Instant, called: Instant) {
        if called < self.paused_at {
            return;
        }
        self.paused_at = now;
        self.paused_until = now + self.pause.mul_f64(0.5 + self.chance.f64() / 2.0);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// AWS answered a call that went at `called`.
    pub(super) fn handle_answer(&mut self, called: Instant) {
        if called >= self.paused_until {
            self.pause = FIRST_PAUSE;
        }
    }

    /// Forgets that AWS throttled; the tokens stay what they are.
    pub(super) fn cut_short(&mut self, now: Instant) {
        self.paused_until = now;
        self.pause = FIRST_PAUSE;
    }
}

/// Bursts are of four seconds' worth (interfaces.md section 2).
const BURST: Duration = Duration::from_secs(4);

/// The first pause after a call was throttled, and where doubling ends.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    /// How many calls go at once.
    fn burst(limiter: &mut Limiter, now: Instant) -> usize {
        let mut calls = 0;
        while limiter.next() <= now {
            limiter.take(now);
            calls += 1;
        }
        calls
    }

    #[test]
    fn a_burst_is_four_seconds_worth_and_then_the_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, 5, 1);

        assert_eq!(burst(&mut limiter, start), 20);
        for second in 1..10 {
            let now = start + Duration::from_secs(second);
            assert_eq!(burst(&mut limiter, now), 5, "second {second}");
        }
        let later = start + Duration::from_secs(3600);
        assert_eq!(burst(&mut limiter, later), 20);
    }

    #[test]
    fn no_window_holds_more_than_the_rate_and_its_burst() {
        for rate in [1, 3, 20, 1000] {
            let start = Instant::now();
            let mut limiter = Limiter::new(start, rate, 1);
            let mut calls = Vec::new();
            for millis in (0..30_000).step_by(7) {
                let now = start + Duration::from_millis(millis);
                calls.extend((0..burst(&mut limiter, now)).map(|_| now));
            }

            for (n, first) in calls.iter().enumerate().step_by(11) {
                let window = Duration::from_secs(10);
                let inside = calls[n..].iter().take_while(|at| **at < *first + window);
                assert!(inside.count() <= 14 * rate as usize, "rate {rate}");
            }
        }
    }

    #[test]
    fn a_throttled_call_lets_all_wait_longer_each_time() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, 100, 1);
        let (mut now, mut whole) = (start, FIRST_PAUSE);

        for _ in 0..10 {
            limiter.handle_throttled(now, now);
            let pause = limiter.next() - now;
            assert!(
                whole / 2 <= pause && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            now = limiter.next();
            whole = (whole * 2).min(MAX_PAUSE);
        }
        limiter.handle_answer(now);
        limiter.handle_throttled(now, now);
        assert!(limiter.next() - now <= FIRST_PAUSE);
    }

    #[test]
    fn calls_that_were_throttled_together_count_once() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, 100, 1);
        let answered = start + Duration::from_millis(30);

        for _ in 0..20 {
            limiter.handle_throttled(answered, start);
        }

        assert!(limiter.next() - answered <= FIRST_PAUSE);
    }

    #[test]
    fn a_pause_can_be_cut_short_and_the_tokens_stay_spent() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, 1, 1);
        burst(&mut limiter, start);
        limiter.handle_throttled(start, start);

        limiter.cut_short(start);

        assert_eq!(limiter.next(), start + Duration::from_secs(1));
    }
}
