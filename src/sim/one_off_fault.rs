//! One-off faults of a session.
//!
//! A one-off fault is injected once: a websocket breaks, a control message is sent to either end,
//! the agent crashes or loses its connection. Persistent faults are in `faults.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, json_bounds};

/// A fault injected into a session once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneOffFault {
    /// The client's websocket breaks.
    Break(DisconnectKind),
    /// `pause_publication` is sent to the client.
    PauseClient,
    /// `start_publication` is sent to the client.
    StartClient,
    /// `pause_publication` is sent to the agent.
    PauseAgent,
    /// `start_publication` is sent to the agent.
    StartAgent,
    /// The agent's worker crashes.
    KillAgent,
    /// The agent's own websocket is down for this time.
    AgentAway(#[serde(with = "duration")] Duration),
    /// Like `AgentAway`, but the next message is still processed and not acknowledged, so that it
    /// is processed again when retransmitted (docs/protocol.md, section 6.5, item 2).
    AgentAwayAmidMessage(#[serde(with = "duration")] Duration),
}

/// A fault injected into every session at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// Time since the start of the session; older sessions get the fault at once.
    #[serde(with = "duration")]
    pub after: Duration,
    /// The fault. `blow` is the former name of the JSON key.
    #[serde(alias = "blow")]
    pub fault: OneOffFault,
}

/// How a websocket breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisconnectKind {
    /// With a close frame of this code; 1000 has the reason `Bye`. 1006, which no frame may carry,
    /// is handled as [`Fin`](Self::Fin).
    Close(#[serde(deserialize_with = "json_bounds::close_code")] u16),
    /// TCP FIN without a close frame.
    Fin,
    /// TCP reset.
    Reset,
    /// Nothing is received or sent any more, and neither side is notified.
    BlackHole,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_off_faults_have_json_names() {
        let words = json!(["kill_agent", { "break": "reset" }, { "agent_away": "1s" }]);

        let faults: Vec<OneOffFault> = serde_json::from_value(words.clone()).unwrap();

        let second = Duration::from_secs(1);
        let expected = [
            OneOffFault::KillAgent,
            OneOffFault::Break(DisconnectKind::Reset),
            OneOffFault::AgentAway(second),
        ];
        assert_eq!(faults, expected);
        assert_eq!(serde_json::to_value(&faults).unwrap(), words);
    }
}
