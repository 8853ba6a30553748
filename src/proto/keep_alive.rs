//! Keep-alive: NOP frames for old agents and against the session's idle timeout.

use std::time::{Duration, Instant};

/// Schedule of the NOP frames of a tunnel.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// For the agent: when an old agent's mux needs the next NOP.
    mux: Option<Instant>,
    /// For Session Manager: true if sessions with an open stream must not become idle.
    holds_session: bool,
    /// When data was last queued; it may be sent later.
    sent: Option<Instant>,
}

impl KeepAlive {
    pub(super) fn new(holds_session: bool) -> Self {
        Self {
            mux: None,
            holds_session,
            sent: None,
        }
    }

    /// The agent is one that closes a mux on which it receives nothing.
    pub(super) fn satisfy_agent(&mut self, now: Instant) {
        self.mux = Some(now + MUX);
    }

    /// Returns the time of the next NOP. `idle_since` is when the last message was sent, if a
    /// stream is open that has nothing to send (docs/protocol.md, section 8.6).
    pub(super) fn due(&self, idle_since: Option<Instant>) -> Option<Instant> {
        let session = idle_since
            .filter(|_| self.holds_session)
            .map(|since| since.max(self.sent.unwrap_or(since)) + SESSION);
        [self.mux, session].into_iter().flatten().min()
    }

    /// A NOP was queued. It is sent when the rate limit permits; the next one is due a full
    /// interval later all the same.
    pub(super) fn handle_sent(&mut self, now: Instant) {
        #[cfg(test)]
        if crate::mutants::Mutant::KeepAliveLoop.is_active() {
            return;
        }
        self.sent = Some(now);
        self.mux = self.mux.map(|_| now + MUX);
    }
}

/// Interval at which old agents need data (docs/protocol.md, section 8.6).
const MUX: Duration = Duration::from_secs(10);

/// Maximum idle time of a session with an open stream: half of the shortest idle timeout that can
/// be configured in an account.
const SESSION: Duration = Duration::from_secs(30);
