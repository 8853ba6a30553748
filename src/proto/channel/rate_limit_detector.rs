//! Whether a websocket broke for what was sent on it.
//!
//! The service cuts off who sends too much (protocol.md section 0.1), and a cut looks like any
//! other break. One after a busy second is taken for it, and the rate is lowered. But a limit that
//! a thousand messages have reached is not what four hundred broke on: if breaks go on at a rate
//! that is clearly lower, it was never the rate, and lowering it further would cost and help
//! nothing.
//!
//! ```text
//!   busy, broken at 900 a second ─▶ lowered to 450
//!      broken at 400 again  ─▶ the limit may be 400: lowered to 225
//!      broken at 450, 900 ≫ 450 ─▶ not the rate: restored, and believed for ten minutes
//! ```

use std::time::{Duration, Instant};

use super::pacer::AFTERMATH;

/// What is known about breaks.
#[derive(Debug)]
pub(crate) struct RateLimitDetector {
    connected: Instant,
    /// Messages in the second before the break for which the rate was lowered last, and when.
    accused: Option<(u32, Instant)>,
    /// So many messages in a second were not the reason, until then.
    borne: Option<(u32, Instant)>,
}

/// What a break says about the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateVerdict {
    /// It may have been too high.
    Suspected,
    /// It was not the reason, now and before.
    Cleared,
    /// It is known not to be the reason.
    Known,
}

impl RateLimitDetector {
    /// Nothing has broken.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            connected: now,
            accused: None,
            borne: None,
        }
    }

    /// A websocket is open.
    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.connected = now;
    }

    /// It broke, after `recent` messages in a second.
    pub(crate) fn judge(&mut self, now: Instant, recent: u32) -> RateVerdict {
        if let Some((borne, until)) = self.borne
            && now < until
            && recent <= borne.saturating_add(borne / 4)
        {
            return RateVerdict::Known;
        }
        let Some((accused, at)) = self.accused.filter(|(accused, _)| recent < accused / 4 * 3)
        else {
            return RateVerdict::Suspected;
        };
        // A shorter life says nothing about what a second holds.
        let life = now.saturating_duration_since(self.connected);
        if life < FULL_LIFE || now < at + AFTERMATH {
            return RateVerdict::Suspected;
        }
        self.accused = None;
        self.borne = Some((accused, now + BELIEVED));
        RateVerdict::Cleared
    }

    /// The rate was lowered, after `recent` messages in a second.
    pub(crate) fn accuse(&mut self, now: Instant, recent: u32) {
        self.accused = Some((recent, now));
    }
}

/// A websocket that lived so long shows what a second holds, at a clock's coarseness.
const FULL_LIFE: Duration = Duration::from_millis(900);

/// For how long a rate that was not the reason is not suspected.
const BELIEVED: Duration = Duration::from_secs(600);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_service_that_has_a_limit_stays_suspected() {
        let mut now = Instant::now();
        let mut detector = RateLimitDetector::new(now);

        for recent in [420, 410, 400] {
            now += SECOND;
            assert_eq!(detector.judge(now, recent), RateVerdict::Suspected);
            detector.accuse(now, recent);
            detector.handle_connected(now);
        }
    }

    #[test]
    fn breaks_that_go_on_at_half_the_rate_clear_it_for_a_while() {
        let mut now = Instant::now();
        let mut detector = RateLimitDetector::new(now);
        now += SECOND;
        assert_eq!(detector.judge(now, 900), RateVerdict::Suspected);
        detector.accuse(now, 900);
        now += SECOND;
        assert_eq!(detector.judge(now, 450), RateVerdict::Suspected, "too soon");
        now += AFTERMATH;
        detector.handle_connected(now);
        now += SECOND;

        assert_eq!(detector.judge(now, 450), RateVerdict::Cleared);

        for _ in 0..10 {
            now += SECOND;
            assert_eq!(detector.judge(now, 910), RateVerdict::Known);
        }
        assert_eq!(
            detector.judge(now, 2000),
            RateVerdict::Suspected,
            "never borne"
        );
        assert_eq!(detector.judge(now + BELIEVED, 900), RateVerdict::Suspected);
    }

    #[test]
    fn a_short_life_clears_nothing() {
        let now = Instant::now();
        let mut detector = RateLimitDetector::new(now);
        detector.accuse(now, 900);
        let now = now + AFTERMATH;
        detector.handle_connected(now);

        let at = now + Duration::from_millis(300);

        assert_eq!(detector.judge(at, 100), RateVerdict::Suspected);
    }
}
