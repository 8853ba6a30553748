//! Why a tunnel ended.

use crate::printable::Printable;
use crate::wire::message::DecodeError;
use crate::wire::payload::{self, ChannelClosed, PayloadError};
use crate::wire::smux::FrameError;

/// Why a tunnel, or one of its streams, ended. Final in every case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// We ended the session on purpose.
    #[error("the session was ended here")]
    Finished,

    /// The service closed the channel without a word.
    #[error("the session was ended by the service or on the target")]
    Closed,

    /// The service closed the channel and told why, in the agent's words.
    #[error("the session was ended by the service or on the target: {output}")]
    ClosedBecause {
        /// The agent's text.
        output: Printable,
    },

    /// The agent could not reach the destination. Ends one stream, not the tunnel.
    #[error("the agent could not connect to the destination")]
    Refused,

    /// The agent completed the handshake and then acknowledged nothing: without a mux, that is
    /// what a refused dial looks like (protocol.md section 7).
    #[error(
        "the agent answers nothing since the handshake: the destination refuses the connection, or none of its packets come"
    )]
    NoAnswer,

    /// The channel was closed without a word before the agent said or acknowledged anything of its
    /// one connection: what a refused dial looks like to current agents (protocol.md section 0.2).
    #[error(
        "the session ended right after the handshake: the destination refuses the connection, or closed it at once"
    )]
    ClosedAtOnce,

    /// The handshake cannot succeed.
    #[error("{why}")]
    Handshake {
        /// What the agent asked or is, and the remedy.
        why: Printable,
    },

    /// A frame of the websocket is not a message.
    #[error("the service sent what is no message")]
    Message(#[from] DecodeError),

    /// The payload of a message is not what its type says.
    #[error("the agent sent an unreadable {what}: {why}")]
    Payload {
        /// Which payload.
        what: &'static str,
        /// What the parser said.
        why: Printable,
    },

    /// The bytes of the mux are no frames.
    #[error("the agent broke the mux")]
    Frame(#[from] FrameError),

    /// The session could not be kept; the tunnel's driver says why.
    #[error("{why}")]
    Lost {
        /// The driver's words.
        why: Printable,
    },
}

impl Reason {
    pub(crate) fn unreadable(what: &'static str, error: &PayloadError) -> Self {
        Self::Payload {
            what,
            why: Printable::of(error),
        }
    }

    pub(crate) fn no_handshake() -> Self {
        let why =
            "the agent sent data without a handshake, as for a shell; choose another `document`";
        Self::Handshake { why: why.into() }
    }

    pub(crate) fn not_shared() -> Self {
        let why = "the document opens a session for one connection, which cannot be shared; set `sessions = \"per_connection\"`, or choose another `document`";
        Self::Handshake { why: why.into() }
    }

    pub(crate) fn encryption() -> Self {
        let why = "the agent insists on KMS encryption, which port forwarding sessions do not have";
        Self::Handshake { why: why.into() }
    }

    /// From the body of a `channel_closed`, whose fields are the service's own (section 9.1). One
    /// that cannot be read does not say that all is well.
    pub(crate) fn closed(body: &[u8]) -> Self {
        match payload::decode::<ChannelClosed>(body) {
            Ok(body) => Self::from_output(&body.output),
            Err(error) => Self::unreadable("end of the session", &error),
        }
    }

    /// From the `Output` of a `channel_closed`.
    fn from_output(output: &str) -> Self {
        let text = output.trim().trim_start_matches(HEADING);
        let output = Printable::cut(text, MAX_OUTPUT);
        match output.is_empty() {
            true => Self::Closed,
            false => Self::ClosedBecause { output },
        }
    }
}

/// What an agent puts above the text of some failures (protocol.md section 0.2).
const HEADING: &str = "----------ERROR-------";

/// Characters of an agent's text that are kept.
const MAX_OUTPUT: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_text_cannot_forge_a_line() {
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
