//! Errors of tunnels that were lost or could not be established.

use super::INTERNAL_ERROR;
use crate::error_class::ErrorClass;
use crate::network::{self, Proxy};
use crate::printable::Printable;
use crate::proto::Reason;
use crate::session;

/// Reason why a tunnel was lost or could not be established.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The core ended: we or Session Manager closed it, or the agent violated the protocol.
    #[error("{}{}", .0, cause(.0))]
    Ended(Reason),

    /// The session API failed, or the upgrade could not be signed.
    #[error("{0}")]
    Session(#[from] session::Error),

    /// Connecting to Session Manager failed.
    #[error("cannot open the data channel: {}: {}", .0, Printable::of(&.0.source))]
    Dial(#[from] network::DialError),

    /// The response to the upgrade was not a websocket.
    #[error("Session Manager rejected the websocket upgrade: HTTP {status}{}", quoted(.text))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The beginning of its body.
        text: Printable,
    },

    /// The session could not be resumed in time.
    #[error("session not resumed within {seconds} s: {last}")]
    Late {
        /// `resume_timeout`, in seconds.
        seconds: u64,
        /// The last error.
        last: Printable,
        /// What the user can do about it; empty if nothing.
        hint: &'static str,
    },

    /// The websocket broke; its session may still be active.
    #[error("the websocket failed: {0}")]
    Broken(Printable),
}

impl Error {
    /// Returns the error for a websocket that failed.
    pub(super) fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(Printable::of(error))
    }

    /// Adds the proxy to the error of a websocket that failed.
    pub(super) fn through(self, proxy: Option<&Proxy>) -> Self {
        match (self, proxy) {
            (Self::Broken(why), Some(proxy)) => {
                Self::broken(format_args!("{why}, through the proxy {proxy}"))
            }
            (error, _) => error,
        }
    }

    /// Returns the class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Session(error) => error.class(),
            Self::Dial(error) => error.class(),
            Self::Refused {
                status: 401 | 403, ..
            } => ErrorClass::AccessDenied,
            Self::Refused { .. } => ErrorClass::WebsocketRefused,
            Self::Late { .. } => ErrorClass::SessionLost,
            Self::Broken(_) => ErrorClass::WebsocketBroke,
            Self::Ended(Reason::Lost { why }) if *why == INTERNAL_ERROR => {
                ErrorClass::InternalError
            }
            Self::Ended(reason) => reason.class(),
        }
    }

    /// Returns true if retrying to resume is useless.
    pub(super) fn is_final(&self) -> bool {
        match self {
            // Everything else may recover: a login, a permission, an agent that is back.
            Self::Session(error) => error.kind() == session::ErrorKind::SessionEnded,
            Self::Ended(_) | Self::Late { .. } => true,
            Self::Dial(_) | Self::Refused { .. } | Self::Broken(_) => false,
        }
    }

    /// Returns true if connecting again with the same token and URL is useless.
    pub(super) fn is_final_at_first(&self) -> bool {
        match self {
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 429,
            Self::Session(_) | Self::Ended(_) | Self::Late { .. } => true,
            Self::Dial(_) | Self::Broken(_) => false,
        }
    }

    /// Returns what the user can do about it; empty if nothing.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Session(error) => error.hint(),
            Self::Refused {
                status: 401 | 403, ..
            } => {
                "the caller needs ssmmessages:OpenDataChannel on its own sessions (arn:aws:ssm:*:*:session/${aws:userid}-*), and a correct clock"
            }
            Self::Late { hint, .. } if !hint.is_empty() => hint,
            Self::Dial(error) if error.class() == ErrorClass::EndpointUnreachable => {
                error.hint().unwrap_or(NETWORK_HINT)
            }
            Self::Dial(error) => error.hint().unwrap_or_else(|| error.class().remedy()),
            Self::Refused { .. } | Self::Broken(_) => NETWORK_HINT,
            Self::Ended(Reason::NoAnswer | Reason::ClosedAtOnce) => {
                "check the port: a process on the target must be listening on it"
            }
            // Their texts contain the remedy.
            Self::Ended(Reason::Finished | Reason::Lost { .. } | Reason::Handshake { .. }) => "",
            Self::Late { .. } | Self::Ended(_) => self.class().remedy(),
        }
    }
}

/// Formats the source of a reason, if it has one.
fn cause(reason: &Reason) -> Printable {
    let source = std::error::Error::source(reason);
    source.map_or_else(Printable::default, |source| {
        Printable::of(format_args!(": {source}"))
    })
}

fn quoted(text: &Printable) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| match text.is_empty() {
        true => Ok(()),
        false => write!(f, " ({text})"),
    })
}

/// Hint about the network path to Session Manager.
const NETWORK_HINT: &str = ErrorClass::WebsocketBroke.remedy();
