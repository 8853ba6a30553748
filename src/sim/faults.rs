//! What shall go wrong, and when.
//!
//! [`Faults`] stay switched on until they are changed; a [`OneOffFault`](super::Blow) falls once, now or
//! as planned. Both come from the command line, from tests, and as JSON from
//! `POST /simulator/faults`, which `gateway/manual.txt` explains: a fault that is not told of there
//! is unknown to its users.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::link::Conditions;
use super::one_off_fault::{Manner, ScheduledFault};
use super::throttle::Throttle;
use super::{duration, json_bounds};

/// The faults that are switched on. The default is a world without any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// API calls that fail.
    pub api: BTreeMap<Operation, ApiFault>,
    /// StartSession calls above a rate are throttled.
    pub throttle: Option<Throttle>,
    /// StartSession calls whose session is started and whose connection is closed without an answer.
    pub lose_answers: Option<LostAnswers>,
    /// Upgrades that are refused.
    pub refuse_upgrades: Option<RefusedUpgrades>,
    /// How long a token is good for.
    pub token: TokenLife,
    /// What becomes of a second websocket of a session.
    pub second_websocket: SecondWebsocket,
    /// When the agent of a session joins it.
    pub join: Join,
    /// What is done to every Nth message.
    pub messages: Vec<MessageFault>,
    /// The weather from client to service.
    pub to_agent: Conditions,
    /// The weather from service to client.
    pub to_client: Conditions,
    /// Breaks every websocket, so long after it was opened.
    pub break_every: Option<BreakEvery>,
    /// What happens to every session, so long after its start.
    pub planned: Vec<ScheduledFault>,
    /// A longer message from the client breaks its websocket; in bytes, header included.
    pub max_message: Option<usize>,
    /// More sequenced messages from the client in any second break its websocket.
    pub max_rate: Option<u32>,
    /// Ends a session without stream data for so long; AWS: 20 minutes (protocol.md section 8.6).
    #[serde(with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
    /// Destinations are neither read nor written.
    pub stall: bool,
}

impl Faults {
    /// These faults with the members of `change` in place of the same ones here.
    ///
    /// # Errors
    ///
    /// If a member is unknown or has a value that does not fit.
    pub(super) fn changed(&self, change: Map<String, Value>) -> serde_json::Result<Self> {
        let mut members = serde_json::to_value(self)?;
        for (name, value) in change {
            members[name] = value;
        }
        if let Value::Object(members) = &mut members {
            members.retain(|_, value| !value.is_null());
        }
        serde_json::from_value(members)
    }

    /// The error that this call must have, if any; counts it.
    pub(super) fn inject(&mut self, operation: Operation) -> Option<String> {
        let fault = self.api.get_mut(&operation)?;
        count_down(&mut fault.times).then(|| fault.code.clone())
    }

    /// Whether the answer of this StartSession must be lost; counts it.
    pub(super) fn lose_answer(&mut self) -> bool {
        let lost = self.lose_answers.as_mut();
        lost.is_some_and(|lost| count_down(&mut lost.times))
    }

    /// The status that this upgrade must get, if any; counts it.
    pub(super) fn refuse_upgrade(&mut self) -> Option<u16> {
        let refused = self.refuse_upgrades.as_mut()?;
        count_down(&mut refused.times).then_some(refused.status)
    }
}

/// An error in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiFault {
    /// The error's code, as `ThrottlingException`.
    #[serde(deserialize_with = "json_bounds::error_code")]
    pub code: String,
    /// How many calls fail; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// A connection that is closed in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostAnswers {
    /// How many answers are lost; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// A status in place of a websocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedUpgrades {
    /// The HTTP status, 400 to 599.
    #[serde(deserialize_with = "json_bounds::status")]
    pub status: u16,
    /// How many upgrades are refused; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// How long a token is good for; nobody knows of AWS's (protocol.md appendix B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLife {
    /// Until ResumeSession gives another, or the session ends.
    #[default]
    UntilResumed,
    /// For one websocket.
    SingleUse,
    /// For so long.
    For(#[serde(with = "duration")] Duration),
}

/// What becomes of a second websocket of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondWebsocket {
    /// It replaces the first, which is closed with 1000.
    #[default]
    Replaces,
    /// Its upgrade is refused with 409.
    Refused,
}

/// When the agent of a session joins it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// With StartSession.
    #[default]
    AtStart,
    /// With the first websocket of the client.
    AtConnect,
}

/// What is done to every Nth message of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageFault {
    /// What is done.
    pub action: Action,
    /// To every so many of those that fit; 1: to all.
    #[serde(deserialize_with = "json_bounds::every")]
    pub every: u32,
    /// On which way; `None`: both, counted apart.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// To which messages.
    #[serde(default)]
    pub subject: Subject,
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It never arrives.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives behind the next one.
    Reorder,
    /// It arrives so much later.
    Delay(#[serde(with = "duration")] Duration),
}

/// A way between client and agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client.
    ToAgent,
    /// To the client.
    ToClient,
}

/// A kind of message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Every message.
    #[default]
    Any,
    /// Stream data of payload type Output.
    Data,
    /// HandshakeRequest, HandshakeResponse, HandshakeComplete.
    Handshake,
    /// Flags.
    Flag,
    /// Acknowledgements.
    Acknowledge,
}

/// Breaks a websocket, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakEvery {
    /// How long each one lives.
    #[serde(with = "duration")]
    pub every: Duration,
    /// How it breaks.
    pub manner: Manner,
}

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operation {
    /// StartSession.
    StartSession,
    /// ResumeSession.
    ResumeSession,
    /// TerminateSession.
    TerminateSession,
    /// DescribeSessions.
    DescribeSessions,
    /// DescribeInstanceInformation.
    DescribeInstanceInformation,
}

impl Operation {
    /// The name as it stands in `X-Amz-Target`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartSession => "StartSession",
            Self::ResumeSession => "ResumeSession",
            Self::TerminateSession => "TerminateSession",
            Self::DescribeSessions => "DescribeSessions",
            Self::DescribeInstanceInformation => "DescribeInstanceInformation",
        }
    }

    /// Finds an operation by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::StartSession,
            Self::ResumeSession,
            Self::TerminateSession,
            Self::DescribeSessions,
            Self::DescribeInstanceInformation,
        ];
        all.into_iter().find(|operation| operation.as_str() == name)
    }
}

/// Whether there is one more; takes it.
fn count_down(times: &mut Option<u32>) -> bool {
    let Some(left) = times else {
        return true;
    };
    let strikes = *left > 0;
    *left = left.saturating_sub(1);
    strikes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_api_fault_strikes_as_often_as_it_was_told() {
        let change = change(json!({ "api": {
            "StartSession": { "code": "ThrottlingException", "times": 2 },
            "ResumeSession": { "code": "ThrottlingException" },
        }}));
        let mut faults = Faults::default().changed(change).unwrap();

        let mut strikes = |operation| {
            (0..5)
                .filter(|_| faults.inject(operation).is_some())
                .count()
        };

        assert_eq!(strikes(Operation::StartSession), 2);
        assert_eq!(strikes(Operation::ResumeSession), 5);
        assert_eq!(strikes(Operation::TerminateSession), 0);
    }

    #[test]
    fn a_change_replaces_what_it_names_and_null_switches_it_off() {
        let first = change(json!({
            "max_rate": 1000,
            "break_every": { "every": "200ms", "manner": { "close": 1000 } },
            "token": { "for": "5s" },
            "idle_timeout": "20m",
            "messages": [{ "action": { "delay": "5ms" }, "every": 3, "subject": "acknowledge" }],
        }));
        let second = change(json!({ "max_rate": null, "stall": true }));

        let faults = Faults::default()
            .changed(first)
            .unwrap()
            .changed(second)
            .unwrap();

        assert_eq!(faults.max_rate, None);
        assert_eq!(faults.idle_timeout, Some(Duration::from_secs(1200)));
        assert!(faults.stall);
        let every = Duration::from_millis(200);
        let manner = Manner::Close(1000);
        assert_eq!(faults.break_every, Some(BreakEvery { every, manner }));
        assert_eq!(faults.token, TokenLife::For(Duration::from_secs(5)));
        assert_eq!(
            faults.messages[0].action,
            Action::Delay(Duration::from_millis(5))
        );
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for bad in [
            json!({ "max_rat": 1 }),
            json!({ "max_rate": "fast" }),
            json!({ "messages": [{ "action": "drop", "every": 0 }] }),
            json!({ "to_agent": { "loss": 1001 } }),
            json!({ "refuse_upgrades": { "status": 200 } }),
            json!({ "break_every": { "every": "1s", "manner": { "close": 5000 } } }),
            json!({ "api": { "StartSession": { "code": "" } } }),
        ] {
            let changed = Faults::default().changed(change(bad.clone()));

            assert!(changed.is_err(), "{bad}");
        }
    }
}
