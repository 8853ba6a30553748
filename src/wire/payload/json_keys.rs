//! The keys that payloads are read by, so that another spelling finds its field.

use super::{
    Acknowledge, ChannelClosed, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    OpenDataChannel, SessionType,
};

/// The keys that a payload is read by, so that another spelling finds its field.
pub trait Keys {
    /// Every key in the case that it is written in.
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
