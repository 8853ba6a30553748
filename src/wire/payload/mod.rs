//! Bodies: handshake, acknowledge, `channel_closed`, flags, and the opening of a channel.
//!
//! All but the flag are JSON as Go writes and reads it: absent slices are `null`, unknown keys
//! are ignored, and a key matches whatever its case (protocol.md section 4.2, last line).
//!
//! Specification: protocol.md sections 2.2, 4.2, 5.2 to 5.4, 6.2, 9.1.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

mod acknowledgement;
mod json_keys;

pub use acknowledgement::{Acknowledge, Acknowledged, acknowledge, decode_acknowledge};
pub use json_keys::Keys;

/// The first frame on a websocket, sent as text before anything else (section 2.2).
///
/// It carries the token, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_debug_implementations, reason = "it carries the token")]
pub struct OpenDataChannel {
    /// Always `1.0`.
    pub message_schema_version: String,
    /// A fresh UUID.
    pub request_id: String,
    /// The token that StartSession or ResumeSession gave.
    pub token_value: String,
    /// One UUID for the life of the client.
    #[serde(default)]
    pub client_id: String,
    /// The version that the client claims; absent before 1.2.677.0.
    #[serde(default)]
    pub client_version: String,
}

/// What the agent asks first (section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeRequest {
    /// Four numbers with dots; decides what the agent can do.
    #[serde(default, deserialize_with = "null_is_default")]
    pub agent_version: String,
    /// What the client shall do, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub requested_client_actions: Vec<RequestedAction>,
}

/// One thing that the agent asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestedAction {
    /// `SessionType` or `KMSEncryption`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_type: String,
    /// Its parameters, by type.
    #[serde(default)]
    pub action_parameters: Value,
}

impl RequestedAction {
    /// The parameters of a `SessionType` action.
    ///
    /// # Errors
    ///
    /// If they are not an object of the right shape.
    pub fn session_type(&self) -> Result<SessionType, PayloadError> {
        let keys = SessionType::KEYS;
        Ok(serde_json::from_value(canonical(
            self.action_parameters.clone(),
            keys,
        ))?)
    }
}

/// The parameters of a `SessionType` action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionType {
    /// `Port` for every session of ours.
    #[serde(default, deserialize_with = "null_is_default")]
    pub session_type: String,
    /// The resolved properties of the document.
    #[serde(default, deserialize_with = "null_is_default")]
    pub properties: Map<String, Value>,
}

impl SessionType {
    /// A property by its name; empty if it is missing or no text.
    pub fn property(&self, name: &str) -> &str {
        self.properties
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// What the client answers, exactly once (section 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeResponse {
    /// The version that the client claims; decides the agent's mode and its keep-alive.
    #[serde(default, deserialize_with = "null_is_default")]
    pub client_version: String,
    /// One for each requested action, in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub processed_client_actions: Vec<ProcessedAction>,
    /// Not read by the agent.
    #[serde(default)]
    pub errors: Option<Vec<String>>,
}

/// What became of one requested action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessedAction {
    /// The type that was asked for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_type: String,
    /// See [`ACTION_SUCCESS`], [`ACTION_FAILED`] and [`ACTION_UNSUPPORTED`].
    #[serde(default, deserialize_with = "null_is_default")]
    pub action_status: i64,
    /// Null for a session type.
    #[serde(default)]
    pub action_result: Value,
    /// Empty on success.
    #[serde(default, deserialize_with = "null_is_default")]
    pub error: String,
}

impl ProcessedAction {
    /// An answer without a result, which no action of a port session has.
    pub fn new(action_type: String, action_status: i64, error: String) -> Self {
        Self {
            action_type,
            action_status,
            action_result: Value::Null,
            error,
        }
    }
}

/// The agent is content with the handshake (section 5.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HandshakeComplete {
    /// Nanoseconds.
    #[serde(default, deserialize_with = "null_is_default")]
    pub handshake_time_to_complete: i64,
    /// To be shown to the user, if not empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub customer_message: String,
}

/// The session has ended (section 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChannelClosed {
    /// An id of the service's own.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message_id: String,
    /// A date, as text.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created_date: String,
    /// Whom it is for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub destination_id: String,
    /// The session.
    #[serde(default, deserialize_with = "null_is_default")]
    pub session_id: String,
    /// `channel_closed`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message_type: String,
    /// Always 1.
    #[serde(default, deserialize_with = "null_is_default")]
    pub schema_version: i64,
    /// Why, in the agent's words; may be empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub output: String,
}

/// A payload of type Flag: four bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// 1: the local connection is gone (basic mode).
    DisconnectToPort,
    /// 2: the client ends the session.
    TerminateSession,
    /// 3: the agent could not reach the destination.
    ConnectToPortError,
    /// Any other number; ignored and acknowledged.
    Other(u32),
}

impl Flag {
    /// Reads a flag; `None` if the payload is not four bytes long.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(match u32::from_be_bytes(payload.try_into().ok()?) {
            1 => Self::DisconnectToPort,
            2 => Self::TerminateSession,
            3 => Self::ConnectToPortError,
            other => Self::Other(other),
        })
    }

    /// The flag as it travels.
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

/// A payload that is not what its type says.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not JSON, or a value has the wrong type or is missing.
    #[error("an unreadable payload: {0}")]
    Json(#[from] serde_json::Error),

    /// It is longer than any that a real agent sends.
    #[error("a payload of {got} bytes of JSON, expected at most {MAX_JSON}")]
    TooLong {
        /// Its length.
        got: usize,
    },
}

/// Reads a JSON payload as Go would: exact keys first, then whatever their case.
///
/// # Errors
///
/// If it is longer than [`MAX_JSON`] or not JSON, or a value has the wrong type or is missing.
pub fn decode<T: DeserializeOwned + Keys>(payload: &[u8]) -> Result<T, PayloadError> {
    if payload.len() > MAX_JSON {
        return Err(PayloadError::TooLong { got: payload.len() });
    }
    let value: Value = serde_json::from_slice(payload)?;
    Ok(serde_json::from_value(canonical(value, T::KEYS))?)
}

/// Writes a JSON payload, without spaces.
///
/// # Panics
///
/// Never: the types of this file have text keys and finite numbers, all that JSON asks for.
pub fn encode<T: Serialize>(body: &T) -> Bytes {
    serde_json::to_vec(body)
        .expect("the types of this file are JSON")
        .into()
}

/// Gives every known key its own spelling, at every depth. Where an object has a key in several
/// spellings, the exact one comes last and wins.
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

/// Go reads `null` as the zero value of the field.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Bytes of JSON that are read. The longest body of a real agent has a few hundred.
pub const MAX_JSON: usize = 64 * 1024;

/// The schema version of JSON messages.
pub const SCHEMA_VERSION: &str = "1.0";

/// An action was done.
pub const ACTION_SUCCESS: i64 = 1;
/// An action could not be done.
pub const ACTION_FAILED: i64 = 2;
/// An action is not known here.
pub const ACTION_UNSUPPORTED: i64 = 3;

#[cfg(test)]
mod tests;
