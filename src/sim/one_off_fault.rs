//! What happens to a session once.
//!
//! A websocket breaks, a word goes to one of the two ends, the agent dies or loses its own way: a
//! blow falls and is over. What lasts until it is changed is a fault (`faults.rs`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, json_bounds};

/// Something that happens to a session once, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneOffFault {
    /// Its websocket breaks.
    Break(Manner),
    /// `pause_publication` goes to the client.
    PauseClient,
    /// `start_publication` goes to the client.
    StartClient,
    /// `pause_publication` goes to the agent.
    PauseAgent,
    /// `start_publication` goes to the agent.
    StartAgent,
    /// The worker of the agent crashes.
    KillAgent,
    /// The agent loses its own websocket for so long.
    AgentAway(#[serde(with = "duration")] Duration),
    /// The same, amid a message: the next one that comes is processed and not acknowledged, so that
    /// it is processed again when it comes again (protocol.md section 6.5 item 2).
    AgentAwayAmidMessage(#[serde(with = "duration")] Duration),
}

/// A blow that falls on every session when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// How long after the start of the session; at once if it is older already.
    #[serde(with = "duration")]
    pub after: Duration,
    /// What happens. `blow` is the former name of the JSON key.
    #[serde(alias = "blow")]
    pub fault: OneOffFault,
}

/// How a websocket breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// With a close frame of this code; 1000 says `Bye`. 1006, which no frame may carry, is
    /// [`Fin`](Self::Fin).
    Close(#[serde(deserialize_with = "json_bounds::close_code")] u16),
    /// TCP ends without a close frame.
    Fin,
    /// TCP is reset.
    Reset,
    /// Nothing comes or goes any more, and nobody is told.
    BlackHole,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_words() {
        let words = json!(["kill_agent", { "break": "reset" }, { "agent_away": "1000000us" }]);

        let faults: Vec<OneOffFault> = serde_json::from_value(words.clone()).unwrap();

        let second = Duration::from_secs(1);
        let expected = [
            OneOffFault::KillAgent,
            OneOffFault::Break(Manner::Reset),
            OneOffFault::AgentAway(second),
        ];
        assert_eq!(faults, expected);
        assert_eq!(serde_json::to_value(&faults).unwrap(), words);
    }
}
