//! Messages that show whether an agent discarded the first ones.
//!
//! On most paths an agent proves that it is ready, or much time has passed (`proto/readiness.rs`).
//! Where it was time alone, the first messages may be lost in an agent whose process was kept from
//! running, and nothing would follow. Each message begins in a way that ends the agent's mux if one
//! before it was discarded (`proto/mux/seam.rs`). So while the agent says nothing, further ones leave.

use std::time::{Duration, Instant};

/// When the next message of a check leaves.
#[derive(Debug)]
pub(super) struct StartCheck {
    /// After the first data.
    due: Option<Instant>,
    /// How long after the last one.
    pause: Duration,
}

impl StartCheck {
    /// Nothing has left.
    pub(super) fn new() -> Self {
        Self {
            due: None,
            pause: FIRST,
        }
    }

    /// Data leaves.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        self.due.get_or_insert(now + self.pause);
    }

    /// When the next message is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The message is put in line. False if the agent was given all the time.
    pub(super) fn handle_asked(&mut self, now: Instant) -> bool {
        self.pause *= 3;
        self.due = Some(now + self.pause);
        self.pause <= LAST
    }
}

/// The answer of most destinations comes before.
const FIRST: Duration = Duration::from_millis(50);

/// An agent was seen to discard for some milliseconds, while the rest of its process ran.
const LAST: Duration = Duration::from_secs(2);
