//! Model of the path of a stripe: delivery rate, minimum round trip, and how much may be on it.
//!
//! As in BBR, the limit of unacknowledged bytes follows from the rate at which they are delivered
//! and the round trip of the empty path:
//!
//! ```text
//!   limit = 2 × rate × minimum round trip      rate: maximum of the last 5 to 10 s
//! ```
//!
//! While the path is never empty, no short round trip can be measured. After ten seconds without
//! one, the limit is [`MIN_FLIGHT`] for a round trip, which shows what it is now.

use std::time::{Duration, Instant};

use super::limits::{MAX_FLIGHT, MIN_FLIGHT, MIN_SUSPICION};

/// Model of the path of one stripe, in one direction.
#[derive(Debug)]
pub(super) struct PathModel {
    /// Bytes delivered so far, and when the last of them were acknowledged.
    delivered: u64,
    delivered_at: Instant,
    /// Maximum rates, in bytes per second, of this period and the one before.
    rate: u64,
    previous_rate: u64,
    period_start: Instant,
    least: Option<Duration>,
    least_at: Instant,
    smoothed: Option<Duration>,
    /// Since when the limit is low in order to measure the empty path.
    probe_since: Option<Instant>,
}

/// What is known when a record is sent, to compute the rate when it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendMark {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    /// True if the stripe was used as much as its limit permits.
    is_full: bool,
}

impl PathModel {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            rate: 0,
            previous_rate: 0,
            period_start: now,
            least: None,
            least_at: now,
            smoothed: None,
            probe_since: None,
        }
    }

    /// Returns the mark of a record that is sent now, while `flight` bytes are unacknowledged.
    pub(super) fn mark(&mut self, now: Instant, flight: u64) -> SendMark {
        if flight == 0 {
            self.delivered_at = now;
        }
        SendMark {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            is_full: 2 * flight >= self.limit(),
        }
    }

    /// Bytes were acknowledged; the last of them were sent at `mark`.
    pub(super) fn handle_delivered(&mut self, now: Instant, bytes: u64, mark: SendMark) {
        self.delivered += bytes;
        self.delivered_at = now;
        let trip = now.saturating_duration_since(mark.at);
        self.handle_round_trip(now, trip);
        let interval = trip.max(now.saturating_duration_since(mark.delivered_at));
        let micros = interval.max(MIN_INTERVAL).as_micros();
        let rate = u128::from(self.delivered - mark.delivered) * 1_000_000 / micros;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX).min(MAX_RATE);
        let is_over = now.saturating_duration_since(self.period_start) >= RATE_PERIOD;
        if mark.is_full && is_over {
            self.previous_rate = std::mem::take(&mut self.rate);
            self.period_start = now;
        }
        if mark.is_full || rate > self.rate() {
            self.rate = self.rate.max(rate);
        }
    }

    /// Adds a round trip.
    pub(super) fn handle_round_trip(&mut self, now: Instant, trip: Duration) {
        self.smoothed = Some(self.smoothed.map_or(trip, |old| (7 * old + trip) / 8));
        let sent_at = now.checked_sub(trip);
        let probed = self.probe_since.is_some_and(|since| sent_at >= Some(since));
        if probed || self.least.is_none_or(|least| trip <= least) {
            self.least = Some(trip);
            self.least_at = now;
            self.probe_since = None;
        }
    }

    /// Begins to measure the empty path if that is due. Called before records are sent.
    pub(super) fn update(&mut self, now: Instant) {
        let is_old = now.saturating_duration_since(self.least_at) >= LEAST_PERIOD;
        if self.least.is_some() && self.probe_since.is_none() && is_old {
            self.probe_since = Some(now);
        }
    }

    /// Returns how many bytes may be unacknowledged, give or take half a record.
    pub(super) fn limit(&self) -> u64 {
        match (self.least, self.probe_since) {
            (Some(least), None) => self.product(2 * least).clamp(MIN_FLIGHT, MAX_FLIGHT),
            (Some(_), Some(_)) | (None, _) => MIN_FLIGHT,
        }
    }

    /// Returns when the last of `bytes`, sent behind `flight` others, will probably have arrived.
    pub(super) fn delivery_time(&self, flight: u64, bytes: u64) -> Duration {
        let micros = (flight + bytes).saturating_mul(1_000_000) / self.rate();
        Duration::from_micros(micros) + self.least.unwrap_or(UNKNOWN_TRIP) / 2
    }

    /// Returns after which time without any sign of the peer the stripe is suspected.
    pub(super) fn suspicion(&self) -> Duration {
        (4 * self.round_trip()).max(MIN_SUSPICION)
    }

    /// Returns the smoothed round trip; a guess before it is measured.
    pub(super) fn round_trip(&self) -> Duration {
        self.smoothed.unwrap_or(UNKNOWN_TRIP)
    }

    /// Returns the smoothed round trip, if it was measured.
    pub(super) fn measured_round_trip(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Returns the delivery rate, in bytes per second; a guess before it is measured.
    pub(super) fn rate(&self) -> u64 {
        self.measured_rate().unwrap_or(UNKNOWN_RATE)
    }

    /// Returns the delivery rate, if it was measured.
    pub(super) fn measured_rate(&self) -> Option<u64> {
        let rate = self.rate.max(self.previous_rate);
        (rate > 0).then_some(rate.max(MIN_RATE))
    }

    fn product(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.rate()) * time.as_micros() / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// A shorter interval would make a rate out of the granularity of clocks.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Bounds of a rate, in bytes per second, so that products with it do not overflow.
const MIN_RATE: u64 = 1024;
const MAX_RATE: u64 = 1 << 40;

/// Assumed before it is measured: an agent sends about 0.65 MiB/s.
const UNKNOWN_RATE: u64 = 512 * 1024;
const UNKNOWN_TRIP: Duration = Duration::from_millis(100);

const RATE_PERIOD: Duration = Duration::from_secs(5);
const LEAST_PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A path with a rate (bytes per second) and a round trip, always full: returns the model, the
    /// maximum queue after the first second, and the bytes delivered.
    fn run(rate: u64, trip: Duration, seconds: u32) -> (PathModel, Duration, u64) {
        let start = clock::now();
        let (mut now, mut model) = (start, PathModel::new(start));
        let mut flight: std::collections::VecDeque<(Instant, SendMark)> = [].into();
        let (mut free, mut worst, mut total) = (now, Duration::ZERO, 0);
        while now < start + Duration::from_secs(1) * seconds {
            model.update(now);
            while (flight.len() as u64 + 1) * SIZE <= model.limit() {
                let mark = model.mark(now, flight.len() as u64 * SIZE);
                free = free.max(now) + Duration::from_micros(SIZE * 1_000_000 / rate);
                if now > start + Duration::from_secs(1) {
                    worst = worst.max(free - now);
                }
                flight.push_back((free + trip, mark));
            }
            let (arrival, mark) = flight.pop_front().unwrap();
            now = arrival;
            total += SIZE;
            model.handle_delivered(now, SIZE, mark);
        }
        (model, worst, total)
    }

    const SIZE: u64 = 8192;

    #[test]
    fn the_limit_converges_to_twice_what_the_path_holds() {
        for (rate, millis) in [(650 * 1024, 100), (5 << 20, 40), (100 << 10, 300)] {
            let trip = Duration::from_millis(millis);

            let (model, worst, total) = run(rate, trip, 60);

            let ideal = (2 * rate * millis / 1000).max(MIN_FLIGHT);
            let limit = model.product(2 * model.least.unwrap());
            assert!(limit < ideal * 2, "{rate} {millis}: {limit}, not {ideal}");
            let queue = Duration::from_micros(MIN_FLIGHT * 1_000_000 / rate);
            assert!(worst < 2 * trip + 2 * queue, "{rate} {millis}: {worst:?}");
            assert!(total > rate * 60 * 9 / 10, "{rate} {millis}: {total}");
        }
    }

    #[test]
    fn a_path_that_is_rarely_used_keeps_its_rate() {
        let (mut model, ..) = run(1 << 20, Duration::from_millis(100), 20);
        let before = model.rate();
        let mut now = model.delivered_at;

        for _ in 0..100 {
            let mark = model.mark(now, 0);
            now += Duration::from_millis(500);
            model.handle_delivered(now, 10, mark);
        }

        assert_eq!(model.rate(), before);
    }

    #[test]
    fn absurd_round_trips_do_not_overflow() {
        let now = clock::now();
        let mut model = PathModel::new(now);

        let mark = model.mark(now, u64::from(u32::MAX));
        model.handle_delivered(now, u64::from(u32::MAX), mark);
        model.handle_round_trip(now, Duration::ZERO);
        assert_eq!(model.limit(), MIN_FLIGHT);
        model.handle_round_trip(
            now + Duration::from_secs(1 << 30),
            Duration::from_secs(1 << 30),
        );

        assert!(model.limit() <= MAX_FLIGHT);
        assert!(model.delivery_time(u64::from(u32::MAX), 1) < Duration::from_secs(60));
    }
}
