//! What an agent asks first, and what it makes of the answer.

use bytes::Bytes;
use serde_json::json;

use crate::wire::payload::{
    self, ACTION_SUCCESS, HandshakeComplete, HandshakeRequest, HandshakeResponse, RequestedAction,
};

use super::options::Job;
use super::version::Version;

/// The payload of HandshakeRequest (protocol.md section 5.2).
pub(super) fn request(version: &Version, job: &Job) -> Bytes {
    let action = RequestedAction {
        action_type: "SessionType".to_owned(),
        action_parameters: json!({ "SessionType": "Port", "Properties": job.properties }),
    };
    payload::encode(&HandshakeRequest {
        agent_version: version.to_string(),
        requested_client_actions: vec![action],
    })
}

/// The payload of HandshakeComplete (protocol.md section 5.4).
pub(super) fn complete(nanoseconds: u128) -> Bytes {
    payload::encode(&HandshakeComplete {
        handshake_time_to_complete: i64::try_from(nanoseconds).unwrap_or(i64::MAX),
        customer_message: String::new(),
    })
}

/// Reads an answer; `None` if it is unreadable, which is as if it had not come.
pub(super) fn response(payload: &[u8]) -> Option<HandshakeResponse> {
    payload::decode(payload).ok()
}

/// Why the agent is not content with an answer, if it is not (protocol.md section 5.3).
pub(super) fn complaint(response: &HandshakeResponse) -> Option<String> {
    let failed = response
        .processed_client_actions
        .iter()
        .find(|action| action.action_status != ACTION_SUCCESS)?;
    Some(format!(
        "{HANDSHAKE_FAILED}{} failed on client with status {} error: {}",
        failed.action_type, failed.action_status, failed.error
    ))
}

/// Why the agent gives up on a client that does not answer.
pub(super) fn timed_out() -> String {
    format!("{HANDSHAKE_FAILED}{TIMED_OUT}")
}

/// What the text of every failed handshake begins with (protocol.md sections 0.2 and 9.3).
const HANDSHAKE_FAILED: &str =
    "\n----------ERROR-------\nEncountered error while initiating handshake. ";

/// The agent's own words (datachannel.go, PerformHandshake).
const TIMED_OUT: &str = "Handshake timed out. Please ensure that you have the latest version of \
    the session manager plugin.";
