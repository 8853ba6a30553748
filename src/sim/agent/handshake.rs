//! Handshake payloads of an agent.

use bytes::Bytes;
use serde_json::json;

use crate::wire::payload::{
    self, ACTION_SUCCESS, HandshakeComplete, HandshakeRequest, HandshakeResponse, RequestedAction,
};

use super::options::Job;
use super::version::Version;

/// Returns the payload of HandshakeRequest (docs/protocol.md, section 5.2).
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

/// Returns the payload of HandshakeComplete (docs/protocol.md, section 5.4).
pub(super) fn complete(nanoseconds: u128) -> Bytes {
    payload::encode(&HandshakeComplete {
        handshake_time_to_complete: i64::try_from(nanoseconds).unwrap_or(i64::MAX),
        customer_message: String::new(),
    })
}

/// Reads a response; `None` if it is unreadable, which is handled as if it had not arrived.
pub(super) fn response(payload: &[u8]) -> Option<HandshakeResponse> {
    payload::decode(payload).ok()
}

/// Returns the error text if the agent rejects a response (docs/protocol.md, section 5.3).
pub(super) fn rejection(response: &HandshakeResponse) -> Option<String> {
    let failed = response
        .processed_client_actions
        .iter()
        .find(|action| action.action_status != ACTION_SUCCESS)?;
    Some(format!(
        "{HANDSHAKE_FAILED}{} failed on client with status {} error: {}",
        failed.action_type, failed.action_status, failed.error
    ))
}

/// Returns the error text for a client that does not respond in time.
pub(super) fn timed_out() -> String {
    format!("{HANDSHAKE_FAILED}{TIMED_OUT}")
}

/// Prefix of the text of all failed handshakes (docs/protocol.md, sections 0.2 and 9.3).
const HANDSHAKE_FAILED: &str =
    "\n----------ERROR-------\nEncountered error while initiating handshake. ";

/// Text of the real agent (datachannel.go, PerformHandshake).
const TIMED_OUT: &str = "Handshake timed out. Please ensure that you have the latest version of \
    the session manager plugin.";
