//! Persistent faults of the simulator.
//!
//! [`Faults`] stay enabled until they are changed; a [`OneOffFault`](super::OneOffFault) is
//! injected once, immediately or as scheduled. Both come from the command line, from tests, and as
//! JSON from `POST /simulator/faults`. `http_server/manual.txt` documents them for users.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::link::LinkConditions;
use super::one_off_fault::{DisconnectKind, ScheduledFault};
use super::throttle::Throttle;
use super::{duration, json_bounds};

/// Faults that are enabled. Default: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// API calls that fail.
    pub api: BTreeMap<Operation, ApiFault>,
    /// Rate limit above which StartSession calls are throttled.
    pub throttle: Option<Throttle>,
    /// StartSession calls that start a session but whose connection is closed without a response.
    pub drop_responses: Option<DroppedResponses>,
    /// Upgrades that are rejected.
    pub refuse_upgrades: Option<RefusedUpgrades>,
    /// Validity of tokens.
    pub token: TokenLife,
    /// Handling of a second websocket of a session.
    pub second_websocket: SecondWebsocket,
    /// When the agent of a session joins.
    pub join: Join,
    /// Rules applied to every Nth message.
    pub messages: Vec<MessageFault>,
    /// Link conditions from client to agent.
    pub to_agent: LinkConditions,
    /// Link conditions from agent to client.
    pub to_client: LinkConditions,
    /// Breaks every websocket a given time after it was opened.
    pub break_every: Option<BreakEvery>,
    /// Faults injected into every session a given time after its start.
    pub scheduled: Vec<ScheduledFault>,
    /// Maximum length of a client message in bytes, with header; a longer one breaks the websocket.
    pub max_message: Option<usize>,
    /// Maximum sequenced client messages in any second; more of them break the websocket.
    pub max_rate: Option<u32>,
    /// Terminates sessions after this time without stream data. AWS: 20 minutes
    /// (docs/protocol.md, section 8.6).
    #[serde(with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
    /// Destinations are neither read from nor written to.
    pub stall: bool,
}

impl Faults {
    /// Returns these faults with the members of `change` replaced; null restores the default.
    ///
    /// # Errors
    ///
    /// Fails if a member is unknown or has an invalid value.
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

    /// Returns the error code for this call, if it must fail, and counts it.
    pub(super) fn fail_call(&mut self, operation: Operation) -> Option<String> {
        let fault = self.api.get_mut(&operation)?;
        count_down(&mut fault.times).then(|| fault.code.clone())
    }

    /// Returns true if the response to this StartSession must be dropped, and counts it.
    pub(super) fn drop_response(&mut self) -> bool {
        let lost = self.drop_responses.as_mut();
        lost.is_some_and(|lost| count_down(&mut lost.times))
    }

    /// Returns the status for this upgrade, if it must be rejected, and counts it.
    pub(super) fn refuse_upgrade(&mut self) -> Option<u16> {
        let refused = self.refuse_upgrades.as_mut()?;
        count_down(&mut refused.times).then_some(refused.status)
    }
}

/// An injected API error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiFault {
    /// Error code, such as `ThrottlingException`.
    #[serde(deserialize_with = "json_bounds::error_code")]
    pub code: String,
    /// Number of calls that fail; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Connections closed instead of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedResponses {
    /// Number of responses to drop; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Rejected websocket upgrades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedUpgrades {
    /// HTTP status, 400 to 599.
    #[serde(deserialize_with = "json_bounds::status")]
    pub status: u16,
    /// Number of upgrades to reject; `None`: all.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Validity of a token; that of AWS is unknown (docs/protocol.md, appendix B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLife {
    /// Valid until ResumeSession returns another, or the session ends.
    #[default]
    UntilResumed,
    /// Valid for one websocket.
    SingleUse,
    /// Valid for this time.
    For(#[serde(with = "duration")] Duration),
}

/// Handling of a second websocket of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondWebsocket {
    /// It replaces the first, which is closed with code 1000.
    #[default]
    Replaces,
    /// Its upgrade is rejected with status 409.
    Refused,
}

/// When the agent of a session joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// At StartSession.
    #[default]
    AtStart,
    /// At the first websocket of the client.
    AtConnect,
}

/// A rule applied to every Nth message of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageFault {
    /// Action of the rule.
    pub action: Action,
    /// Applies to every Nth matching message; 1: all.
    #[serde(deserialize_with = "json_bounds::every")]
    pub every: u32,
    /// Direction; `None`: both, counted separately.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// Kind of message.
    #[serde(default)]
    pub subject: Subject,
}

/// Action on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is dropped.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives after the next one.
    Reorder,
    /// It is delayed by this time.
    Delay(#[serde(with = "duration")] Duration),
}

/// Direction between client and agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client.
    ToAgent,
    /// To the client.
    ToClient,
}

/// Kind of message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All messages.
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

/// Repeated disconnects of websockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakEvery {
    /// Lifetime of each websocket.
    #[serde(with = "duration")]
    pub every: Duration,
    /// How the websocket is broken.
    pub manner: DisconnectKind,
}

/// Operation of the API.
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
    /// ListTasks, of ECS.
    ListTasks,
    /// DescribeTasks, of ECS.
    DescribeTasks,
    /// SendSSHPublicKey of EC2 Instance Connect.
    #[serde(rename = "SendSSHPublicKey")]
    SendSshPublicKey,
    /// DescribeDocument.
    DescribeDocument,
}

impl Operation {
    /// Returns the name in `X-Amz-Target`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartSession => "StartSession",
            Self::ResumeSession => "ResumeSession",
            Self::TerminateSession => "TerminateSession",
            Self::DescribeSessions => "DescribeSessions",
            Self::DescribeInstanceInformation => "DescribeInstanceInformation",
            Self::ListTasks => "ListTasks",
            Self::DescribeTasks => "DescribeTasks",
            Self::SendSshPublicKey => "SendSSHPublicKey",
            Self::DescribeDocument => "DescribeDocument",
        }
    }

    /// Returns the operation with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::StartSession,
            Self::ResumeSession,
            Self::TerminateSession,
            Self::DescribeSessions,
            Self::DescribeInstanceInformation,
            Self::ListTasks,
            Self::DescribeTasks,
            Self::SendSshPublicKey,
            Self::DescribeDocument,
        ];
        all.into_iter().find(|operation| operation.as_str() == name)
    }
}

/// Consumes one of the remaining times; returns false if none is left.
fn count_down(times: &mut Option<u32>) -> bool {
    let Some(left) = times else {
        return true;
    };
    let applies = *left > 0;
    *left = left.saturating_sub(1);
    applies
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_api_fault_applies_the_given_number_of_times() {
        let change = change(json!({ "api": {
            "StartSession": { "code": "ThrottlingException", "times": 2 },
            "ResumeSession": { "code": "ThrottlingException" },
        }}));
        let mut faults = Faults::default().changed(change).unwrap();

        let mut applies = |operation| {
            (0..5)
                .filter(|_| faults.fail_call(operation).is_some())
                .count()
        };

        assert_eq!(applies(Operation::StartSession), 2);
        assert_eq!(applies(Operation::ResumeSession), 5);
        assert_eq!(applies(Operation::TerminateSession), 0);
    }

    #[test]
    fn a_change_replaces_the_given_members_and_null_restores_the_default() {
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
        let manner = DisconnectKind::Close(1000);
        assert_eq!(faults.break_every, Some(BreakEvery { every, manner }));
        assert_eq!(faults.token, TokenLife::For(Duration::from_secs(5)));
        assert_eq!(
            faults.messages[0].action,
            Action::Delay(Duration::from_millis(5))
        );
    }

    #[test]
    fn unknown_members_and_values_are_rejected() {
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
