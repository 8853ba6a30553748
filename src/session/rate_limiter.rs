//! How often StartSession of one service (account and region) may be called.
//!
//! AWS limits the rate of the call for an account in a region, so a burst here would be felt by others.
//! A token bucket: one token for each call, so many a second, and four seconds' worth of them at
//! most (interfaces.md section 2). When AWS throttles a call all the same, the bucket is emptied and
//! fills half as fast, then a little faster with each call that is answered: so the rate is found
//! that AWS allows. Every call waits for a while too, longer each time, and with jitter, for other
//! clients were throttled in the same moment.
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
    /// Calls a second, at most.
    rate: f64,
    /// Calls a second, as AWS seems to allow.
    allowed: f64,
    /// What may be owed before the next call, its own slot included.
    depth: Duration,
    full_at: Instant,
    /// No call may go before, because AWS throttled one.
    paused_until: Instant,
    /// When the pause was decided: calls that were under way then say nothing new.
    paused_at: Option<Instant>,
    /// The next pause, without its jitter.
    pause: Duration,
    chance: Rng,
}

impl Limiter {
    /// A full bucket of `rate` calls a second, at least 1.
    pub(super) fn new(now: Instant, rate: u32, seed: u64) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            allowed: f64::from(rate.max(1)),
            depth: BURST,
            full_at: now,
            paused_until: now,
            paused_at: None,
            pause: FIRST_PAUSE,
            chance: Rng::with_seed(seed),
        }
    }

    /// Another rate, at least 1. What AWS seems to allow is found anew.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.rate = f64::from(rate.max(1));
        self.allowed = self.rate;
    }

    /// Whether a new limiter would allow the same: the bucket is full and no pause is remembered.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let is_over = |at: Instant| at + FORGIVEN <= now;
        self.full_at <= now && self.paused_until <= now && self.paused_at.is_none_or(is_over)
    }

    /// When the next call may go; now or earlier means at once.
    pub(super) fn next(&self) -> Instant {
        let ahead = self.depth.saturating_sub(self.slot());
        let bucket = self.full_at.checked_sub(ahead).unwrap_or(self.full_at);
        bucket.max(self.paused_until)
    }

    /// Takes the token of a call that goes now.
    pub(super) fn take(&mut self, now: Instant) {
        if self.paused_at.is_some_and(|at| at + FORGIVEN <= now) {
            self.paused_at = None;
            self.allowed = self.rate;
        }
        self.full_at = self.full_at.max(now) + self.slot();
    }

    /// What each call costs.
    fn slot(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.allowed)
    }

    /// AWS throttled a call that went at `called`.
    pub(super) fn handle_throttled(&mut self, now: Instant, called: Instant) {
        if self.paused_at.is_some_and(|at| called < at) {
            return;
        }
        self.paused_at = Some(now);
        self.allowed = (self.allowed / 2.0).max(self.rate.min(LEAST_RATE));
        self.full_at = now + self.depth;
        self.paused_until = now + self.pause.mul_f64(0.5 + self.chance.f64() / 2.0);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// AWS answered a call that went at `called`.
    pub(super) fn handle_answer(&mut self, called: Instant) {
        if called >= self.paused_until {
            self.pause = FIRST_PAUSE;
            self.allowed = (self.allowed + self.rate * GROWTH).min(self.rate);
        }
    }

    /// Forgets that AWS throttled; the tokens stay what they are.
    pub(super) fn retry_now(&mut self, now: Instant) {
        self.paused_until = now;
        self.pause = FIRST_PAUSE;
        self.allowed = self.rate;
    }
}

/// Bursts are of four seconds' worth (interfaces.md section 2).
const BURST: Duration = Duration::from_secs(4);

/// The first pause after a call was throttled, and where doubling ends.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// However often AWS throttles, so many calls a second are tried when no pause holds them.
const LEAST_RATE: f64 = 0.5;

/// By which part of the whole rate each answer speeds calls up again.
const GROWTH: f64 = 1.0 / 200.0;

/// A throttled call is forgotten after that.
const FORGIVEN: Duration = Duration::from_secs(60);

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
            let pause = limiter.paused_until - now;
            assert!(
                whole / 2 <= pause && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            now = limiter.next();
            whole = (whole * 2).min(MAX_PAUSE);
        }
        limiter.handle_answer(now);
        limiter.handle_throttled(now, now);
        assert!(limiter.paused_until - now <= FIRST_PAUSE);
    }

    #[test]
    fn it_finds_the_rate_that_is_allowed() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, 20, 1);
        // A service that allows 8 calls a second, and 8 at once.
        let (mut level, mut asked) = (8.0_f64, start);
        let (mut answered, mut throttled) = (0, 0);
        for millis in 0..60_000 {
            let now = start + Duration::from_millis(millis);
            if limiter.next() > now {
                continue;
            }
            limiter.take(now);
            level = (level + (now - asked).as_secs_f64() * 8.0).min(8.0);
            asked = now;
            if level < 1.0 {
                limiter.handle_throttled(now, now);
                throttled += 1;
            } else {
                level -= 1.0;
                limiter.handle_answer(now);
                answered += 1;
            }
        }

        assert!(answered > 300, "{answered} of 480 that were allowed");
        assert!(throttled < 30, "{throttled} of {answered} in vain");
        // A minute without a call, and all is forgotten.
        let later = start + Duration::from_secs(121);
        assert_eq!(burst(&mut limiter, later), 80);
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

        limiter.retry_now(start);

        assert_eq!(limiter.next(), start + Duration::from_secs(1));
    }
}
