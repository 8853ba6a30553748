//! What a message is for, and what its payload holds: two names and their numbers.

use std::fmt;

/// What a message is for (protocol.md section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Client to agent; sequenced and acknowledged.
    Input,
    /// Agent to client; sequenced and acknowledged.
    Output,
    /// Names one message that arrived; not sequenced.
    Acknowledge,
    /// The session has ended.
    ChannelClosed,
    /// The peer is ready again.
    StartPublication,
    /// The peer is not ready.
    PausePublication,
    /// From an agent to the service, on a new data channel.
    AgentSessionState,
    /// Anything else; receivers ignore it. At most 32 characters.
    Other(String),
}

impl Kind {
    /// Reads the 32 bytes of a message type. NULs are dropped, then white space around the rest:
    /// writers pad with either (protocol.md section 3).
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

    /// The 32 bytes, padded with spaces; a longer name is cut.
    pub(super) fn to_wire(&self) -> [u8; TYPE_LEN] {
        let mut field = [b' '; TYPE_LEN];
        for (place, byte) in field.iter_mut().zip(self.as_str().bytes()) {
            *place = byte;
        }
        field
    }

    /// The name as it travels, without padding.
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

impl fmt::Display for Kind {
    /// A foreign name is escaped: it may hold a line break, and stays one line of a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().escape_debug().fmt(f)
    }
}

/// What a payload of stream data holds (protocol.md section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// 0: not stream data.
    None,
    /// 1: raw bytes.
    Output,
    /// 3: the size of a terminal; an agent's port plugin ignores and acknowledges it.
    Size,
    /// 5: the agent asks.
    HandshakeRequest,
    /// 6: the client answers, once.
    HandshakeResponse,
    /// 7: the agent is content.
    HandshakeComplete,
    /// 8: the agent asks for a proof of the encryption key.
    EncChallengeRequest,
    /// 9: its answer.
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

/// Bytes of the message type field.
pub(super) const TYPE_LEN: usize = 32;
