//! Round trip estimator and retransmission timeout.
//!
//! RFC 6298 with the gains and initial values of both reference implementations (docs/protocol.md,
//! section 6.3), but other bounds: the data channel runs over TCP, so messages are lost only with
//! a websocket and are retransmitted on resume. A short timeout would only duplicate late messages.

use std::time::Duration;

/// Estimate of the round trip, and the retransmission timeout derived from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Duration,
    variation: Duration,
    timeout: Duration,
    least: Option<Duration>,
    samples: u32,
}

impl RttEstimator {
    /// Creates an estimator with initial values; no round trip has been measured.
    pub(crate) fn new() -> Self {
        Self {
            smoothed: INITIAL_RTT,
            variation: Duration::ZERO,
            timeout: MIN_TIMEOUT,
            least: None,
            samples: 0,
        }
    }

    /// Adds the round trip of an acknowledged message.
    ///
    /// Messages that were sent more than once must be left out: the acknowledgement does not say
    /// which copy it answers (Karn's algorithm).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.samples = self.samples.saturating_add(1);
        self.least = Some(self.least.map_or(rtt, |least| least.min(rtt)));
        self.variation = (3 * self.variation + self.smoothed.abs_diff(rtt)) / 4;
        self.smoothed = (7 * self.smoothed + rtt) / 8;
        let timeout = self.smoothed + (4 * self.variation).max(GRANULARITY);
        self.timeout = timeout.clamp(MIN_TIMEOUT, MAX_BACKOFF);
    }

    /// Returns how long a message may stay unacknowledged before it is retransmitted, after
    /// `attempts` copies were sent. Doubles with each copy, up to five seconds.
    pub(crate) fn timeout(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        (self.timeout * 2u32.pow(doublings)).min(MAX_BACKOFF)
    }

    /// Returns how soon after one acknowledgement others arrive that were in flight with it.
    pub(crate) fn grace(&self) -> Duration {
        self.smoothed + GRANULARITY
    }

    /// Returns the shortest round trip, or `None` after too few: the first include the agent's
    /// start.
    pub(crate) fn least(&self) -> Option<Duration> {
        self.least.filter(|_| self.samples >= FEW)
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed
    }
}

// Initial value and granularity of both references (docs/protocol.md, section 6.3).
const INITIAL_RTT: Duration = Duration::from_millis(100);
const GRANULARITY: Duration = Duration::from_millis(10);

/// The initial timeout of the references; here the minimum.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);

/// Maximum backoff of one message, and maximum timeout of a slow path: a window may take seconds
/// to drain, and a stalled agent is probed every five.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const MAX_DOUBLINGS: u32 = 8;

/// Minimum number of round trips for a usable shortest one.
const FEW: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_round_trip_converges() {
        let mut rtt = RttEstimator::new();

        for _ in 0..100 {
            rtt.sample(Duration::from_millis(400));
        }

        assert!(rtt.smoothed().abs_diff(Duration::from_millis(400)) < Duration::from_millis(1));
        assert!(rtt.timeout(1) < Duration::from_millis(420));
    }

    #[test]
    fn the_timeout_stays_between_its_bounds() {
        let mut rtt = RttEstimator::new();

        rtt.sample(Duration::from_micros(50));
        assert_eq!(rtt.timeout(1), MIN_TIMEOUT);
        rtt.sample(Duration::from_secs(60));
        assert_eq!(rtt.timeout(1), MAX_BACKOFF);
    }

    #[test]
    fn each_copy_waits_twice_as_long_up_to_a_cap() {
        let rtt = RttEstimator::new();

        assert_eq!(rtt.timeout(2), 2 * rtt.timeout(1));
        assert_eq!(rtt.timeout(3), 4 * rtt.timeout(1));
        assert_eq!(rtt.timeout(u32::MAX), MAX_BACKOFF);
    }
}
