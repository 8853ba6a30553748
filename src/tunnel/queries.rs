//! State queries of the handle of a tunnel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Error, Milestones, Phase, State, Tunnel};
use crate::clock;
use crate::printable::Printable;
use crate::proto::{ClientSide, Stats};

impl Tunnel {
    /// Returns the session id.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Returns the managed node that runs the agent.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns when its session was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns when it reached its stages.
    pub fn milestones(&self) -> Milestones {
        self.shared.lock().history.milestones
    }

    /// Returns the version of the agent, once the tunnel is ready.
    pub fn agent_version(&self) -> Option<Printable> {
        self.shared.lock().history.agent_version.clone()
    }

    /// Returns the smoothed round trip of messages.
    pub fn rtt(&self) -> Duration {
        self.shared.lock().core.rtt()
    }

    /// Returns how many websockets replaced a broken one.
    pub fn resumes(&self) -> u32 {
        self.shared.lock().history.resumes()
    }

    /// Returns the longest time without a working websocket since `since`.
    pub fn longest_outage(&self, since: Instant) -> Duration {
        let now = clock::now();
        self.shared.lock().history.longest_outage(since, now)
    }

    /// Returns its state.
    pub fn state(&self) -> State {
        State::of(&self.phase.borrow())
    }

    /// Returns the destination that the agent reported, once the tunnel is ready.
    pub fn destination(&self) -> Option<Printable> {
        self.shared.lock().destination.clone()
    }

    /// Returns what the document wants to be connected to the session, once the tunnel is ready.
    pub fn client_side(&self) -> ClientSide {
        self.shared.lock().core.client_side().clone()
    }

    /// Returns true if it is not ready yet.
    pub fn is_opening(&self) -> bool {
        State::of(&self.phase.borrow()) == State::Opening
    }

    /// Returns why it ended, if it has.
    pub fn failure(&self) -> Option<Arc<Error>> {
        match &*self.phase.borrow() {
            Phase::Ended(error) => Some(Arc::clone(error)),
            Phase::Opening(_) | Phase::Ready | Phase::Disconnected => None,
        }
    }

    /// Returns the statistics.
    pub fn stats(&self) -> Stats {
        self.shared.lock().core.stats()
    }
}
