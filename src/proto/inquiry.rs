//! Asks an agent without a mux whether it is still there, once after its last bytes.
//!
//! Such an agent ends the session with its destination. If it has lost its own websocket by then,
//! nothing of what it says last arrives, and the end looks as if there had been nothing. A message
//! of ours that it does not acknowledge shows that. So when its bytes have stopped for a second and
//! nothing was sent since, one message is sent that has no effect. There is one for each pause, so
//! that no session is kept from idling out by it.

use std::time::{Duration, Instant};

/// Whether the agent is to be asked.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    /// When bytes came last, if it was not asked since.
    heard: Option<Instant>,
}

impl Inquiry {
    /// Bytes came.
    pub(super) fn handle_output(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// The agent is asked.
    pub(super) fn handle_asked(&mut self) {
        self.heard = None;
    }

    /// When the agent is to be asked; `last_sent` is when anything was sent to it last.
    pub(super) fn due(&self, last_sent: Instant) -> Option<Instant> {
        let heard = self.heard.filter(|heard| last_sent <= *heard);
        heard.map(|heard| heard + PAUSE)
    }
}

/// Half as long as an agent waits before it closes, so that its silence shows in time.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some instant")]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_asked_once_for_each_pause() {
        let start = Instant::now();
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.due(start), None);

        inquiry.handle_output(start + PAUSE);
        assert_eq!(inquiry.due(start), Some(start + 2 * PAUSE));
        assert_eq!(inquiry.due(start + 2 * PAUSE), None, "something was sent");
        inquiry.handle_asked();

        assert_eq!(inquiry.due(start), None);
    }
}
