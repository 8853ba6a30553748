//! One direction of the path between client and agent: rules for every Nth message, then the link.
//!
//! A path without rules and link conditions is clear, and messages bypass it.

use std::time::Instant;

use bytes::Bytes;

use super::faults::{Action, Direction, MessageFault, Subject};
use super::link::{Link, LinkConditions};

/// One direction of the path.
#[derive(Debug)]
pub(super) struct FaultyPath {
    direction: Direction,
    rules: Vec<MessageRule>,
    link: Link,
    /// A message to be sent after the next one.
    overtaken: Option<Bytes>,
}

impl FaultyPath {
    pub(super) fn new(direction: Direction, seed: u64) -> Self {
        Self {
            direction,
            rules: Vec::new(),
            link: Link::new(seed, LinkConditions::default()),
            overtaken: None,
        }
    }

    /// Sets the rules of this direction and the link conditions. Equal rules keep their counts.
    pub(super) fn set(&mut self, faults: &[MessageFault], conditions: LinkConditions) {
        let fitting = faults
            .iter()
            .filter(|fault| fault.direction.is_none_or(|way| way == self.direction));
        let rules: Vec<_> = fitting
            .map(|fault| MessageRule {
                fault: *fault,
                seen: 0,
            })
            .collect();
        if !rules
            .iter()
            .map(|rule| rule.fault)
            .eq(self.rules.iter().map(|rule| rule.fault))
        {
            self.rules = rules;
        }
        self.link.set_conditions(conditions);
    }

    pub(super) fn push(&mut self, now: Instant, message: Bytes) {
        let action = self
            .rules
            .iter_mut()
            .fold(None, |action, rule| rule.action_for(&message).or(action));
        let overtaken = self.overtaken.take();
        match action {
            None => self.link.push(now, message),
            Some(Action::Drop) => {}
            Some(Action::Duplicate) => {
                self.link.push(now, message.clone());
                self.link.push(now, message);
            }
            Some(Action::Reorder) => self.overtaken = Some(message),
            Some(Action::Delay(late)) => self.link.push_late(now, message, late),
        }
        if let Some(overtaken) = overtaken {
            self.link.push(now, overtaken);
        }
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Bytes> {
        self.link.pop(now)
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.link.next_arrival()
    }

    /// Discards all messages in transit after a disconnect.
    pub(super) fn cut(&mut self) {
        self.overtaken = None;
        self.link.cut(0);
    }

    pub(super) fn is_clear(&self) -> bool {
        self.rules.is_empty() && self.overtaken.is_none() && self.link.is_clear()
    }

    pub(super) fn has_room(&self) -> bool {
        self.link.has_room()
    }
}

#[derive(Clone, Copy, Debug)]
struct MessageRule {
    fault: MessageFault,
    seen: u32,
}

impl MessageRule {
    fn action_for(&mut self, message: &[u8]) -> Option<Action> {
        if !fits(self.fault.subject, message) {
            return None;
        }
        self.seen += 1;
        if self.seen < self.fault.every {
            return None;
        }
        self.seen = 0;
        Some(self.fault.action)
    }
}

/// Returns true if a message is of a kind. Decided from its bytes, without decoding the message.
fn fits(subject: Subject, message: &[u8]) -> bool {
    let kind = message.get(4..36).unwrap_or_default();
    let payload_type = message
        .get(112..116)
        .and_then(|bytes| bytes.try_into().ok());
    let payload_type = payload_type.map(u32::from_be_bytes);
    match subject {
        Subject::Any => true,
        Subject::Data => payload_type == Some(1),
        Subject::Handshake => matches!(payload_type, Some(5..=7)),
        Subject::Flag => payload_type == Some(10),
        Subject::Acknowledge => kind.starts_with(b"acknowledge"),
    }
}

/// Counts messages in the last second, and the maximum in any second.
#[derive(Debug)]
pub(super) struct Rate {
    /// Counts per millisecond, as a ring buffer.
    slots: Vec<u32>,
    /// Last millisecond counted, relative to `start`.
    at: u64,
    start: Instant,
    sum: u32,
    peak: u32,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: vec![0; SLOTS],
            at: 0,
            start: now,
            sum: 0,
            peak: 0,
        }
    }

    /// Counts one message; returns the number in the last second.
    pub(super) fn count(&mut self, now: Instant) -> u32 {
        let at = u64::try_from((now - self.start).as_millis()).unwrap_or(u64::MAX);
        let oldest = at.saturating_sub(999);
        for passed in oldest.max(self.at + 1)..=at {
            self.sum -= std::mem::take(&mut self.slots[slot(passed)]);
        }
        self.at = at;
        self.slots[slot(at)] += 1;
        self.sum += 1;
        self.peak = self.peak.max(self.sum);
        self.sum
    }

    /// Returns the maximum number in any second.
    pub(super) fn peak(&self) -> u32 {
        self.peak
    }
}

fn slot(millisecond: u64) -> usize {
    usize::try_from(millisecond % 1000).expect("it is less than 1000")
}

/// One second in milliseconds.
const SLOTS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::wire::message::{Header, Message, MessageId, MessageType, PayloadType, Seq};

    fn message(kind: MessageType, seq: u64, payload_type: PayloadType) -> Bytes {
        let header = Header {
            kind,
            created: 1,
            seq: Seq(seq),
            flags: 0,
            id: MessageId::from_random([1; 16]),
            payload_type,
        };
        Message {
            header,
            payload: Bytes::new(),
        }
        .encode()
    }

    fn rule(action: Action, every: u32, subject: Subject) -> MessageFault {
        MessageFault {
            action,
            every,
            direction: None,
            subject,
        }
    }

    /// Returns the numbers that arrive, in order, of ten messages sent.
    fn arrived(fault: MessageFault) -> Vec<u64> {
        let now = clock::now();
        let mut path = FaultyPath::new(Direction::ToAgent, 1);
        path.set(&[fault], LinkConditions::default());
        for seq in 0..10 {
            path.push(now, message(MessageType::Input, seq, PayloadType::Output));
        }
        let later = now + Duration::from_secs(60);
        std::iter::from_fn(|| path.pop(later))
            .map(|frame| Message::decode(frame).unwrap().header.seq.0)
            .collect()
    }

    #[test]
    fn every_nth_message_is_dropped_duplicated_reordered_or_delayed() {
        let data = |action| arrived(rule(action, 4, Subject::Data));

        assert_eq!(data(Action::Drop), [0, 1, 2, 4, 5, 6, 8, 9]);
        assert_eq!(
            data(Action::Duplicate),
            [0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9]
        );
        assert_eq!(data(Action::Reorder), [0, 1, 2, 4, 3, 5, 6, 8, 7, 9]);
        let late = Action::Delay(Duration::from_secs(1));
        assert_eq!(data(late), [0, 1, 2, 4, 5, 6, 8, 9, 3, 7]);
    }

    #[test]
    fn other_kinds_and_the_other_direction_pass() {
        assert_eq!(
            arrived(rule(Action::Drop, 1, Subject::Acknowledge)).len(),
            10
        );
        let other = MessageFault {
            direction: Some(Direction::ToClient),
            ..rule(Action::Drop, 1, Subject::Any)
        };
        assert_eq!(arrived(other).len(), 10);
    }

    #[test]
    fn the_subject_of_a_message_is_found_from_its_bytes() {
        let flag = message(MessageType::Input, 0, PayloadType::Flag);
        let handshake = message(MessageType::Input, 0, PayloadType::HandshakeResponse);
        let acknowledge = message(MessageType::Acknowledge, 0, PayloadType::None);

        assert!(fits(Subject::Flag, &flag) && !fits(Subject::Data, &flag));
        assert!(fits(Subject::Handshake, &handshake));
        assert!(fits(Subject::Acknowledge, &acknowledge) && !fits(Subject::Data, &acknowledge));
        assert!(!fits(Subject::Data, b"short"));
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let start = clock::now();
        let mut rate = Rate::new(start);
        let mut last = 0;

        for ms in 0..3000 {
            last = rate.count(start + Duration::from_millis(ms));
        }
        assert_eq!((last, rate.peak()), (1000, 1000));
        let later = rate.count(start + Duration::from_secs(60));

        assert_eq!((later, rate.peak()), (1, 1000));
    }
}
