//! Send state of an agent: sequence numbers, copies and retransmission.
//!
//! There is no window. A message is kept until its own number is acknowledged. Every 100 ms, the
//! oldest kept message is retransmitted if its timeout has passed. While 100,000 are kept, further
//! messages are sent but not kept (docs/protocol.md, section 6.3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::options::Retransmission;

/// Sequence numbers, copies and round-trip estimate of the messages to the client.
#[derive(Debug)]
pub(super) struct Sender {
    next: u64,
    kept: BTreeMap<u64, Unacknowledged>,
    /// Total length of the frames in `kept`.
    bytes: usize,
    retransmission: Retransmission,
    tick: Option<Instant>,
    rtt: Rtt,
}

impl Sender {
    pub(super) fn new(retransmission: Retransmission) -> Self {
        Self {
            next: 0,
            kept: BTreeMap::new(),
            bytes: 0,
            retransmission,
            tick: None,
            rtt: Rtt::new(),
        }
    }

    /// Returns the next sequence number.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Assigns the next number to `frame` and keeps a copy. An acknowledgement that arrives before
    /// `recorded` has no effect.
    pub(super) fn keep(&mut self, now: Instant, recorded: Instant, frame: &Bytes) {
        if self.kept.len() < MAX_UNACKNOWLEDGED {
            self.bytes += frame.len();
            let kept = Unacknowledged {
                frame: frame.clone(),
                sent: now,
                recorded,
            };
            let _former: Option<Unacknowledged> = self.kept.insert(self.next, kept);
            self.tick.get_or_insert(now + TICK);
        }
        self.next += 1;
    }

    /// Handles an acknowledgement. Returns false for a number that was never sent.
    pub(super) fn acknowledge(&mut self, now: Instant, seq: u64) -> bool {
        let is_recorded = |kept: &Unacknowledged| kept.recorded <= now;
        if self.kept.get(&seq).is_some_and(is_recorded)
            && let Some(kept) = self.kept.remove(&seq)
        {
            self.bytes -= kept.frame.len();
            self.rtt.sample(now - kept.sent);
            if self.kept.is_empty() {
                self.tick = None;
            }
        }
        seq < self.next
    }

    /// Passes overdue messages to `send`, oldest first.
    pub(super) fn handle_timeout(&mut self, now: Instant, mut send: impl FnMut(Bytes)) {
        if self.tick.is_none_or(|tick| tick > now) {
            return;
        }
        self.tick = Some(now + TICK);
        let timeout = self.rtt.timeout;
        let looked_at = match self.retransmission {
            Retransmission::OldestOnly => 1,
            Retransmission::All => usize::MAX,
        };
        for kept in self.kept.values_mut().take(looked_at) {
            if now - kept.sent > timeout {
                kept.sent = now;
                send(kept.frame.clone());
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.tick
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.kept.len()
    }

    /// Returns the total length of the kept messages in bytes.
    pub(super) fn unacknowledged_bytes(&self) -> usize {
        self.bytes
    }
}

#[derive(Debug)]
struct Unacknowledged {
    frame: Bytes,
    sent: Instant,
    recorded: Instant,
}

/// Round-trip estimate of the agent, and the timeout derived from it.
#[derive(Debug)]
struct Rtt {
    smoothed: Duration,
    variation: Duration,
    timeout: Duration,
}

impl Rtt {
    fn new() -> Self {
        Self {
            smoothed: Duration::from_millis(100),
            variation: Duration::ZERO,
            timeout: Duration::from_millis(200),
        }
    }

    /// In this order, also for retransmitted messages (docs/protocol.md, section 6.3).
    fn sample(&mut self, rtt: Duration) {
        self.variation = (3 * self.variation + self.smoothed.abs_diff(rtt)) / 4;
        self.smoothed = (7 * self.smoothed + rtt) / 8;
        let margin = (4 * self.variation).max(GRANULARITY);
        self.timeout = (self.smoothed + margin).min(MAX_TIMEOUT);
    }
}

// Constants of the agent (docs/protocol.md, appendix A).
const MAX_UNACKNOWLEDGED: usize = 100_000;
const TICK: Duration = Duration::from_millis(100);
const GRANULARITY: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn kept(retransmission: Retransmission, count: u8, now: Instant) -> Sender {
        let mut sender = Sender::new(retransmission);
        for byte in 0..count {
            sender.keep(now, now, &Bytes::from(vec![byte]));
        }
        sender
    }

    fn overdue(sender: &mut Sender, now: Instant) -> Vec<Bytes> {
        let mut sent = Vec::new();
        sender.handle_timeout(now, |frame| sent.push(frame));
        sent
    }

    #[test]
    fn only_the_oldest_message_is_retransmitted() {
        let now = clock::now();
        let mut sender = kept(Retransmission::OldestOnly, 3, now);
        assert!(sender.acknowledge(now, 0));

        assert_eq!(overdue(&mut sender, now + SECOND), [vec![1u8]]);
        assert!(
            overdue(&mut sender, now + SECOND).is_empty(),
            "one tick, one message"
        );
        assert!(
            overdue(&mut sender, now + SECOND + TICK).is_empty(),
            "its time was updated"
        );
    }

    #[test]
    fn all_overdue_messages_are_retransmitted_if_configured() {
        let now = clock::now();
        let mut sender = kept(Retransmission::All, 3, now);

        assert_eq!(overdue(&mut sender, now + SECOND).len(), 3);
    }

    #[test]
    fn nothing_is_due_before_the_timeout() {
        let now = clock::now();
        let mut sender = kept(Retransmission::OldestOnly, 1, now);

        assert!(overdue(&mut sender, now + TICK).is_empty());
        assert!(overdue(&mut sender, now + 2 * TICK).is_empty());
        assert_eq!(overdue(&mut sender, now + 3 * TICK).len(), 1);
    }

    #[test]
    fn an_acknowledgement_of_an_unsent_number_is_detected() {
        let now = clock::now();
        let mut sender = kept(Retransmission::OldestOnly, 1, now);

        assert!(!sender.acknowledge(now, 1));
        assert!(sender.acknowledge(now, 0));
        assert!(sender.acknowledge(now, 0), "acknowledged twice");
        assert_eq!(sender.unacknowledged_bytes(), 0);
    }

    #[test]
    fn the_message_beyond_the_limit_is_numbered_and_not_kept() {
        let now = clock::now();
        let mut sender = Sender::new(Retransmission::OldestOnly);
        for _ in 0..=MAX_UNACKNOWLEDGED {
            sender.keep(now, now, &Bytes::from_static(b"x"));
        }

        assert_eq!(sender.unacknowledged(), MAX_UNACKNOWLEDGED);
        assert_eq!(sender.next(), 100_001);
    }
}
