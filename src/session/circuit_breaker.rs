//! Circuit breaker for StartSession, one per forward.
//!
//! A persistent failure (target offline, permission missing) would hit every following connection
//! too. So it opens the breaker: starts are rejected with the same error and AWS is not called.
//! After the hold time one start is allowed as a probe, and others wait for its result, because the
//! error is old by then. If the probe fails, the breaker stays open twice as long, from 1 s up to
//! 15 s; if it succeeds, the breaker closes.
//!
//! Missing credentials are different: a login may provide them at any moment. The breaker then
//! allows a probe every second, and other starts always wait instead of being rejected.
//!
//! ```text
//!            persistent failure              hold time over, next start
//!   Closed ──────────────────────▶ Open ─────────────────────────────▶ Open, probing
//!     ▲                             ▲ ▲                                   │
//!     │                             │ └── probe failed: twice as long ────┤
//!     └──── a start succeeded ──────┴──── probe inconclusive ─────────────┘
//! ```

use std::time::{Duration, Instant};

/// Decides whether a forward may start sessions. `E` is the error that opened the breaker.
#[derive(Debug)]
pub struct CircuitBreaker<E> {
    state: BreakerState<E>,
}

impl<E: Clone> CircuitBreaker<E> {
    /// A closed breaker: nothing has failed.
    pub fn new() -> Self {
        Self {
            state: BreakerState::Closed,
        }
    }

    /// Decides about a start at `now`.
    pub fn check(&mut self, now: Instant) -> Decision<E> {
        match &mut self.state {
            BreakerState::Closed => Decision::Allow,
            BreakerState::Open(open) if open.until <= now && !open.probing => {
                open.probing = true;
                Decision::Probe
            }
            BreakerState::Open(open) if open.probing || open.growth == HoldTime::Constant => {
                Decision::Wait
            }
            BreakerState::Open(open) => Decision::Reject(open.error.clone()),
        }
    }

    /// When a probe may start, unless one is in progress. `None` for a closed breaker.
    pub fn next_probe_at(&self) -> Option<Instant> {
        match &self.state {
            BreakerState::Open(open) if !open.probing => Some(open.until),
            BreakerState::Closed | BreakerState::Open(_) => None,
        }
    }

    /// Records a persistent failure of a start that began at `begun`. Failures of starts that were
    /// in progress when the breaker opened count as one.
    pub fn handle_failure(&mut self, now: Instant, begun: Instant, error: E, growth: HoldTime) {
        let hold = match &self.state {
            BreakerState::Open(open) if begun < open.since => return,
            BreakerState::Open(open) => growth.after(open.hold),
            BreakerState::Closed => FIRST_HOLD,
        };
        self.state = BreakerState::Open(Open {
            error,
            since: now,
            until: now + hold,
            hold,
            growth,
            probing: false,
        });
    }

    /// Records that the probe was cancelled or failed for an unrelated reason. The next start is a
    /// probe again.
    pub fn handle_inconclusive_probe(&mut self) {
        if let BreakerState::Open(open) = &mut self.state {
            open.probing = false;
        }
    }

    /// Records a start that succeeded: closes the breaker.
    pub fn handle_success(&mut self) {
        self.state = BreakerState::Closed;
    }

    /// Allows a probe now, whatever is left of the hold time, which begins again at 1 s.
    pub fn retry_now(&mut self, now: Instant) {
        if let BreakerState::Open(open) = &mut self.state {
            open.until = now;
            open.hold = Duration::ZERO;
        }
    }

    /// True while no persistent failure is known.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, BreakerState::Closed)
    }
}

/// What to do about a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<E> {
    /// Start it.
    Allow,
    /// Start it as the probe; its result decides about the others.
    Probe,
    /// Fail it with this error.
    Reject(E),
    /// Keep it pending until the next probe is due or has a result.
    Wait,
}

/// How the hold time develops while probes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldTime {
    /// It doubles, from 1 s to 15 s.
    Exponential,
    /// It stays 1 s, and starts wait: what is missing may be provided at any moment, such as
    /// credentials by a login.
    Constant,
}

impl HoldTime {
    fn after(self, hold: Duration) -> Duration {
        match self {
            Self::Exponential => (hold * 2).clamp(FIRST_HOLD, MAX_HOLD),
            Self::Constant => FIRST_HOLD,
        }
    }
}

#[derive(Debug)]
enum BreakerState<E> {
    Closed,
    Open(Open<E>),
}

#[derive(Debug)]
struct Open<E> {
    error: E,
    since: Instant,
    /// When a probe may start.
    until: Instant,
    hold: Duration,
    growth: HoldTime,
    /// A probe is in progress.
    probing: bool,
}

/// The first and the longest hold time.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const MAX_HOLD: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const EXPONENTIAL: HoldTime = HoldTime::Exponential;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_persistent_failure_rejects_all_starts_but_one_probe_after_the_hold_time() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();
        assert_eq!(breaker.check(start), Decision::Allow);

        breaker.handle_failure(start, start, "off", EXPONENTIAL);

        assert_eq!(breaker.check(start), Decision::Reject("off"));
        let later = start + seconds(1);
        assert_eq!(breaker.check(later), Decision::Probe);
        assert_eq!(breaker.check(later), Decision::Wait);
        breaker.handle_success();
        assert_eq!(breaker.check(later), Decision::Allow);
    }

    #[test]
    fn starts_that_waited_for_a_failed_probe_are_rejected() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();
        breaker.handle_failure(start, start, "off", EXPONENTIAL);
        let later = start + seconds(1);
        assert_eq!(breaker.check(later), Decision::Probe);
        assert_eq!(breaker.check(later), Decision::Wait);

        breaker.handle_failure(later, later, "still off", EXPONENTIAL);

        assert_eq!(breaker.check(later), Decision::Reject("still off"));
    }

    #[test]
    fn the_hold_time_doubles_up_to_fifteen_seconds() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();
        breaker.handle_failure(start, start, "off", EXPONENTIAL);
        let mut now = start;

        for hold in [1, 2, 4, 8, 15, 15] {
            let early = now + seconds(hold) - Duration::from_millis(1);
            assert_eq!(breaker.check(early), Decision::Reject("off"), "{hold}");
            now += seconds(hold);
            assert_eq!(breaker.check(now), Decision::Probe, "{hold}");
            breaker.handle_failure(now, now, "off", EXPONENTIAL);
        }
    }

    #[test]
    fn failures_of_starts_that_were_in_progress_together_count_once() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();

        for millis in 0..50 {
            let now = start + Duration::from_millis(100 + millis);
            breaker.handle_failure(now, start, "off", EXPONENTIAL);
        }

        assert_eq!(breaker.check(start + seconds(2)), Decision::Probe);
    }

    #[test]
    fn an_inconclusive_probe_is_followed_by_another() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();
        breaker.handle_failure(start, start, "off", EXPONENTIAL);
        let later = start + seconds(1);
        assert_eq!(breaker.check(later), Decision::Probe);

        breaker.handle_inconclusive_probe();

        assert_eq!(breaker.check(later), Decision::Probe);
    }

    #[test]
    fn missing_credentials_are_probed_every_second() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();

        for second in 0..20 {
            let now = start + seconds(second);
            breaker.handle_failure(now, now, "no credentials", HoldTime::Constant);
            assert_eq!(breaker.check(now), Decision::Wait);
            assert_eq!(breaker.check(now + seconds(1)), Decision::Probe);
        }
    }

    #[test]
    fn retry_now_allows_a_probe_and_resets_the_hold_time() {
        let start = clock::now();
        let mut breaker = CircuitBreaker::new();
        for second in 0..5 {
            let now = start + seconds(100 * second);
            breaker.handle_failure(now, now, "off", EXPONENTIAL);
        }
        let now = start + seconds(401);

        breaker.retry_now(now);

        assert!(!breaker.is_closed());
        assert_eq!(breaker.check(now), Decision::Probe);
        breaker.handle_failure(now, now, "off", EXPONENTIAL);
        assert_eq!(breaker.check(now + seconds(1)), Decision::Probe);
    }
}
