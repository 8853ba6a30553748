//! Reasons for the end of a tunnel.

use super::agent_text;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::wire::message::DecodeError;
use crate::wire::payload::{self, ChannelClosed, PayloadError};
use crate::wire::smux::FrameError;

/// Reason for the end of a tunnel or of one of its streams. Final in every case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The session was terminated on purpose by this program.
    #[error("the session was closed by this program")]
    Finished,

    /// Session Manager closed the channel without giving a reason.
    #[error("the session was terminated by Session Manager or on the target")]
    Closed,

    /// Session Manager closed the channel with a message from the agent.
    #[error("the session was terminated by Session Manager or on the target: {output}")]
    ClosedBecause {
        /// The agent's text.
        output: Printable,
    },

    /// The agent could not connect to the destination. Ends one stream, not the tunnel.
    #[error("the agent could not connect to the destination")]
    Refused,

    /// The agent could not connect to the destination, or the destination took bytes of the client
    /// and closed without sending any: on a mux with several pending streams, the agent does not
    /// tell which one was refused. Ends one stream, not the tunnel.
    #[error(
        "the agent could not connect to the destination, or the destination closed without sending anything"
    )]
    RefusedOrClosed,

    /// The agent completed the handshake and then acknowledged nothing: without a mux, a refused
    /// dial looks like this (docs/protocol.md, section 7).
    #[error(
        "no response from the agent since the handshake: the destination refuses the connection, or its packets are dropped"
    )]
    NoAnswer,

    /// The channel was closed without a reason before the agent sent or acknowledged anything. In
    /// current agents without a mux this is a refused dial (docs/protocol.md, section 0.2).
    #[error(
        "the session ended right after the handshake: the destination refused the connection, or closed it immediately"
    )]
    ClosedAtOnce,

    /// The handshake cannot succeed.
    #[error("{why}")]
    Handshake {
        /// What the agent requested or which agent it is, and the remedy.
        why: Printable,
        /// The class of the failure.
        class: ErrorClass,
    },

    /// A websocket frame is not a valid message.
    #[error("invalid message from Session Manager")]
    Message(#[from] DecodeError),

    /// The payload of a message does not match its type.
    #[error("the agent sent an invalid {what}: {why}")]
    Payload {
        /// Which payload.
        what: &'static str,
        /// Message of the parser.
        why: Printable,
    },

    /// The mux bytes are not valid frames.
    #[error("invalid mux frame from the agent")]
    Frame(#[from] FrameError),

    /// The session could not be kept, for a reason given by the tunnel's driver.
    #[error("{why}")]
    Lost {
        /// Message of the driver.
        why: Printable,
    },
}

impl Reason {
    /// Returns the class of the reason.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Finished => ErrorClass::Stopping,
            Self::Closed => ErrorClass::SessionEnded,
            Self::ClosedBecause { output } => agent_text::class_of(output),
            Self::Refused | Self::RefusedOrClosed | Self::ClosedAtOnce => {
                ErrorClass::DestinationRefused
            }
            Self::NoAnswer => ErrorClass::DestinationTimedOut,
            Self::Handshake { class, .. } => *class,
            Self::Message(_) | Self::Payload { .. } | Self::Frame(_) => ErrorClass::ProtocolError,
            Self::Lost { .. } => ErrorClass::SessionLost,
        }
    }

    /// Returns the reason of a handshake that cannot succeed.
    pub(crate) fn handshake(why: Printable) -> Self {
        let class = ErrorClass::HandshakeFailed;
        Self::Handshake { why, class }
    }

    pub(crate) fn unreadable(what: &'static str, error: &PayloadError) -> Self {
        Self::Payload {
            what,
            why: Printable::of(error),
        }
    }

    pub(crate) fn no_handshake() -> Self {
        let why =
            "the agent sent data without a handshake, as for a shell; choose another `document`";
        Self::handshake(why.into())
    }

    pub(crate) fn not_shared() -> Self {
        let why = "the document opens a session for one connection, which cannot be shared; set `sessions = \"per_connection\"`, or choose another `document`";
        Self::handshake(why.into())
    }

    pub(crate) fn encryption() -> Self {
        let why =
            "the agent requires KMS encryption, which port forwarding sessions do not support";
        Self::Handshake {
            why: why.into(),
            class: ErrorClass::KmsUnsupported,
        }
    }

    /// Converts the body of a `channel_closed`, whose fields are set by Session Manager
    /// (docs/protocol.md, section 9.1). A body that cannot be parsed is an error, not a clean end.
    pub(crate) fn closed(body: &[u8]) -> Self {
        match payload::decode::<ChannelClosed>(body) {
            Ok(body) => Self::from_output(&body.output),
            Err(error) => Self::unreadable("channel_closed message", &error),
        }
    }

    /// Converts the `Output` of a `channel_closed`.
    fn from_output(output: &str) -> Self {
        let text = output.trim().trim_start_matches(HEADING);
        let output = Printable::cut(text, MAX_OUTPUT);
        match output.is_empty() {
            true => Self::Closed,
            false => Self::ClosedBecause { output },
        }
    }
}

/// Heading that agents put above the text of some failures (docs/protocol.md, section 0.2).
const HEADING: &str = "----------ERROR-------";

/// Maximum length of an agent's text, in characters.
const MAX_OUTPUT: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_text_cannot_forge_a_log_line() {
        let reason = Reason::from_output(" lookup x:\nno such\u{1b}[2J host ");

        assert_eq!(
            reason,
            Reason::ClosedBecause {
                output: "lookup x: no such\u{fffd}[2J host".into()
            }
        );
        assert_eq!(Reason::from_output(" \n"), Reason::Closed);
    }
}
