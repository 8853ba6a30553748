//! The JSON keys of each payload type, for case-insensitive matching.

use super::{
    Acknowledge, ChannelClosed, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    OpenDataChannel, SessionType,
};

/// The JSON keys of a payload type, for case-insensitive matching.
pub trait JsonKeys {
    /// All keys, in their canonical spelling.
    const KEYS: &'static [&'static str];
}

impl JsonKeys for OpenDataChannel {
    const KEYS: &'static [&'static str] = &[
        "MessageSchemaVersion",
        "RequestId",
        "TokenValue",
        "ClientId",
        "ClientVersion",
    ];
}

impl JsonKeys for Acknowledge {
    const KEYS: &'static [&'static str] = &[
        "AcknowledgedMessageType",
        "AcknowledgedMessageId",
        "AcknowledgedMessageSequenceNumber",
        "IsSequentialMessage",
    ];
}

impl JsonKeys for HandshakeRequest {
    const KEYS: &'static [&'static str] = &[
        "AgentVersion",
        "RequestedClientActions",
        "ActionType",
        "ActionParameters",
    ];
}

impl JsonKeys for SessionType {
    const KEYS: &'static [&'static str] = &[
        "SessionType",
        "Properties",
        "localPortNumber",
        "portNumber",
        "type",
        "host",
    ];
}

impl JsonKeys for HandshakeResponse {
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

impl JsonKeys for HandshakeComplete {
    const KEYS: &'static [&'static str] = &["HandshakeTimeToComplete", "CustomerMessage"];
}

impl JsonKeys for ChannelClosed {
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
