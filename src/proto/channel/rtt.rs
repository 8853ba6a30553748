//! How long to wait before sending again.
//!
//! RFC 6298 with the gains and first guesses of both reference implementations (protocol.md
//! section 6.3), and other bounds: below the data channel lies TCP, so what is lost was lost with
//! a websocket and is retransmitted on resume. A short timeout would only double what is late.

use std::time::Duration;

/// An estimate of the round trip, and the timeout that follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Duration,
    variation: Duration,
    timeout: Duration,
    least: Option<Duration>,
    samples: u32,
}

impl RttEstimator {
    /// Starts from a guess; no round trip has been measured yet.
    pub(crate) fn new() -> Self {
        Self {
            smoothed: INITIAL_RTT,
            variation: Duration::ZERO,
            timeout: MIN_TIMEOUT,
            least: None,
            samples: 0,
        }
    }

    /// Takes in the round trip of one acknowledged message.
    ///
    /// Leave out messages that were sent twice: nobody can tell which copy the acknowledgement
    /// answers (Karn's algorithm).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.samples = self.samples.saturating_add(1);
        self.least = Some(self.least.map_or(rtt, |least| least.min(rtt)));
        self.variation = (3 * self.variation + self.smoothed.abs_diff(rtt)) / 4;
        self.smoothed = (7 * self.smoothed + rtt) / 8;
        let timeout = self.smoothed + (4 * self.variation).max(GRANULARITY);
        self.timeout = timeout.clamp(MIN_TIMEOUT, MAX_BACKOFF);
    }

    /// How long a message may rest unacknowledged before it is sent again, after `attempts`
    /// copies of it have left: twice as long after each, up to five seconds.
    pub(crate) fn timeout(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        (self.timeout * 2u32.pow(doublings)).min(MAX_BACKOFF)
    }

    /// How soon after one acknowledgement others come that were under way with it.
    pub(crate) fn grace(&self) -> Duration {
        self.smoothed + GRANULARITY
    }

    /// The shortest round trip, once some were measured: the first contain the start of the agent.
    pub(crate) fn least(&self) -> Option<Duration> {
        self.least.filter(|_| self.samples >= FEW)
    }

    /// The smoothed round trip.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed
    }
}

// The first guess and the granularity of both references (protocol.md section 6.3).
const INITIAL_RTT: Duration = Duration::from_millis(100);
const GRANULARITY: Duration = Duration::from_millis(10);

/// The references' initial timeout, and our floor.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);

/// Where the backoff of one message ends, and the timeout of a slow path: a window may take
/// seconds to drain, and a stalled agent is asked every five.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const MAX_DOUBLINGS: u32 = 8;

/// Round trips that tell too little about a path.
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
