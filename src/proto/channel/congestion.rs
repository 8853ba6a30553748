//! Congestion window for sessions whose streams share the channel.
//!
//! Bytes in flight delay every keystroke sent after them. So the window follows the delay, as in
//! TCP Vegas and FAST TCP: the shortest trip of a round shows whether there is a queue on the path.
//! The window grows while that trip is short, and shrinks otherwise:
//!
//! ```text
//!   share  = base / shortest of this round            base: the shortest of the last 10 to 20 s
//!   window ← window × (1 + GAIN × (share − BALANCE))
//! ```
//!
//! At intervals, a round with a minimum window measures the length of the empty path.

use std::time::{Duration, Instant};

/// Window of a session with several streams, in payload bytes.
#[derive(Debug)]
pub(crate) struct CongestionWindow {
    size: usize,
    base: BaseRtt,
    /// The shortest trip of this round.
    shortest: Option<Duration>,
    /// The round ends when this number, or a later one, is acknowledged.
    round_end: u64,
    /// True if something was held back in this round.
    limited: bool,
    /// Window size after this round, if the round measures the empty path.
    resume: Option<usize>,
}

impl CongestionWindow {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            size: INITIAL,
            base: BaseRtt::new(now),
            shortest: None,
            round_end: 0,
            limited: false,
            resume: None,
        }
    }

    /// Returns true if `len` more bytes may be sent while `unacknowledged` are in flight.
    pub(crate) fn has_room(&self, unacknowledged: usize, len: usize) -> bool {
        unacknowledged == 0 || unacknowledged + len <= self.size
    }

    /// Something is held back.
    pub(crate) fn on_limited(&mut self) {
        self.limited = true;
    }

    /// Message `seq`, sent once, was acknowledged after `trip`; `next` is the number of the next
    /// new message.
    pub(crate) fn sample(&mut self, now: Instant, seq: u64, trip: Duration, next: u64) {
        self.shortest = Some(self.shortest.map_or(trip, |shortest| shortest.min(trip)));
        if seq < self.round_end {
            return;
        }
        self.round_end = next;
        let Some(shortest) = self.shortest.take() else {
            return;
        };
        let limited = std::mem::take(&mut self.limited);
        self.base.sample(shortest);
        if let Some(size) = self.resume.take() {
            self.size = size;
        } else if self.base.is_old(now) {
            self.base.begin(now);
            self.resume = Some(std::mem::replace(&mut self.size, MIN));
        } else {
            self.adapt(shortest, limited);
        }
    }

    /// Adapts the window. It is in balance when the queue is two thirds as long as the path.
    fn adapt(&mut self, shortest: Duration, limited: bool) {
        let empty = (self.base.shortest() + NOISE).as_secs_f64();
        let share = (empty / shortest.as_secs_f64()).min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and within bounds that any usize holds"
        )]
        let size = (self.size as f64 * (1.0 + GAIN * (share - TARGET_SHARE))) as usize;
        if size < self.size || limited {
            self.size = size.clamp(MIN, MAX);
        }
    }
}

/// The shortest trip of the last one or two spans.
#[derive(Debug)]
struct BaseRtt {
    since: Instant,
    before: Option<Duration>,
    lately: Option<Duration>,
}

impl BaseRtt {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            before: None,
            lately: None,
        }
    }

    fn shortest(&self) -> Duration {
        let known = [self.before, self.lately].into_iter().flatten();
        known.min().unwrap_or(Duration::MAX / 4)
    }

    fn sample(&mut self, trip: Duration) {
        self.lately = Some(self.lately.map_or(trip, |lately| lately.min(trip)));
    }

    fn is_old(&self, now: Instant) -> bool {
        now - self.since >= SPAN
    }

    /// Begins a span and drops the one before the last. Only an empty path shows its length.
    fn begin(&mut self, now: Instant) {
        self.before = self.lately.take();
        self.since = now;
    }
}

/// Initial window: the burst that a pacer permits.
const INITIAL: usize = 64 * 1024;

/// Minimum window: two messages.
const MIN: usize = 2 * 1024;

/// Maximum window: more than any path needs; the sender's own window is much smaller.
const MAX: usize = 1 << 30;

/// Fraction of the difference that is corrected in a round; a larger one oscillates.
const GAIN: f64 = 0.5;

/// Target share of the empty path in a trip. A larger one leaves gaps, a smaller one is noticeable:
/// at 0.6 a keystroke takes less than three times as long as without other streams.
const TARGET_SHARE: f64 = 0.6;

/// Delay added by the scheduling of two processes.
const NOISE: Duration = Duration::from_micros(20);

/// Time for which the length of a path is assumed to be constant.
const SPAN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A path that drains `drain` bytes per millisecond and is `length` long.
    struct Path {
        window: CongestionWindow,
        now: Instant,
        length: Duration,
        drain: u32,
        free_at: Instant,
        seq: u64,
        under_way: std::collections::VecDeque<(u64, Instant, Instant)>,
    }

    impl Path {
        fn new(length: Duration, drain: u32) -> Self {
            let now = clock::now();
            Self {
                window: CongestionWindow::new(now),
                now,
                length,
                drain,
                free_at: now,
                seq: 0,
                under_way: std::collections::VecDeque::new(),
            }
        }

        /// Sends as much as the window permits for `time`. Returns the trips of the last half,
        /// sorted.
        fn fill(&mut self, time: Duration) -> Vec<Duration> {
            let (begin, end) = (self.now, self.now + time);
            let mut trips = Vec::new();
            while self.now < end {
                while self.window.has_room(self.under_way.len() * 1024, 1024) {
                    self.send();
                }
                self.window.on_limited();
                let (seq, sent, back) = self.under_way.pop_front().unwrap();
                self.now = back;
                if self.now > begin + time / 2 {
                    trips.push(back - sent);
                }
                self.window.sample(back, seq, back - sent, self.seq);
            }
            trips.sort();
            trips
        }

        fn send(&mut self) {
            let service = Duration::from_millis(1024) / self.drain;
            self.free_at = self.free_at.max(self.now) + service;
            self.under_way
                .push_back((self.seq, self.now, self.free_at + self.length));
            self.seq += 1;
        }
    }

    #[test]
    fn the_window_fills_the_path_without_a_standing_queue() {
        for (length, drain) in [(50, 1024), (50, 5 * 1024), (2, 64 * 1024), (200, 2048)] {
            let length = Duration::from_millis(length);
            let mut path = Path::new(length, drain);

            let trips = path.fill(Duration::from_secs(60));

            let p95 = trips[trips.len() * 95 / 100];
            assert!(p95 < 5 * length / 2, "{p95:?} on {length:?}");
            let could = 30 * drain as usize * 1000 / 1024;
            assert!(trips.len() > could * 9 / 10, "{} of {could}", trips.len());
        }
    }

    #[test]
    fn the_window_follows_a_path_that_became_longer() {
        let mut path = Path::new(Duration::from_millis(5), 1024);
        path.fill(Duration::from_secs(10));
        path.length = Duration::from_millis(100);
        path.fill(Duration::from_secs(40));

        let arrived = path.fill(Duration::from_secs(20)).len();

        assert!(arrived > 9000, "{arrived} of 10000");
    }

    #[test]
    fn a_message_of_any_length_may_be_sent_while_nothing_is_in_flight() {
        let window = CongestionWindow::new(clock::now());

        assert!(window.has_room(0, 1 << 20));
        assert!(!window.has_room(INITIAL, 1));
    }
}
