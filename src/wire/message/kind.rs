//! Message types and payload types, with their wire values.

use std::fmt;

/// Purpose of a message (docs/protocol.md, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Client to agent; sequenced and acknowledged.
    Input,
    /// Agent to client; sequenced and acknowledged.
    Output,
    /// Acknowledges one received message; not sequenced.
    Acknowledge,
    /// The session has ended.
    ChannelClosed,
    /// The peer accepts messages again.
    StartPublication,
    /// The peer accepts no messages for now.
    PausePublication,
    /// Sent by an agent to Session Manager on a new data channel.
    AgentSessionState,
    /// Any other type, at most 32 characters; ignored by receivers.
    Other(String),
}

impl MessageType {
    /// Reads the 32 bytes of a message type. Removes NULs and surrounding white space, because
    /// writers pad with either (docs/protocol.md, section 3).
    pub(super) fn from_wire(field: &[u8; TYPE_LEN]) -> Self {
        let end = field
            .iter()
            .rposition(|byte| !matches!(byte, 0 | b' '))
            .map_or(0, |last| last + 1);
        Self::from_name(&field[..end]).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(field).replace('\0', "");
            let name = text.trim();
            Self::from_name(name.as_bytes()).unwrap_or_else(|| Self::Other(name.to_owned()))
        })
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"input_stream_data" => Self::Input,
            b"output_stream_data" => Self::Output,
            b"acknowledge" => Self::Acknowledge,
            b"channel_closed" => Self::ChannelClosed,
            b"start_publication" => Self::StartPublication,
            b"pause_publication" => Self::PausePublication,
            b"agent_session_state" => Self::AgentSessionState,
            _ => return None,
        })
    }

    /// Returns the 32 bytes, padded with spaces; a longer name is truncated.
    pub(super) fn to_wire(&self) -> [u8; TYPE_LEN] {
        let mut field = [b' '; TYPE_LEN];
        for (place, byte) in field.iter_mut().zip(self.as_str().bytes()) {
            *place = byte;
        }
        field
    }

    /// Returns the name on the wire, without padding.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Input => "input_stream_data",
            Self::Output => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::ChannelClosed => "channel_closed",
            Self::StartPublication => "start_publication",
            Self::PausePublication => "pause_publication",
            Self::AgentSessionState => "agent_session_state",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for MessageType {
    /// Writes the name escaped, so that a name with a line break stays on one log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().escape_debug().fmt(f)
    }
}

/// Content of a stream data payload (docs/protocol.md, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// 0: not stream data.
    None,
    /// 1: raw bytes.
    Output,
    /// 3: terminal size; ignored but acknowledged by an agent's port plugin.
    Size,
    /// 5: handshake request of the agent.
    HandshakeRequest,
    /// 6: response of the client, sent once.
    HandshakeResponse,
    /// 7: the agent has accepted the handshake.
    HandshakeComplete,
    /// 8: the agent requests a proof of the encryption key.
    EncChallengeRequest,
    /// 9: response to the challenge.
    EncChallengeResponse,
    /// 10: four bytes, see [`Flag`](crate::wire::payload::Flag).
    Flag,
    /// Any other number.
    Other(u32),
}

impl PayloadType {
    pub(super) fn from_wire(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Output,
            3 => Self::Size,
            5 => Self::HandshakeRequest,
            6 => Self::HandshakeResponse,
            7 => Self::HandshakeComplete,
            8 => Self::EncChallengeRequest,
            9 => Self::EncChallengeResponse,
            10 => Self::Flag,
            other => Self::Other(other),
        }
    }

    pub(super) fn to_wire(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Output => 1,
            Self::Size => 3,
            Self::HandshakeRequest => 5,
            Self::HandshakeResponse => 6,
            Self::HandshakeComplete => 7,
            Self::EncChallengeRequest => 8,
            Self::EncChallengeResponse => 9,
            Self::Flag => 10,
            Self::Other(other) => other,
        }
    }
}

/// Length of the message type field in bytes.
pub(super) const TYPE_LEN: usize = 32;
