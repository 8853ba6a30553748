//! Pacer: limits the rate at which messages are sent.
//!
//! Session Manager closes the websocket of a client that sends more than about a thousand messages
//! per second (docs/protocol.md, section 0.1). The pacer gives each message a slot of `1 / rate`; a
//! sender that was idle may use up to 50 ms of slots at once (docs/interfaces.md, section 8).
//!
//! ```text
//!   owed ──────────────▶ time        a message may be sent while `owed` is at most
//!        │   now                     `BURST` ahead of now; each one moves it by a slot
//!        └─ never behind now
//! ```
//!
//! Messages sent evenly may arrive in a burst after the network has stalled. Acknowledgements show
//! that: each stands for a message that arrived, and when more come at once than could have been
//! sent at once, their slots are charged again.

use std::time::{Duration, Instant};

/// Rate limiter for outgoing messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    /// Configured messages per second; 0 means no limit.
    rate: u32,
    /// Time between two messages; zero means no limit.
    slot: Duration,
    /// End of all slots taken so far.
    owed: Instant,
    /// The same for the messages that are known to have arrived.
    arrived: Instant,
    lowered: Option<Lowered>,
    /// Messages since an instant at most [`SPAN`] ago, and in the span before it.
    span: Instant,
    count: u32,
    before: u32,
}

/// A rate lowered below the configured one.
#[derive(Clone, Copy, Debug)]
struct Lowered {
    rate: u32,
    /// Rate before it was lowered for the first time.
    from: u32,
    since: Instant,
}

impl Pacer {
    /// Creates a pacer for `rate` messages per second; 0 means no limit.
    pub(crate) fn new(now: Instant, rate: u32) -> Self {
        let slot = slot(rate);
        Self {
            rate,
            slot,
            owed: now,
            arrived: now,
            lowered: None,
            span: now,
            count: 0,
            before: 0,
        }
    }

    /// Takes the slot of a message that is sent now.
    pub(crate) fn take(&mut self, now: Instant) {
        self.owed = self.owed.max(now) + self.slot;
        self.roll(now);
        self.count += 1;
    }

    /// The acknowledgement of a message was received, so the message has arrived.
    pub(crate) fn handle_arrival(&mut self, now: Instant) {
        self.arrived = (self.arrived.max(now) + self.slot).min(now + SPAN.max(self.slot));
        if self.arrived > now + BURST.max(self.slot) {
            self.owed = self.owed.max(self.arrived);
        }
    }

    /// Returns when the next message may be sent; now or earlier means immediately.
    pub(crate) fn next(&self) -> Instant {
        let ahead = BURST.saturating_sub(self.slot);
        self.owed.checked_sub(ahead).unwrap_or(self.owed)
    }

    /// Handles the passage of time: a lowered rate is raised again step by step.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(lowered) = &mut self.lowered else {
            return;
        };
        if now < lowered.since + LOWERED {
            return;
        }
        lowered.since = now;
        lowered.rate = lowered.rate.saturating_mul(2);
        self.slot = slot(lowered.rate);
        if lowered.rate >= lowered.from {
            self.restore();
        }
    }

    /// Halves the rate because Session Manager requested a pause, or a busy sender was
    /// disconnected. Returns the new rate, or `None` if the rate stays. Repeated calls within
    /// [`COOLDOWN`] are ignored, because they concern messages sent before.
    pub(crate) fn lower_rate(&mut self, now: Instant) -> Option<u32> {
        self.roll(now);
        let measured = self.count.max(self.before);
        let (allowed, from) = match self.lowered {
            Some(lowered) if now < lowered.since + COOLDOWN => return None,
            Some(lowered) => (lowered.rate, lowered.from),
            None if self.rate == 0 && measured < UNPACED_BASELINE => return None,
            None if self.rate == 0 => (measured, measured),
            None => (self.rate, self.rate),
        };
        let rate = (allowed / 2).max(MIN_RATE);
        if self.count + self.before <= allowed / 2 || rate >= allowed {
            return None;
        }
        self.slot = slot(rate);
        let since = now;
        self.lowered = Some(Lowered { rate, from, since });
        Some(rate)
    }

    pub(crate) fn restore(&mut self) {
        self.lowered = None;
        self.slot = slot(self.rate);
    }

    /// Returns the approximate number of messages in the last second, interpolated from two spans.
    pub(crate) fn recent(&mut self, now: Instant) -> u32 {
        self.roll(now);
        let gone = now.saturating_duration_since(self.span).as_secs_f64();
        let share = (1.0 - gone / SPAN.as_secs_f64()).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a u32"
        )]
        let before = (f64::from(self.before) * share) as u32;
        self.count.saturating_add(before)
    }

    fn roll(&mut self, now: Instant) {
        let spans = now.saturating_duration_since(self.span).as_nanos() / SPAN.as_nanos();
        if spans > 0 {
            self.before = if spans == 1 { self.count } else { 0 };
            self.count = 0;
            self.span = now;
        }
    }
}

fn slot(rate: u32) -> Duration {
    Duration::from_secs(1).checked_div(rate).unwrap_or_default()
}

/// Maximum burst after a pause.
const BURST: Duration = Duration::from_millis(50);

/// Interval of the message counts; a sender is busy by those of the last one or two.
const SPAN: Duration = Duration::from_secs(1);

/// Time after which a lowered rate is doubled.
const LOWERED: Duration = Duration::from_secs(60);

/// Time during which further signs of rate limiting have the same cause.
pub(super) const COOLDOWN: Duration = Duration::from_secs(5);

/// Without a configured rate, minimum messages per second for which the rate is taken as the cause.
const UNPACED_BASELINE: u32 = 500;

/// Minimum lowered rate, in messages per second.
const MIN_RATE: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Send times of messages that are always available, polled every `tick`.
    fn departures(rate: u32, tick: Duration, length: Duration) -> Vec<Duration> {
        let start = clock::now();
        let mut pacer = Pacer::new(start, rate);
        let mut left = Vec::new();
        let mut at = Duration::ZERO;
        while at < length {
            while pacer.next() <= start + at && left.len() < 1_000_000 {
                pacer.take(start + at);
                left.push(at);
            }
            at += tick;
        }
        left
    }

    #[test]
    fn no_window_of_a_second_holds_more_than_the_rate_and_its_burst() {
        for rate in [1, 7, 900, 5000] {
            let left = departures(rate, Duration::from_micros(700), Duration::from_secs(4));
            let burst = (rate as usize / 20).max(1);

            for (first, at) in left.iter().enumerate() {
                let inside = left[first..]
                    .iter()
                    .take_while(|t| **t < *at + Duration::from_secs(1));
                assert!(
                    inside.count() <= rate as usize + burst,
                    "rate {rate} from {at:?}"
                );
            }
        }
    }

    #[test]
    fn the_rate_is_reached_with_a_coarse_clock() {
        let left = departures(900, Duration::from_millis(4), Duration::from_secs(10));

        assert!(left.len() >= 8991, "{} in ten seconds", left.len());
    }

    #[test]
    fn an_idle_sender_may_send_fifty_milliseconds_worth_at_once() {
        let left = departures(900, Duration::from_secs(1), Duration::from_secs(2));

        assert_eq!(left.len(), 2 * 45);
    }

    #[test]
    fn without_a_rate_every_message_may_be_sent_at_once() {
        let start = clock::now();
        let mut pacer = Pacer::new(start, 0);

        for _ in 0..100_000 {
            pacer.take(start);
        }

        assert!(pacer.next() <= start);
    }

    #[test]
    fn messages_that_arrive_at_once_after_a_pause_are_charged_again() {
        let start = clock::now();
        let mut pacer = Pacer::new(start, 900);
        let now = start + Duration::from_secs(9);

        for _ in 0..256 {
            pacer.handle_arrival(now);
        }

        let slots = 256 * slot(900);
        assert!(pacer.next() >= now + slots - BURST);
        assert!(pacer.next() <= now + slots);
    }

    #[test]
    fn messages_that_arrive_as_they_were_sent_are_not_charged_again() {
        let start = clock::now();
        let mut paced = Pacer::new(start, 900);
        let mut told = paced;

        for n in 0..9000 {
            let now = start + n * slot(900);
            paced.take(now);
            told.take(now);
            if n % 40 == 0 {
                for _ in 0..40 {
                    told.handle_arrival(now);
                }
            }
            assert_eq!(told.next(), paced.next());
        }
    }

    /// A pacer of a busy sender, one second after it began.
    fn busy(rate: u32, messages: u32) -> (Pacer, Instant) {
        let start = clock::now();
        let mut pacer = Pacer::new(start, rate);
        for n in 0..messages {
            pacer.take(start + n * Duration::from_secs(1) / messages);
        }
        (pacer, start + Duration::from_secs(1))
    }

    #[test]
    fn a_sign_of_rate_limiting_halves_the_rate_of_a_busy_sender_for_a_minute() {
        let (mut pacer, now) = busy(900, 900);

        assert_eq!(pacer.lower_rate(now), Some(450));
        assert_eq!(pacer.lower_rate(now), None, "about the same");

        assert_eq!(pacer.slot, slot(450));
        pacer.handle_timeout(now + LOWERED);
        assert_eq!(pacer.slot, slot(900));
    }

    #[test]
    fn repeated_signs_of_rate_limiting_lower_the_rate_to_its_minimum_and_it_rises_step_by_step() {
        let (mut pacer, mut now) = busy(5000, 5000);
        let mut rates = Vec::new();

        for _ in 0..9 {
            rates.extend(pacer.lower_rate(now));
            now += COOLDOWN;
            for _ in 0..5000 {
                pacer.take(now);
            }
        }

        assert_eq!(rates, [2500, 1250, 625, 312, 156, 78, 50]);
        for rate in [100, 200, 400, 800, 1600, 3200, 5000] {
            now += LOWERED;
            pacer.handle_timeout(now);
            assert_eq!(pacer.slot, slot(rate));
        }
    }

    #[test]
    fn an_unlimited_sender_is_lowered_to_half_of_what_it_sent() {
        let (mut pacer, now) = busy(0, 4000);

        assert_eq!(pacer.lower_rate(now), Some(2000));

        pacer.handle_timeout(now + LOWERED);
        assert_eq!(pacer.slot, Duration::ZERO);
    }

    #[test]
    fn a_sign_of_rate_limiting_does_not_affect_an_idle_sender() {
        let start = clock::now();
        for rate in [0, 900] {
            let mut idle = Pacer::new(start, rate);
            idle.take(start);

            assert_eq!(idle.lower_rate(start), None);
        }
    }
}
