//! Detects whether a disconnect was caused by our send rate.
//!
//! Session Manager disconnects clients that send too much (docs/protocol.md, section 0.1), which
//! looks like any other disconnect. One after a busy second is therefore treated as rate limiting,
//! and the rate is lowered. But a limit that a thousand messages have reached cannot be the cause
//! of a disconnect at four hundred: if disconnects continue at a clearly lower rate, the rate was
//! never the cause, and lowering it further would cost throughput without any benefit.
//!
//! ```text
//!   disconnected at 900/s          rate suspected, lowered to 450/s
//!   disconnected again at 400/s    the limit may be 400/s: lowered to 225/s
//!   disconnected at 450/s          450 ≪ 900: not the rate; restored, not suspected for 10 minutes
//! ```

use std::time::{Duration, Instant};

use super::pacer::COOLDOWN;

/// Disconnect history of one channel.
#[derive(Debug)]
pub(crate) struct RateLimitDetector {
    connected: Instant,
    /// Messages in the second before the disconnect that last lowered the rate, and when.
    accused: Option<(u32, Instant)>,
    /// A rate known not to cause disconnects, and until when that holds.
    tolerated: Option<(u32, Instant)>,
}

/// Conclusion from a disconnect about the send rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateVerdict {
    /// The rate may be the cause.
    Suspected,
    /// The rate was not the cause, neither now nor before.
    Cleared,
    /// The rate is already known not to be the cause.
    Unchanged,
}

impl RateLimitDetector {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            connected: now,
            accused: None,
            tolerated: None,
        }
    }

    pub(crate) fn handle_connected(&mut self, now: Instant) {
        self.connected = now;
    }

    /// The websocket disconnected after `recent` messages in a second.
    pub(crate) fn classify(&mut self, now: Instant, recent: u32) -> RateVerdict {
        if let Some((tolerated, until)) = self.tolerated
            && now < until
            && recent <= tolerated.saturating_add(tolerated / 4)
        {
            return RateVerdict::Unchanged;
        }
        let Some((accused, at)) = self.accused.filter(|(accused, _)| recent < accused / 4 * 3)
        else {
            return RateVerdict::Suspected;
        };
        // A shorter connection shows nothing about a whole second.
        let life = now.saturating_duration_since(self.connected);
        if life < FULL_LIFE || now < at + COOLDOWN {
            return RateVerdict::Suspected;
        }
        self.accused = None;
        self.tolerated = Some((accused, now + SAFE_RATE_TTL));
        RateVerdict::Cleared
    }

    /// The rate was lowered after `recent` messages in a second.
    pub(crate) fn record_lowered(&mut self, now: Instant, recent: u32) {
        self.accused = Some((recent, now));
    }
}

/// Minimum lifetime of a websocket that represents a whole second, less the clock's coarseness.
const FULL_LIFE: Duration = Duration::from_millis(900);

/// Time for which a rate that was not the cause is not suspected again.
const SAFE_RATE_TTL: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_rate_stays_suspected_while_disconnects_follow_similar_rates() {
        let mut now = clock::now();
        let mut detector = RateLimitDetector::new(now);

        for recent in [420, 410, 400] {
            now += SECOND;
            assert_eq!(detector.classify(now, recent), RateVerdict::Suspected);
            detector.record_lowered(now, recent);
            detector.handle_connected(now);
        }
    }

    #[test]
    fn disconnects_that_continue_at_half_the_rate_rule_it_out_for_a_while() {
        let mut now = clock::now();
        let mut detector = RateLimitDetector::new(now);
        now += SECOND;
        assert_eq!(detector.classify(now, 900), RateVerdict::Suspected);
        detector.record_lowered(now, 900);
        now += SECOND;
        assert_eq!(
            detector.classify(now, 450),
            RateVerdict::Suspected,
            "too soon"
        );
        now += COOLDOWN;
        detector.handle_connected(now);
        now += SECOND;

        assert_eq!(detector.classify(now, 450), RateVerdict::Cleared);

        for _ in 0..10 {
            now += SECOND;
            assert_eq!(detector.classify(now, 910), RateVerdict::Unchanged);
        }
        assert_eq!(
            detector.classify(now, 2000),
            RateVerdict::Suspected,
            "never borne"
        );
        assert_eq!(
            detector.classify(now + SAFE_RATE_TTL, 900),
            RateVerdict::Suspected
        );
    }

    #[test]
    fn a_disconnect_of_a_short_lived_websocket_rules_nothing_out() {
        let now = clock::now();
        let mut detector = RateLimitDetector::new(now);
        detector.record_lowered(now, 900);
        let now = now + COOLDOWN;
        detector.handle_connected(now);

        let at = now + Duration::from_millis(300);

        assert_eq!(detector.classify(at, 100), RateVerdict::Suspected);
    }
}
