//! Exponential backoff with jitter.
//!
//! Many tunnels break at once when a network changes or a service restarts: jitter spreads their
//! attempts. The random numbers come from a seed.

use std::time::Duration;

use fastrand::Rng;

/// The pauses after failed attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    rng: Rng,
    pause: Duration,
}

impl Backoff {
    /// Creates the backoff before the first failure.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            pause: FIRST,
        }
    }

    /// Returns how long to wait after another failure, between half of the pause and all of it, and
    /// doubles the pause.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = self.pause;
        self.pause = (whole * 2).min(MAX);
        whole.mul_f64(0.5 + self.rng.f64() / 2.0)
    }

    /// Limits the next pause to `max`.
    pub(super) fn limit(&mut self, max: Duration) {
        self.pause = self.pause.min(max);
    }

    /// Resets the pause after a success.
    pub(super) fn reset(&mut self) {
        self.pause = FIRST;
    }
}

/// First and maximum pause: those of the reference client, except for the maximum
/// (docs/protocol.md, section 2.5).
const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_vary_within_half() {
        let mut backoff = Backoff::new(1);
        let mut whole = FIRST;

        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(
                whole / 2 <= pause && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            whole = (whole * 2).min(MAX);
        }

        backoff.limit(2 * FIRST);
        let pause = backoff.pause();
        assert!(FIRST <= pause && pause <= 2 * FIRST, "{pause:?}");

        backoff.reset();
        backoff.limit(2 * FIRST);
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn other_seeds_give_other_pauses() {
        assert_ne!(Backoff::new(1).pause(), Backoff::new(2).pause());
    }
}
