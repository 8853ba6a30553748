//! Sends further messages that detect whether an agent discarded the first ones.
//!
//! On most paths a refusal shows that the agent is ready, or enough time has passed
//! (`proto/readiness.rs`). Where only time was the criterion, the first messages may be lost in an
//! agent whose process was not scheduled, and nothing would follow. Each message begins with bytes
//! that break the agent's mux if an earlier message was discarded (`proto/mux/replay_guard.rs`). So
//! further messages are sent while nothing is received from the agent.

use std::time::{Duration, Instant};

/// Schedule of the messages of a check.
#[derive(Debug)]
pub(super) struct StartCheck {
    /// When the next message is due; set once data was sent.
    due: Option<Instant>,
    /// Interval after the last message.
    pause: Duration,
}

impl StartCheck {
    /// Creates a check that starts with the first data.
    pub(super) fn new() -> Self {
        Self {
            due: None,
            pause: FIRST,
        }
    }

    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.due.get_or_insert(now + self.pause);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A message was queued. Returns false if the check is complete.
    pub(super) fn handle_asked(&mut self, now: Instant) -> bool {
        self.pause *= 3;
        self.due = Some(now + self.pause);
        self.pause <= LAST
    }
}

/// Most destinations answer within this time.
const FIRST: Duration = Duration::from_millis(50);

/// An agent was observed to discard for some milliseconds while the rest of its process ran.
const LAST: Duration = Duration::from_secs(2);
