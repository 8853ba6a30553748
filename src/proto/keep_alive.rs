//! NOP frames that only show that somebody is there.

use std::time::{Duration, Instant};

/// When a tunnel must say something although nobody has anything to say.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// For the agent: the next NOP that an old one's mux wants.
    mux: Option<Instant>,
    /// For the service: sessions with an open stream shall not be taken for idle.
    holds_session: bool,
    /// When something was last put in line, which may leave later.
    said: Option<Instant>,
}

impl KeepAlive {
    pub(super) fn new(holds_session: bool) -> Self {
        Self {
            mux: None,
            holds_session,
            said: None,
        }
    }

    /// The agent is one that ends a mux in which nothing is heard.
    pub(super) fn satisfy_agent(&mut self, now: Instant) {
        self.mux = Some(now + MUX);
    }

    /// When the next NOP is due. `idle_since` is when the last message was sent, if a stream is
    /// open that has nothing to send (protocol.md section 8.6).
    pub(super) fn due(&self, idle_since: Option<Instant>) -> Option<Instant> {
        let session = idle_since
            .filter(|_| self.holds_session)
            .map(|since| since.max(self.said.unwrap_or(since)) + SESSION);
        [self.mux, session].into_iter().flatten().min()
    }

    /// A NOP is put in line. It leaves when the service lets it; the next one is due after a whole
    /// interval all the same.
    pub(super) fn handle_said(&mut self, now: Instant) {
        self.said = Some(now);
        self.mux = self.mux.map(|_| now + MUX);
    }
}

/// How often old agents want to hear something (protocol.md section 8.6).
const MUX: Duration = Duration::from_secs(10);

/// How long a session with an open stream is left alone: half of the shortest idle timeout that an
/// account can have.
const SESSION: Duration = Duration::from_secs(30);
