//! Why a daemon cannot do what its configuration says.

use std::borrow::Cow;

use crate::forward::ListenError;
use crate::network::{ProxyError, RootsError};
use crate::session;
use crate::telemetry::LogError;

/// Why the daemon did not start, or not reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What had to be read was not read in time.
    #[error("{what}: {why}")]
    Unfinished {
        /// What was read.
        what: &'static str,
        /// How far that came.
        why: String,
    },
    /// The certificates to trust cannot be used.
    #[error("{0}")]
    Roots(#[from] RootsError),
    /// The proxy cannot be used.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// The settings of AWS are not enough.
    #[error("{0}")]
    Aws(session::Error),
    /// What a forward says of AWS is not enough.
    #[error("forward {name:?}: {source}")]
    Forward {
        /// The forward.
        name: String,
        /// Where it stands in the file, from 1.
        line: usize,
        /// What is not.
        source: session::Error,
    },
    /// stdin or stdout cannot be used.
    #[error("stdin and stdout cannot be used: {0}")]
    Standard(#[from] std::io::Error),
    /// A local address cannot be bound.
    #[error("forward {name:?}: {source}")]
    Listen {
        /// The forward.
        name: String,
        /// Where it stands in the file, from 1.
        line: usize,
        /// The address and why.
        source: ListenError,
    },
    /// The address for health and metrics cannot be bound.
    #[error("[http]: {0}")]
    Http(ListenError),
    /// The admin socket cannot be bound.
    #[error("[admin]: {0}")]
    Admin(ListenError),
    /// The admin socket is where it is until the daemon ends.
    #[error("[admin]: `socket` cannot change while the daemon runs")]
    AdminMoved,
    /// The log cannot be written as it shall be.
    #[error("[log]: {0}")]
    Log(LogError),
}

impl StartError {
    /// What the status of a forward says in one word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Aws(source) | Self::Forward { source, .. } => source.kind().as_str(),
            Self::Listen { .. } | Self::Http(_) | Self::Admin(_) => "CannotListen",
            Self::Unfinished { .. } => "TimedOut",
            Self::Roots(_)
            | Self::Proxy(_)
            | Self::Standard(_)
            | Self::AdminMoved
            | Self::Log(_) => "BadConfiguration",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Roots(_) => Cow::Borrowed("check `ca_bundle` in [aws]"),
            Self::Proxy(_) => Cow::Borrowed(
                "check `proxy` in [aws], HTTPS_PROXY and ALL_PROXY; NO_PROXY=* is without a proxy",
            ),
            Self::Aws(error) | Self::Forward { source: error, .. } => Cow::Borrowed(error.hint()),
            Self::Listen { source, .. } | Self::Http(source) | Self::Admin(source) => {
                Cow::Owned(source.hint())
            }
            Self::AdminMoved => Cow::Borrowed("write it as it was, or restart the daemon"),
            Self::Log(_) => Cow::Borrowed("write `format = \"text\"` or \"json\""),
            Self::Unfinished { .. } => Cow::Borrowed(
                "check the disk and the paths: `ca_bundle`, AWS_CA_BUNDLE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE must be files, not pipes",
            ),
            Self::Standard(_) => Cow::Borrowed("pipes, sockets, terminals and files can be"),
        }
    }
}
