//! One direction of a faulty network path in virtual time: delay, loss, duplication, reordering.
//!
//! Messages are pushed at one end and popped at the other after their delay. Faults are drawn from
//! a seeded RNG, so the same calls yield the same faults. With the default [`Conditions`] the path
//! is perfect: all messages arrive at once and in order.
//!
//! ```text
//!   push ──▶ lost?  duplicated?  ── delay + jitter ──▶ pop     cut: discards all in transit
//!                                 └─ reordered? ─┘
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{duration, json_bounds};

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    chance: fastrand::Rng,
    /// Messages in transit, ordered by arrival time and then by sequence.
    queue: BTreeMap<(Instant, u64), Bytes>,
    bytes: usize,
    serial: u64,
    /// Earliest arrival time of further messages, except reordered ones.
    latest: Option<Instant>,
    doomed: usize,
    lost: u64,
}

impl Link {
    /// Creates a path whose faults are determined by `seed`.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            chance: fastrand::Rng::with_seed(seed),
            queue: BTreeMap::new(),
            bytes: 0,
            serial: 0,
            latest: None,
            doomed: 0,
            lost: 0,
        }
    }

    /// Changes the conditions; messages in transit keep their arrival time.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Loses the next `count` messages, regardless of the conditions.
    pub fn lose_next(&mut self, count: usize) {
        self.doomed = count;
    }

    /// Sends a message.
    pub fn push(&mut self, now: Instant, message: Bytes) {
        self.push_late(now, message, Duration::ZERO);
    }

    /// Sends a message with an additional delay of `late`; others may overtake it.
    pub fn push_late(&mut self, now: Instant, message: Bytes, late: Duration) {
        if self.loses() {
            self.lost += 1;
            return;
        }
        for _ in 0..=u32::from(self.draws(self.conditions.doubling)) {
            let at = match (late, self.draws(self.conditions.reordering)) {
                (Duration::ZERO, false) => self.in_order(now),
                (late, false) => self.travel(now) + late,
                (late, true) => self.travel(now) + late + self.detour(),
            };
            self.serial += 1;
            self.bytes += message.len();
            let _none: Option<Bytes> = self.queue.insert((at, self.serial), message.clone());
        }
    }

    /// Returns the next message that has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        let first = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        let message = first.remove();
        self.bytes -= message.len();
        Some(message)
    }

    /// Returns when the next message arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Discards all messages in transit after a disconnect.
    pub fn cut(&mut self) {
        self.lost += u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.queue.clear();
        self.bytes = 0;
        self.latest = None;
    }

    /// Returns true if no message is in transit and new ones would be unaffected.
    pub fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.doomed == 0 && self.conditions == Conditions::default()
    }

    /// Returns true if the sender need not wait. No realistic path holds more than this limit.
    pub fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES
    }

    /// Returns the number of messages lost at random, by `lose_next`, or by a cut.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn loses(&mut self) -> bool {
        if self.doomed > 0 {
            self.doomed -= 1;
            return true;
        }
        self.draws(self.conditions.loss)
    }

    fn draws(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.chance.u16(..1000) < per_mille
    }

    fn in_order(&mut self, now: Instant) -> Instant {
        let at = self.travel(now);
        let at = self.latest.map_or(at, |latest| at.max(latest));
        self.latest = Some(at);
        at
    }

    fn travel(&mut self, now: Instant) -> Instant {
        let Conditions { delay, jitter, .. } = self.conditions;
        now + delay + drawn(&mut self.chance, jitter)
    }

    /// Draws a detour long enough for other messages to overtake.
    fn detour(&mut self) -> Duration {
        let Conditions { delay, jitter, .. } = self.conditions;
        drawn(&mut self.chance, 2 * (delay + jitter) + DETOUR)
    }
}

/// Link conditions. Probabilities are per thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Minimum delay of every message.
    #[serde(with = "duration")]
    pub delay: Duration,
    /// Maximum additional delay.
    #[serde(with = "duration")]
    pub jitter: Duration,
    /// Probability of loss.
    #[serde(deserialize_with = "json_bounds::per_mille")]
    pub loss: u16,
    /// Probability of duplication.
    #[serde(deserialize_with = "json_bounds::per_mille")]
    pub doubling: u16,
    /// Probability of being overtaken by later messages.
    #[serde(deserialize_with = "json_bounds::per_mille")]
    pub reordering: u16,
}

/// Random schedule of websocket disconnects.
#[derive(Debug)]
pub struct Breaks {
    chance: fastrand::Rng,
    span: Range<Duration>,
    next: Instant,
}

impl Breaks {
    /// Creates a schedule; the time to each disconnect is drawn from `span`.
    pub fn new(now: Instant, seed: u64, span: Range<Duration>) -> Self {
        let mut breaks = Self {
            chance: fastrand::Rng::with_seed(seed),
            span,
            next: now,
        };
        breaks.plan(now);
        breaks
    }

    /// Returns true if a disconnect is due, and schedules the next one.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.plan(now);
        }
        is_due
    }

    /// Returns when the next disconnect is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    fn plan(&mut self, now: Instant) {
        let Range { start, end } = self.span;
        self.next = now + start + drawn(&mut self.chance, end.saturating_sub(start));
    }
}

fn drawn(chance: &mut fastrand::Rng, most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(chance.u64(0..=nanos))
}

/// Additional range of a detour, for links without delay.
const DETOUR: Duration = Duration::from_millis(5);
/// 16 MiB: 1 Gbit/s for more than 100 ms.
const MAX_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Returns what arrives when 1000 numbered messages are sent, one per millisecond.
    fn passed(seed: u64, conditions: Conditions) -> Vec<u16> {
        let start = clock::now();
        let mut link = Link::new(seed, conditions);
        for number in 0..1000u16 {
            let now = start + Duration::from_millis(u64::from(number));
            link.push(now, Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        std::iter::from_fn(|| link.pop(start + HOUR))
            .map(|message| u16::from_be_bytes(message[..].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_perfect_path_changes_nothing() {
        assert!(passed(1, Conditions::default()).into_iter().eq(0..1000));
    }

    #[test]
    fn jitter_alone_keeps_the_order() {
        let conditions = Conditions {
            jitter: Duration::from_secs(1),
            ..Conditions::default()
        };

        assert!(passed(1, conditions).into_iter().eq(0..1000));
    }

    #[test]
    fn loss_doubling_and_reordering_are_as_frequent_as_asked() {
        let lossy = Conditions {
            loss: 100,
            ..Conditions::default()
        };
        let doubling = Conditions {
            doubling: 100,
            ..Conditions::default()
        };
        let reordering = Conditions {
            reordering: 100,
            ..Conditions::default()
        };

        let lost = 1000 - passed(2, lossy).len();
        let doubled = passed(2, doubling).len() - 1000;
        let swapped = passed(2, reordering)
            .windows(2)
            .filter(|pair| pair[0] > pair[1])
            .count();

        assert!((70..130).contains(&lost), "{lost} lost");
        assert!((70..130).contains(&doubled), "{doubled} doubled");
        assert!((30..130).contains(&swapped), "{swapped} overtaken");
    }

    #[test]
    fn the_same_seed_gives_the_same_trouble() {
        let bad = Conditions {
            jitter: Duration::from_millis(9),
            loss: 50,
            doubling: 50,
            reordering: 50,
            ..Conditions::default()
        };

        assert_eq!(passed(3, bad), passed(3, bad));
        assert_ne!(passed(3, bad), passed(4, bad));
    }

    #[test]
    fn nothing_arrives_before_its_delay_or_after_a_cut() {
        let now = clock::now();
        let delay = Duration::from_millis(50);
        let mut link = Link::new(
            1,
            Conditions {
                delay,
                ..Conditions::default()
            },
        );
        link.push(now, Bytes::from_static(b"first"));

        assert_eq!(link.pop(now), None);
        assert_eq!(link.next_arrival(), Some(now + delay));
        assert!(link.pop(now + delay).is_some());
        link.push(now, Bytes::from_static(b"second"));
        link.cut();

        assert_eq!(link.pop(now + HOUR), None);
        assert_eq!(link.lost(), 1);
    }

    #[test]
    fn the_next_messages_are_lost_on_demand() {
        let now = clock::now();
        let mut link = Link::new(1, Conditions::default());
        link.lose_next(1);
        link.push(now, Bytes::from_static(b"first"));
        link.push(now, Bytes::from_static(b"second"));

        assert_eq!(link.pop(now).unwrap(), "second");
        assert!(link.is_clear());
    }

    #[test]
    fn breaks_come_again_and_again() {
        let now = clock::now();
        let span = Duration::from_millis(100)..Duration::from_millis(200);
        let mut breaks = Breaks::new(now, 1, span);

        let times = (0..1000).filter(|ms| breaks.is_due(now + Duration::from_millis(*ms)));

        assert!((5..=9).contains(&times.count()));
    }
}
