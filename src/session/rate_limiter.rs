//! Rate limiter for StartSession of one service (account and region).
//!
//! AWS limits the rate of the call per account and region, so a burst here would also affect other
//! users of the account. A token bucket: each call takes one token; tokens are added at `rate` per
//! second, up to four seconds' worth (docs/interfaces.md, section 2). If AWS throttles a call
//! nevertheless, the bucket is emptied and the rate is halved; each answered call raises it a
//! little. So the rate converges to what AWS allows. Throttling also pauses all calls, twice as
//! long each time, with jitter, because other clients were probably throttled at the same moment.
//!
//! ```text
//!   full_at ────────▶ time     when the bucket is full again; each call adds one slot (1 / rate),
//!      │  now                  and may go while this is at most four seconds ahead of now
//!      └─ never before now
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;

/// Token bucket with a rate that adapts to throttling.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Configured maximum, in calls per second.
    rate: f64,
    /// Estimate of the rate that AWS allows, in calls per second.
    allowed: f64,
    /// How far `full_at` may be ahead of now after a call, including that call's slot.
    depth: Duration,
    full_at: Instant,
    /// No call is allowed before, because AWS throttled one.
    paused_until: Instant,
    /// When the pause began. Calls that were in flight then carry no new information.
    paused_at: Option<Instant>,
    /// The next pause, without jitter.
    pause: Duration,
    rng: Rng,
}

impl Limiter {
    /// Creates a full bucket. `rate` is in calls per second, at least 1.
    pub(super) fn new(now: Instant, rate: u32, seed: u64) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            allowed: f64::from(rate.max(1)),
            depth: BURST,
            full_at: now,
            paused_until: now,
            paused_at: None,
            pause: FIRST_PAUSE,
            rng: Rng::with_seed(seed),
        }
    }

    /// Changes the rate, at least 1, and resets the estimate of what AWS allows.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.rate = f64::from(rate.max(1));
        self.allowed = self.rate;
    }

    /// Returns whether a new limiter would behave the same: the bucket is full and no throttling is
    /// remembered.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let is_over = |at: Instant| at + FORGET_AFTER <= now;
        self.full_at <= now && self.paused_until <= now && self.paused_at.is_none_or(is_over)
    }

    /// Returns when the next call is allowed; a time that is not in the future means now.
    pub(super) fn next(&self) -> Instant {
        let ahead = self.depth.saturating_sub(self.slot());
        let bucket = self.full_at.checked_sub(ahead).unwrap_or(self.full_at);
        bucket.max(self.paused_until)
    }

    /// Takes the token of a call that is made now.
    pub(super) fn take(&mut self, now: Instant) {
        if self.paused_at.is_some_and(|at| at + FORGET_AFTER <= now) {
            self.paused_at = None;
            self.allowed = self.rate;
        }
        self.full_at = self.full_at.max(now) + self.slot();
    }

    /// The time that one call costs.
    fn slot(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.allowed)
    }

    /// AWS throttled a call that was made at `called`.
    pub(super) fn handle_throttled(&mut self, now: Instant, called: Instant) {
        if self.paused_at.is_some_and(|at| called < at) {
            return;
        }
        self.paused_at = Some(now);
        self.allowed = (self.allowed / 2.0).max(self.rate.min(MIN_RATE));
        self.full_at = now + self.depth;
        self.paused_until = now + self.pause.mul_f64(0.5 + self.rng.f64() / 2.0);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// AWS answered a call that was made at `called`.
    pub(super) fn handle_answer(&mut self, called: Instant) {
        if called >= self.paused_until {
            self.pause = FIRST_PAUSE;
            self.allowed = (self.allowed + self.rate * GROWTH).min(self.rate);
        }
    }

    /// Forgets that AWS throttled. Spent tokens are not given back.
    pub(super) fn retry_now(&mut self, now: Instant) {
        self.paused_until = now;
        self.pause = FIRST_PAUSE;
        self.allowed = self.rate;
    }
}

/// The size of the bucket: four seconds' worth of calls (docs/interfaces.md, section 2).
const BURST: Duration = Duration::from_secs(4);

/// The first pause after throttling, and the limit of its doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Lower limit of the adapted rate, in calls per second, however often AWS throttles.
const MIN_RATE: f64 = 0.5;

/// The part of the configured rate by which each answer raises the adapted rate.
const GROWTH: f64 = 1.0 / 200.0;

/// After this time without throttling, the configured rate is restored.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Makes all calls that are allowed now, and returns their number.
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
        let start = clock::now();
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
            let start = clock::now();
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
    fn throttling_pauses_all_calls_longer_each_time() {
        let start = clock::now();
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
    fn the_rate_converges_to_what_is_allowed() {
        let start = clock::now();
        let mut limiter = Limiter::new(start, 20, 1);
        // A service that allows 8 calls per second, and bursts of 8.
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
        assert!(throttled < 30, "{throttled} throttled, {answered} answered");
        // After a minute without a call the configured rate is restored.
        let later = start + Duration::from_secs(121);
        assert_eq!(burst(&mut limiter, later), 80);
    }

    #[test]
    fn calls_that_were_throttled_together_count_once() {
        let start = clock::now();
        let mut limiter = Limiter::new(start, 100, 1);
        let answered = start + Duration::from_millis(30);

        for _ in 0..20 {
            limiter.handle_throttled(answered, start);
        }

        assert!(limiter.next() - answered <= FIRST_PAUSE);
    }

    #[test]
    fn a_pause_can_be_cut_short_and_the_tokens_stay_spent() {
        let start = clock::now();
        let mut limiter = Limiter::new(start, 1, 1);
        burst(&mut limiter, start);
        limiter.handle_throttled(start, start);

        limiter.retry_now(start);

        assert_eq!(limiter.next(), start + Duration::from_secs(1));
    }
}
