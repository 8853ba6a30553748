//! Why a daemon cannot do what its configuration says.

use std::borrow::Cow;

use crate::forward::ListenError;
use crate::network::RootsError;
use crate::session;

/// Why the daemon did not start, or not reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificates to trust cannot be used.
    #[error("{0}")]
    Roots(#[from] RootsError),
    /// The settings of AWS are not enough.
    #[error("{0}")]
    Aws(session::Error),
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
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Roots(_) => Cow::Borrowed("check `ca_bundle` in [aws]"),
            Self::Aws(error) => Cow::Borrowed(error.hint()),
            Self::Standard(_) => Cow::Borrowed("pipes, sockets, terminals and files can be"),
            Self::Listen { source, .. } => Cow::Owned(source.hint()),
        }
    }
}
