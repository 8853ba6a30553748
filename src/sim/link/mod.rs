//! One direction of a faulty network path in virtual time: delay, loss, duplication, reordering.
//!
//! Messages are pushed at one end and popped at the other after their delay. Faults are drawn from
//! a seeded RNG, so the same calls yield the same faults. With the default [`LinkConditions`] the
//! path is perfect: all messages arrive at once and in order.
//!
//! ```text
//!   push ──▶ lost?  duplicated?  damaged? ── delay + jitter ──▶ pop     cut: discards messages
//!                                          └─ reordered? ─┘                  in transit
//! ```
//!
//! For tests, a fault can also be planned for the next messages of a type.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{duration, json_bounds};
use crate::wire::message::{Message, MessageType};

/// One direction of a path.
#[derive(Debug)]
pub struct Link {
    conditions: LinkConditions,
    rng: fastrand::Rng,
    /// Messages in transit, ordered by arrival time and then by sequence.
    queue: BTreeMap<(Instant, u64), Bytes>,
    bytes: usize,
    capacity: usize,
    serial: u64,
    /// Earliest arrival time of further messages, except reordered ones.
    latest: Option<Instant>,
    planned: Vec<Planned>,
    held_until: Option<Instant>,
    discards: bool,
}

impl Link {
    /// Creates a path whose faults are determined by `seed`.
    pub fn new(seed: u64, conditions: LinkConditions) -> Self {
        Self {
            conditions,
            rng: fastrand::Rng::with_seed(seed),
            queue: BTreeMap::new(),
            bytes: 0,
            capacity: CAPACITY,
            serial: 0,
            latest: None,
            planned: Vec::new(),
            held_until: None,
            discards: false,
        }
    }

    /// Changes the conditions; messages in transit keep their arrival time.
    pub fn set_conditions(&mut self, conditions: LinkConditions) {
        self.conditions = conditions;
    }

    /// Sets the number of bytes in transit from which [`has_room`](Self::has_room) is false.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Sets whether all messages pushed from now on are discarded.
    pub fn set_discards(&mut self, discards: bool) {
        self.discards = discards;
    }

    /// Lets no message arrive before `until`; none is lost.
    pub fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Loses the next `count` messages of any type.
    pub fn lose_next(&mut self, count: usize) {
        self.plan(None, count, Fault::Loss);
    }

    /// Loses the next `count` messages of a type.
    pub fn lose_next_of(&mut self, kind: MessageType, count: usize) {
        self.plan(Some(kind), count, Fault::Loss);
    }

    /// Duplicates the next `count` messages of a type.
    pub fn duplicate_next_of(&mut self, kind: MessageType, count: usize) {
        self.plan(Some(kind), count, Fault::Duplication);
    }

    /// Flips a bit in the last byte of the next `count` messages of a type.
    pub fn damage_next_of(&mut self, kind: MessageType, count: usize) {
        self.plan(Some(kind), count, Fault::Damage);
    }

    /// Delays the next message of a type by `late`; others may overtake it.
    pub fn delay_next_of(&mut self, kind: MessageType, late: Duration) {
        self.plan(Some(kind), 1, Fault::Delay(late));
    }

    /// Cancels all faults planned for the next messages.
    pub fn cancel_planned(&mut self) {
        self.planned.clear();
    }

    fn plan(&mut self, kind: Option<MessageType>, count: usize, fault: Fault) {
        self.planned.push(Planned { kind, count, fault });
    }

    /// Sends a message.
    pub fn push(&mut self, now: Instant, message: Bytes) {
        self.push_late(now, message, Duration::ZERO);
    }

    /// Sends a message with an additional delay of `late`; others may overtake it.
    pub fn push_late(&mut self, now: Instant, mut message: Bytes, mut late: Duration) {
        let planned = self.next_planned(&message);
        if self.discards || planned == Some(Fault::Loss) || self.draws(self.conditions.loss) {
            return;
        }
        let mut copies = 1 + u8::from(self.draws(self.conditions.duplication));
        match planned {
            Some(Fault::Duplication) => copies = 2,
            Some(Fault::Damage) => message = damaged(&message),
            Some(Fault::Delay(by)) => late += by,
            Some(Fault::Loss) | None => {}
        }
        for _ in 0..copies {
            let at = match (late, self.draws(self.conditions.reordering)) {
                (Duration::ZERO, false) => self.in_order(now, message.len()),
                (late, false) => self.arrival(now) + late,
                (late, true) => self.arrival(now) + late + self.reorder_delay(),
            };
            self.insert(at, message.clone());
        }
    }

    /// Sends a message that is not lost and arrives after all others.
    pub fn push_reliably(&mut self, now: Instant, message: Bytes) {
        let last = self.queue.last_key_value().map_or(now, |((at, _), _)| *at);
        let at = last.max(now + self.conditions.delay);
        self.latest = Some(at);
        self.insert(at, message);
    }

    /// Returns the next message that has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.pop_first()
    }

    /// Returns the message that would arrive first.
    pub fn pop_first(&mut self) -> Option<Bytes> {
        let (_, message) = self.queue.pop_first()?;
        self.bytes -= message.len();
        Some(message)
    }

    /// Returns when the next message arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.queue.keys().next()?;
        Some(self.held_until.map_or(*at, |until| until.max(*at)))
    }

    /// Discards the messages in transit after a disconnect, except the first `kept` to arrive.
    pub fn cut(&mut self, kept: usize) {
        while self.queue.len() > kept
            && let Some((_, message)) = self.queue.pop_last()
        {
            self.bytes -= message.len();
        }
        self.latest = None;
    }

    /// Returns true if no message is in transit.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns true if no message is in transit and new ones would be unaffected.
    pub fn is_clear(&self) -> bool {
        self.queue.is_empty()
            && self.planned.is_empty()
            && self.held_until.is_none()
            && !self.discards
            && self.conditions == LinkConditions::default()
    }

    /// Returns true if the sender need not wait.
    pub fn has_room(&self) -> bool {
        self.bytes < self.capacity
    }

    /// Returns the fault planned for this message, if any, and counts it.
    fn next_planned(&mut self, message: &Bytes) -> Option<Fault> {
        if self.planned.is_empty() {
            return None;
        }
        let kind = Message::decode_unverified(message.clone()).ok();
        let kind = kind.map(|message| message.header.kind);
        let fits = |planned: &Planned| planned.kind.is_none() || planned.kind == kind;
        let index = self.planned.iter().position(fits)?;
        let planned = &mut self.planned[index];
        planned.count -= 1;
        let fault = planned.fault;
        if planned.count == 0 {
            self.planned.remove(index);
        }
        Some(fault)
    }

    fn insert(&mut self, at: Instant, message: Bytes) {
        self.serial += 1;
        self.bytes += message.len();
        let _none: Option<Bytes> = self.queue.insert((at, self.serial), message);
    }

    fn draws(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.rng.u16(..1000) < per_mille
    }

    /// Draws the arrival time of a message that overtakes no other, at the bandwidth of the path.
    fn in_order(&mut self, now: Instant, len: usize) -> Instant {
        let at = self.arrival(now);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let transfer = self.conditions.bandwidth.map_or(Duration::ZERO, |rate| {
            Duration::from_secs(1) * len / rate.get()
        });
        let at = self.latest.map_or(at, |latest| at.max(latest + transfer));
        self.latest = Some(at);
        at
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        let LinkConditions { delay, jitter, .. } = self.conditions;
        now + delay + self.drawn(jitter)
    }

    /// Draws a delay long enough for other messages to overtake.
    fn reorder_delay(&mut self) -> Duration {
        let LinkConditions { delay, jitter, .. } = self.conditions;
        self.drawn(2 * (delay + jitter) + MIN_REORDER_RANGE)
    }

    fn drawn(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.u64(0..=nanos))
    }
}

/// Link conditions. Probabilities are per thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConditions {
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
    #[serde(alias = "doubling", deserialize_with = "json_bounds::per_mille")]
    pub duplication: u16,
    /// Probability of being overtaken by later messages.
    #[serde(deserialize_with = "json_bounds::per_mille")]
    pub reordering: u16,
    /// Bytes per second; `None`: no limit.
    pub bandwidth: Option<NonZeroU32>,
}

impl LinkConditions {
    /// Returns a path without other faults than this delay.
    pub fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// A fault planned for the next messages.
#[derive(Debug)]
struct Planned {
    kind: Option<MessageType>,
    count: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Loss,
    Duplication,
    Damage,
    Delay(Duration),
}

fn damaged(message: &Bytes) -> Bytes {
    let mut damaged = message.to_vec();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    damaged.into()
}

/// Minimum range of the delay of reordered messages, for links without delay.
const MIN_REORDER_RANGE: Duration = Duration::from_millis(5);
/// 16 MiB: 1 Gbit/s for more than 100 ms. No realistic path holds more.
const CAPACITY: usize = 16 << 20;

#[cfg(test)]
mod tests;
