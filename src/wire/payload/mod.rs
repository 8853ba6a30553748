//! Message payloads: handshake, acknowledge, `channel_closed`, flags, and the open message.
//!
//! All except the flag are JSON, read and written as Go does: absent slices are `null`, unknown
//! keys are ignored, and keys match case-insensitively (docs/protocol.md, section 4.2, last line).
//!
//! Specification: docs/protocol.md, sections 2.2, 4.2, 5.2 to 5.4, 6.2 and 9.1.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

mod acknowledgement;
mod json_keys;

pub use acknowledgement::{Acknowledge, Acknowledged, acknowledge, decode_acknowledge};
pub use json_keys::JsonKeys;

/// The first frame on a websocket, sent as text (docs/protocol.md, section 2.2).
///
/// Has no `Debug` because it contains the token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_debug_implementations, reason = "it carries the token")]
pub struct OpenDataChannel {
    /// Always `1.0`.
    pub message_schema_version: String,
    /// A new UUID.
    pub request_id: String,
    /// The token returned by StartSession or ResumeSession.
    pub token_value: String,
    /// A UUID, constant for the lifetime of the client.
    #[serde(default)]
    pub client_id: String,
    /// The version that the client reports; absent before 1.2.677.0.
    #[serde(default)]
    pub client_version: String,
}

/// First message of the agent (docs/protocol.md, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeRequest {
    /// Four numbers separated by dots; determines the capabilities of the agent.
    #[serde(default, deserialize_with = "null_is_default")]
    pub agent_version: String,
    /// Actions requested of the client, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub requested_client_actions: Vec<RequestedAction>,
}

/// One action requested by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestedAction {
    /// `SessionType` or `KMSEncryption`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_type: String,
    /// Parameters; their structure depends on the type.
    #[serde(default)]
    pub action_parameters: Value,
}

impl RequestedAction {
    /// Returns the parameters of a `SessionType` action.
    ///
    /// # Errors
    ///
    /// Fails if they are not an object of the expected structure.
    pub fn session_type(&self) -> Result<SessionType, PayloadError> {
        let keys = SessionType::KEYS;
        Ok(serde_json::from_value(canonical(
            self.action_parameters.clone(),
            keys,
        ))?)
    }
}

/// Parameters of a `SessionType` action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionType {
    /// `Port` for all port forwarding sessions.
    #[serde(default, deserialize_with = "null_is_default")]
    pub session_type: String,
    /// Resolved properties of the document.
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: Map<String, Value>,
}

impl SessionType {
    /// Returns the property `name`; empty if it is missing or not a string.
    pub fn property(&self, name: &str) -> &str {
        self.properties
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Response of the client, sent exactly once (docs/protocol.md, section 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeResponse {
    /// The version that the client reports; determines the agent's mode and keep-alive.
    #[serde(default, deserialize_with = "null_is_default")]
    pub client_version: String,
    /// One result per requested action, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub processed_client_actions: Vec<ProcessedAction>,
    /// Ignored by the agent.
    #[serde(default)]
    pub errors: Option<Vec<String>>,
}

/// Result of one requested action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessedAction {
    /// Type of the requested action.
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_type: String,
    /// One of [`ACTION_SUCCESS`], [`ACTION_FAILED`] and [`ACTION_UNSUPPORTED`].
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_status: i64,
    /// Null for `SessionType`.
    #[serde(default)]
    pub action_result: Value,
    /// Empty on success.
    #[serde(default, deserialize_with = "null_is_default")]
    pub error: String,
}

impl ProcessedAction {
    /// Creates a result with a null `action_result`; no action of a port session has one.
    pub fn new(action_type: String, action_status: i64, error: String) -> Self {
        Self {
            action_type,
            action_status,
            action_result: Value::Null,
            error,
        }
    }
}

/// Confirms the handshake; sent by the agent (docs/protocol.md, section 5.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeComplete {
    /// Duration in nanoseconds.
    #[serde(default, deserialize_with = "null_is_default")]
    pub handshake_time_to_complete: i64,
    /// Message to show to the user, if not empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub customer_message: String,
}

/// Reports that the session has ended (docs/protocol.md, section 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChannelClosed {
    /// Id assigned by Session Manager.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message_id: String,
    /// Date as text.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created_date: String,
    /// Recipient of the message.
    #[serde(default, deserialize_with = "null_is_default")]
    pub destination_id: String,
    /// Id of the session.
    #[serde(default, deserialize_with = "null_is_default")]
    pub session_id: String,
    /// `channel_closed`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message_type: String,
    /// Always 1.
    #[serde(default, deserialize_with = "null_is_default")]
    pub schema_version: i64,
    /// Message from the agent that gives the reason; may be empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub output: String,
}

/// Payload of type Flag: four bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// 1: the local connection was closed (basic mode).
    DisconnectToPort,
    /// 2: the client terminates the session.
    TerminateSession,
    /// 3: the agent could not connect to the destination.
    ConnectToPortError,
    /// Any other number; ignored but acknowledged.
    Other(u32),
}

impl Flag {
    /// Reads a flag; returns `None` if the payload is not four bytes long.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(match u32::from_be_bytes(payload.try_into().ok()?) {
            1 => Self::DisconnectToPort,
            2 => Self::TerminateSession,
            3 => Self::ConnectToPortError,
            other => Self::Other(other),
        })
    }

    /// Encodes the flag as a payload.
    pub fn encode(self) -> [u8; 4] {
        match self {
            Self::DisconnectToPort => 1u32,
            Self::TerminateSession => 2,
            Self::ConnectToPortError => 3,
            Self::Other(other) => other,
        }
        .to_be_bytes()
    }
}

/// Error of decoding a JSON payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The payload is not JSON, or a value is missing or has the wrong type.
    #[error("invalid payload: {0}")]
    Json(#[from] serde_json::Error),

    /// The payload is longer than any that a real agent sends.
    #[error("JSON payload of {got} bytes, expected at most {MAX_JSON}")]
    TooLong {
        /// Length of the payload.
        got: usize,
    },
}

/// Reads a JSON payload as Go does: exact keys take precedence, others match case-insensitively.
///
/// # Errors
///
/// Fails if the payload exceeds [`MAX_JSON`] or is not JSON, or a value is missing or mistyped.
pub fn decode<T: DeserializeOwned + JsonKeys>(payload: &[u8]) -> Result<T, PayloadError> {
    if payload.len() > MAX_JSON {
        return Err(PayloadError::TooLong { got: payload.len() });
    }
    let value: Value = serde_json::from_slice(payload)?;
    Ok(serde_json::from_value(canonical(value, T::KEYS))?)
}

/// Writes a JSON payload without white space.
///
/// # Panics
///
/// Never panics: the types of this file have text keys and finite numbers, as JSON requires.
pub fn encode<T: Serialize>(body: &T) -> Bytes {
    serde_json::to_vec(body)
        .expect("the types of this file are JSON")
        .into()
}

/// Replaces every known key by its canonical spelling, at every depth. If an object has a key in
/// several spellings, the exact one comes last and takes precedence.
fn canonical(value: Value, keys: &[&str]) -> Value {
    match value {
        Value::Object(map) => {
            let (exact, other): (Map<_, _>, Map<_, _>) = map
                .into_iter()
                .partition(|(key, _)| keys.contains(&key.as_str()));
            let fields = other.into_iter().chain(exact);
            Value::Object(
                fields
                    .map(|(key, inner)| (spelling(key, keys), canonical(inner, keys)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| canonical(item, keys))
                .collect(),
        ),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

fn spelling(key: String, keys: &[&str]) -> String {
    keys.iter()
        .find(|known| known.eq_ignore_ascii_case(&key))
        .map_or(key, |known| (*known).to_owned())
}

/// Reads `null` as the zero value of the field, as Go does.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Maximum length of a JSON payload in bytes. Real agents send a few hundred at most.
pub const MAX_JSON: usize = 64 * 1024;

/// The schema version of JSON messages.
pub const SCHEMA_VERSION: &str = "1.0";

/// The action was performed.
pub const ACTION_SUCCESS: i64 = 1;
/// The action failed.
pub const ACTION_FAILED: i64 = 2;
/// The action is not supported.
pub const ACTION_UNSUPPORTED: i64 = 3;

#[cfg(test)]
mod tests;
