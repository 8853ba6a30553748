//! Rates of one forward over the last minutes, computed from its counters.
//!
//! There is one sample per second. Counters that have decreased belong to another process, or to a
//! forward that a reload has replaced: they begin a new series, and the gap has no rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes per second in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Read from clients.
    pub(crate) sent: u64,
    /// Written to clients.
    pub(crate) received: u64,
}

/// The samples of one forward; memory is bounded by [`CAPACITY`].
#[derive(Debug, Default)]
pub(crate) struct RateHistory {
    /// The counters at the last sample, and when they were read.
    last: Option<(Instant, Rate)>,
    /// The newest sample is the last; `None` where the rate is unknown.
    samples: VecDeque<Option<Rate>>,
    /// Number of samples ever recorded.
    recorded: usize,
}

impl RateHistory {
    /// Records the counters that were read at `at`.
    pub(super) fn record(&mut self, at: Instant, sent: u64, received: u64) {
        let counters = Rate { sent, received };
        let Some((since, before)) = self.last else {
            self.last = Some((at, counters));
            return;
        };
        let elapsed = at.saturating_duration_since(since);
        if elapsed < SHORTEST {
            return;
        }
        self.last = Some((at, counters));
        let rate = match (
            sent.checked_sub(before.sent),
            received.checked_sub(before.received),
        ) {
            (Some(sent), Some(received)) => Some(Rate {
                sent: per_second(sent, elapsed),
                received: per_second(received, elapsed),
            }),
            (None, _) | (_, None) => None,
        };
        // A late response covers several seconds.
        let seconds = (elapsed + SECOND / 2).as_secs().max(1);
        let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
        self.recorded = self.recorded.wrapping_add(seconds);
        for _ in 0..seconds.min(CAPACITY) {
            self.samples.push_back(rate);
        }
        let surplus = self.samples.len().saturating_sub(CAPACITY);
        self.samples.drain(..surplus);
    }

    /// Starts a new series: the next counters are not compared with the last ones.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
        if !self.samples.is_empty() {
            self.samples.push_back(None);
            self.recorded = self.recorded.wrapping_add(1);
        }
    }

    /// Returns the average of the last seconds, once there is a sample.
    pub(crate) fn current(&self) -> Option<Rate> {
        let newest = self.samples.iter().rev().map_while(|sample| *sample);
        average(newest.take(AVERAGED))
    }

    /// Returns the averages of `width` equal periods, the last of which ends now, oldest first.
    /// Together they cover at least `seconds`.
    pub(crate) fn periods(&self, seconds: usize, width: usize) -> Vec<Option<Rate>> {
        if width == 0 {
            return Vec::new();
        }
        let period = seconds.div_ceil(width).max(1);
        let mut periods = Vec::with_capacity(width);
        let mut samples = self.samples.iter().rev().copied();
        // Periods begin at fixed samples, so that they move to the left as a whole.
        let mut length = match self.recorded % period {
            0 => period,
            partial => partial,
        };
        for _ in 0..width {
            periods.push(average(samples.by_ref().take(length).flatten()));
            length = period;
        }
        periods.reverse();
        periods
    }
}

fn average(rates: impl Iterator<Item = Rate>) -> Option<Rate> {
    let (mut count, mut sent, mut received) = (0, 0_u128, 0_u128);
    for rate in rates {
        count += 1;
        sent += u128::from(rate.sent);
        received += u128::from(rate.received);
    }
    let mean = |sum: u128| u64::try_from(sum / count).unwrap_or(u64::MAX);
    (count > 0).then(|| Rate {
        sent: mean(sent),
        received: mean(received),
    })
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let millis = elapsed.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// Number of samples that are kept: ten minutes.
const CAPACITY: usize = 600;

/// Number of samples averaged for the current rate.
const AVERAGED: usize = 5;

const SECOND: Duration = Duration::from_secs(1);

/// Responses that arrive earlier than this after the last sample are not samples.
const SHORTEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn rate(sent: u64, received: u64) -> Option<Rate> {
        Some(Rate { sent, received })
    }

    #[test]
    fn a_rate_is_the_difference_of_two_counters_per_second() {
        let (mut history, begin) = (RateHistory::default(), clock::now());

        history.record(begin, 1000, 50);
        assert_eq!(history.current(), None);
        history.record(begin + SECOND, 3000, 50);
        assert_eq!(history.current(), rate(2000, 0));
        history.record(begin + SECOND * 3, 3000, 8050);

        assert_eq!(
            history.periods(4, 4),
            [None, rate(2000, 0), rate(0, 4000), rate(0, 4000)]
        );
    }

    #[test]
    fn counters_that_decrease_begin_a_new_series() {
        let (mut history, begin) = (RateHistory::default(), clock::now());
        history.record(begin, 1 << 40, 1 << 40);

        history.record(begin + SECOND, 100, 100);
        assert_eq!(history.current(), None);
        history.record(begin + SECOND * 2, 300, 100);

        assert_eq!(history.current(), rate(200, 0));
        assert_eq!(history.periods(3, 3), [None, None, rate(200, 0)]);
    }

    #[test]
    fn after_an_interruption_counters_are_not_compared() {
        let (mut history, begin) = (RateHistory::default(), clock::now());
        history.record(begin, 0, 0);
        history.record(begin + SECOND, 10, 0);

        history.interrupt();
        history.record(begin + SECOND * 2, 1 << 40, 0);

        assert_eq!(history.current(), None);
        history.record(begin + SECOND * 3, (1 << 40) + 5, 0);
        assert_eq!(history.current(), rate(5, 0));
    }

    #[test]
    fn a_response_right_after_another_is_no_sample() {
        let (mut history, begin) = (RateHistory::default(), clock::now());
        history.record(begin, 0, 0);

        history.record(begin + Duration::from_millis(1), 1000, 0);
        history.record(begin + SECOND, 2000, 0);

        assert_eq!(history.periods(2, 2), [None, rate(2000, 0)]);
    }

    #[test]
    fn periods_average_samples_and_keep_their_boundaries() {
        let (mut history, begin) = (RateHistory::default(), clock::now());
        let mut sent = 0;
        history.record(begin, 0, 0);
        for second in 1..=6 {
            sent += u64::from(second) * 10;
            history.record(begin + SECOND * second, sent, 0);
        }

        assert_eq!(history.periods(6, 2), [rate(20, 0), rate(50, 0)]);
        sent += 70;
        history.record(begin + SECOND * 7, sent, 0);
        assert_eq!(
            history.periods(9, 3),
            [rate(20, 0), rate(50, 0), rate(70, 0)]
        );
        assert_eq!(history.periods(9, 0), []);
    }

    #[test]
    fn memory_is_bounded_over_days() {
        let (mut history, begin) = (RateHistory::default(), clock::now());
        history.record(begin, 0, 0);
        for second in 1..=100_000 {
            history.record(begin + SECOND * second, u64::from(second), 0);
        }
        history.record(begin + SECOND * 100_000 * 1000, u64::MAX, u64::MAX);

        assert_eq!(history.samples.len(), CAPACITY);
        assert!(history.samples.capacity() < CAPACITY * 4);
    }
}
