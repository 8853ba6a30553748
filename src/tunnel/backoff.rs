//! A growing pause between attempts, with jitter.
//!
//! Many tunnels break at once, when a network changes or a service restarts: jitter keeps their
//! attempts apart. Chance comes from a seed.

use std::time::Duration;

use fastrand::Rng;

/// The pauses after failed attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    chance: Rng,
    pause: Duration,
}

impl Backoff {
    /// No attempt has failed yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chance: Rng::with_seed(seed),
            pause: FIRST,
        }
    }

    /// How long to wait after another failure: between half of the pause and the whole, and the
    /// pause doubles.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = self.pause;
        self.pause = (whole * 2).min(MAX);
        whole.mul_f64(0.5 + self.chance.f64() / 2.0)
    }

    /// The next pause is at most so long.
    pub(super) fn limit(&mut self, most: Duration) {
        self.pause = self.pause.min(most);
    }

    /// An attempt went well.
    pub(super) fn reset(&mut self) {
        self.pause = FIRST;
    }
}

/// The first pause, and where doubling ends: those of the reference client, but for its end
/// (protocol.md section 2.5).
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
