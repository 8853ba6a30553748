//! A forward's memory of definite failures.
//!
//! A target that is off, a permission that is missing: what failed for one connection fails for
//! the next, and asking AWS each time helps nobody. So after a definite failure the gate is shut,
//! and whoever comes is refused with the same reason. After a while one is let through as the
//! probe; if it fails too the gate stays shut, twice as long. What may be mended in a moment, as by a
//! login, is asked for every second, and whoever comes waits for the answer.
//!
//! ```text
//!           definite failure              time is up, someone comes
//!   Open ───────────────────────▶ Shut ─────────────────────────────▶ Probing
//!    ▲                             ▲ ▲                                   │
//!    │                             │ └───── failed: twice as long ───────┤
//!    └──── a session came up ──────┴──────── nothing definite ───────────┘
//! ```

use std::time::{Duration, Instant};

/// Whether a forward may start sessions. `E` is why not.
#[derive(Debug)]
pub struct CircuitBreaker<E> {
    state: State<E>,
}

impl<E: Clone> CircuitBreaker<E> {
    /// Open: nothing has failed.
    pub fn new() -> Self {
        Self { state: State::Open }
    }

    /// Someone wants a session to be started.
    pub fn admit(&mut self, now: Instant) -> Decision<E> {
        match &mut self.state {
            State::Open => Decision::Pass,
            State::Shut(shut) if shut.until <= now && !shut.probing => {
                shut.probing = true;
                Decision::Probe
            }
            State::Shut(shut) if shut.patience == Patience::Steady => Decision::Wait,
            State::Shut(shut) => Decision::Refuse(shut.error.clone()),
        }
    }

    /// When a probe may pass, if one is not under way.
    pub fn opens(&self) -> Option<Instant> {
        match &self.state {
            State::Shut(shut) if !shut.probing => Some(shut.until),
            State::Open | State::Shut(_) => None,
        }
    }

    /// A start that began at `begun` failed in a way that the next one will too. Failures of
    /// starts that were under way when the gate was shut are one failure. `patience` is how the
    /// time grows.
    pub fn handle_failure(&mut self, now: Instant, begun: Instant, error: E, patience: Patience) {
        let hold = match &self.state {
            State::Shut(shut) if begun < shut.since => return,
            State::Shut(shut) => patience.after(shut.hold),
            State::Open => patience.first(),
        };
        self.state = State::Shut(Shut {
            error,
            since: now,
            until: now + hold,
            hold,
            patience,
            probing: false,
        });
    }

    /// The probe told nothing definite, or was given up: the next one to come is a probe again.
    pub fn handle_inconclusive_probe(&mut self) {
        if let State::Shut(shut) = &mut self.state {
            shut.probing = false;
        }
    }

    /// A session came up.
    pub fn handle_success(&mut self) {
        self.state = State::Open;
    }

    /// Lets the next one through as a probe, however short the gate was shut.
    pub fn retry_now(&mut self, now: Instant) {
        if let State::Shut(shut) = &mut self.state {
            shut.until = now;
            shut.hold = Duration::ZERO;
        }
    }

    /// False while sessions are known to fail.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }
}

/// The answer to someone who wants a session to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<E> {
    /// Start it.
    Pass,
    /// Start it; others wait for what becomes of it.
    Probe,
    /// It would fail, for this reason.
    Refuse(E),
    /// Soon, or what becomes of the probe.
    Wait,
}

/// How long a failure is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Longer each time, from 1 s to 15 s.
    Growing,
    /// 1 s each time, and whoever comes waits: what is missing may be there in a moment, as
    /// credentials after a login.
    Steady,
}

impl Patience {
    fn first(self) -> Duration {
        FIRST_HOLD
    }

    fn after(self, hold: Duration) -> Duration {
        match self {
            Self::Growing => (hold * 2).clamp(FIRST_HOLD, MAX_HOLD),
            Self::Steady => FIRST_HOLD,
        }
    }
}

#[derive(Debug)]
enum State<E> {
    Open,
    Shut(Shut<E>),
}

#[derive(Debug)]
struct Shut<E> {
    error: E,
    since: Instant,
    /// When a probe may pass.
    until: Instant,
    hold: Duration,
    patience: Patience,
    /// A probe is under way.
    probing: bool,
}

/// How long the gate is shut at first, and at most.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const MAX_HOLD: Duration = Duration::from_secs(15);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    const GROWING: Patience = Patience::Growing;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn after_a_definite_failure_all_are_refused_but_one_probe_when_time_is_up() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();
        assert_eq!(breaker.admit(start), Decision::Pass);

        breaker.handle_failure(start, start, "off", GROWING);

        assert_eq!(breaker.admit(start), Decision::Refuse("off"));
        let later = start + seconds(1);
        assert_eq!(breaker.admit(later), Decision::Probe);
        assert_eq!(breaker.admit(later), Decision::Refuse("off"));
        breaker.handle_success();
        assert_eq!(breaker.admit(later), Decision::Pass);
    }

    #[test]
    fn the_gate_stays_shut_longer_each_time_up_to_fifteen_seconds() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();
        breaker.handle_failure(start, start, "off", GROWING);
        let mut now = start;

        for hold in [1, 2, 4, 8, 15, 15] {
            let early = now + seconds(hold) - Duration::from_millis(1);
            assert_eq!(breaker.admit(early), Decision::Refuse("off"), "{hold}");
            now += seconds(hold);
            assert_eq!(breaker.admit(now), Decision::Probe, "{hold}");
            breaker.handle_failure(now, now, "off", GROWING);
        }
    }

    #[test]
    fn failures_of_starts_that_were_under_way_together_are_one() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();

        for millis in 0..50 {
            let now = start + Duration::from_millis(100 + millis);
            breaker.handle_failure(now, start, "off", GROWING);
        }

        assert_eq!(breaker.admit(start + seconds(2)), Decision::Probe);
    }

    #[test]
    fn a_probe_without_a_definite_answer_is_followed_by_another() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();
        breaker.handle_failure(start, start, "off", GROWING);
        let later = start + seconds(1);
        assert_eq!(breaker.admit(later), Decision::Probe);

        breaker.handle_inconclusive_probe();

        assert_eq!(breaker.admit(later), Decision::Probe);
    }

    #[test]
    fn what_may_be_there_in_a_moment_is_asked_for_every_second() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();

        for second in 0..20 {
            let now = start + seconds(second);
            breaker.handle_failure(now, now, "no credentials", Patience::Steady);
            assert_eq!(breaker.admit(now), Decision::Wait);
            assert_eq!(breaker.admit(now + seconds(1)), Decision::Probe);
        }
    }

    #[test]
    fn it_can_be_cut_short_and_then_begins_anew() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new();
        for second in 0..5 {
            let now = start + seconds(100 * second);
            breaker.handle_failure(now, now, "off", GROWING);
        }
        let now = start + seconds(401);

        breaker.retry_now(now);

        assert!(!breaker.is_open());
        assert_eq!(breaker.admit(now), Decision::Probe);
        breaker.handle_failure(now, now, "off", GROWING);
        assert_eq!(breaker.admit(now + seconds(1)), Decision::Probe);
    }
}
