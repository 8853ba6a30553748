//! What a daemon observes of a forward each second: its rates, and since when it is in its state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::forward::StripeInfo;
use crate::telemetry::ForwardState;

/// Observations of one forward.
#[derive(Debug, Default)]
pub(super) struct Observation(Mutex<Observed>);

#[derive(Debug, Default)]
struct Observed {
    state: Option<(ForwardState, Instant)>,
    bytes: Samples,
    /// Those of the stripes to its relay, by their numbers.
    stripes: BTreeMap<u64, Samples>,
}

/// Bytes sent and received until some times, oldest first.
#[derive(Debug, Default)]
struct Samples(VecDeque<(Instant, u64, u64)>);

impl Samples {
    fn record(&mut self, now: Instant, sent: u64, received: u64) {
        if self.0.len() >= MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((now, sent, received));
    }

    fn rates(&self, now: Instant) -> (u64, u64) {
        let is_recent =
            |(at, ..): &&(Instant, u64, u64)| now.saturating_duration_since(*at) <= MAX_AGE;
        let mut recent = self.0.iter().filter(is_recent);
        let (Some(first), Some(last)) = (recent.next(), recent.next_back()) else {
            return (0, 0);
        };
        let millis = last.0.saturating_duration_since(first.0).as_millis();
        let rate = |from: u64, to: u64| {
            let bytes = u128::from(to.saturating_sub(from));
            let rate = (bytes * 1000).checked_div(millis).unwrap_or(0);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        (rate(first.1, last.1), rate(first.2, last.2))
    }
}

impl Observation {
    /// Records the bytes sent and received until now.
    pub(super) fn record_bytes(&self, now: Instant, sent: u64, received: u64) {
        self.lock().bytes.record(now, sent, received);
    }

    /// Records the bytes sent and received until now on each stripe that exists.
    pub(super) fn record_stripes(&self, now: Instant, stripes: &[StripeInfo]) {
        let known = &mut self.lock().stripes;
        known.retain(|id, _| stripes.iter().any(|stripe| stripe.id == *id));
        for stripe in stripes {
            let samples = known.entry(stripe.id).or_default();
            samples.record(now, stripe.sent, stripe.received);
        }
    }

    /// Records the state, and returns since when it is.
    pub(super) fn record_state(&self, now: Instant, state: ForwardState) -> Instant {
        let mut observed = self.lock();
        match observed.state {
            Some((same, since)) if same == state => since,
            Some(_) | None => {
                observed.state = Some((state, now));
                now
            }
        }
    }

    /// Returns the bytes per second sent and received in the last seconds; 0 if there is no recent
    /// sample.
    pub(super) fn rates(&self, now: Instant) -> (u64, u64) {
        self.lock().bytes.rates(now)
    }

    /// Returns the same of a stripe.
    pub(super) fn stripe_rates(&self, now: Instant, id: u64) -> (u64, u64) {
        let observed = self.lock();
        let samples = observed.stripes.get(&id);
        samples.map_or((0, 0), |samples| samples.rates(now))
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of samples: the rates are those of about five seconds.
const MAX_SAMPLES: usize = 6;

/// Maximum age of a sample. While the daemon stops, none is recorded.
const MAX_AGE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let observation = Observation::default();
        assert_eq!(observation.rates(start), (0, 0));

        for second in 0..100 {
            let received = if second < 50 { 0 } else { (second - 50) * 300 };
            observation.record_bytes(at(second), second * 10, received);
        }

        assert_eq!(observation.rates(at(100)), (10, 300));
        assert_eq!(observation.rates(at(200)), (0, 0), "too old");
    }

    #[test]
    fn a_state_lasts_from_its_first_observation() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let observation = Observation::default();

        let since = |second, state| observation.record_state(at(second), state);

        assert_eq!(since(1, ForwardState::Ready), at(1));
        assert_eq!(since(5, ForwardState::Ready), at(1));
        assert_eq!(since(7, ForwardState::Failing), at(7));
        assert_eq!(since(9, ForwardState::Ready), at(9));
    }
}
