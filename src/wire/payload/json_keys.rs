//! The JSON keys of each payload type, for case-insensitive matching.

use super::{
    Acknowledge, ChannelClosed, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    OpenDataChannel, SessionType,
};

/// The JSON keys of a payload type, for case-insensitive matching.
pub trait Keys {
    /// All keys, in their canonical spelling.
    const KEYS: &'static [&'static str];
}

impl Keys for OpenDataChannel {
    const KEYS: &'static [&'static str] = &[
        "MessageSchemaVersion",
        "RequestId",
        "TokenValue",
        "ClientId",
        "ClientVersion",
    ];
}

impl Keys for Acknowledge {
    const KEYS: &'static [&'static str] = &[
        "AcknowledgedMessageType",
        "AcknowledgedMessageId",
        "AcknowledgedMessageSequenceNumber",
        "IsSequentialMessage",
    ];
}

impl Keys for HandshakeRequest {
    const KEYS: &'static [&'static str] = &[
        "AgentVersion",
        "RequestedClientActions",
        "ActionType",
        "ActionParameters",
    ];
}

impl Keys for SessionType {
    const KEYS: &'static [&'static str] = &[
        "SessionType",
        "Properties",
        "localPortNumber",
        "portNumber",
        "type",
        "host",
    ];
}

impl Keys for HandshakeResponse {
    const KEYS: &'static [&'static str] = &[
        "ClientVersion",
        "ProcessedClientActions",
        "Errors",
        "ActionType",
        "ActionStatus",
        "ActionResult",
        "Error",
    ];
}

impl Keys for HandshakeComplete {
    const KEYS: &'static [&'static str] = &["HandshakeTimeToComplete", "CustomerMessage"];
}

impl Keys for ChannelClosed {
    const KEYS: &'static [&'static str] = &[
        "MessageId",
        "CreatedDate",
        "DestinationId",
        "SessionId",
        "MessageType",
        "SchemaVersion",
        "Output",
    ];
}
