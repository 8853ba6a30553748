//! Asks an agent without a mux, once after its last bytes, whether it is still connected.
//!
//! Such an agent ends the session when its destination closes. If it has lost its own websocket by
//! then, its final bytes do not arrive, and the end looks as if there had been none. A message of
//! ours that stays unacknowledged reveals that. So when bytes from the agent have stopped for a
//! second and nothing was sent since, one message without effect is sent. There is only one per
//! pause, so that it does not keep the session from reaching its idle timeout.

use std::time::{Duration, Instant};

/// Decides when the agent is asked.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    /// When bytes were last received, if the agent was not asked since.
    received: Option<Instant>,
}

impl Inquiry {
    pub(super) fn handle_output(&mut self, now: Instant) {
        self.received = Some(now);
    }

    /// The message is sent.
    pub(super) fn handle_asked(&mut self) {
        self.received = None;
    }

    /// Returns when to ask the agent; `last_sent` is when anything was last sent to it.
    pub(super) fn due(&self, last_sent: Instant) -> Option<Instant> {
        let received = self.received.filter(|received| last_sent <= *received);
        received.map(|received| received + PAUSE)
    }
}

/// Half the time an agent waits before it closes, so that a missing acknowledgement is noticed.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn an_agent_is_asked_once_for_each_pause() {
        let start = clock::now();
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.due(start), None);

        inquiry.handle_output(start + PAUSE);
        assert_eq!(inquiry.due(start), Some(start + 2 * PAUSE));
        assert_eq!(inquiry.due(start + 2 * PAUSE), None, "something was sent");
        inquiry.handle_asked();

        assert_eq!(inquiry.due(start), None);
    }
}
