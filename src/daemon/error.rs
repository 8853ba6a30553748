//! Errors of the start, and of applying a configuration.

use std::borrow::Cow;

use crate::error_class::ErrorClass;
use crate::forward::ListenError;
use crate::network::{ProxyError, RootsError};
use crate::session;
use crate::telemetry::LogError;

/// Error of a start or reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Files were not read in time, or reading them panicked.
    #[error("{what}: {why}")]
    Unfinished {
        /// What was being read.
        what: &'static str,
        /// Reason.
        why: String,
    },
    /// The trusted certificates cannot be used.
    #[error("{0}")]
    Roots(#[from] RootsError),
    /// The proxy cannot be used.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// The shared AWS settings are insufficient.
    #[error("{0}")]
    Aws(session::Error),
    /// The AWS settings of a forward are insufficient.
    #[error("forward {name:?}: {source}")]
    Forward {
        /// Name of the forward.
        name: String,
        /// Line in the configuration file, from 1.
        line: usize,
        /// Error of the AWS settings.
        source: session::Error,
    },
    /// stdin or stdout cannot be used.
    #[error("cannot use stdin and stdout: {0}")]
    Stdio(#[from] std::io::Error),
    /// A local address of a forward cannot be bound.
    #[error("forward {name:?}: {source}")]
    Listen {
        /// Name of the forward.
        name: String,
        /// Line in the configuration file, from 1.
        line: usize,
        /// The address and the cause.
        source: ListenError,
    },
    /// An address of the HTTP server cannot be bound.
    #[error("[http]: {0}")]
    Http(ListenError),
    /// The admin socket cannot be bound.
    #[error("[admin]: {0}")]
    Admin(ListenError),
    /// The path of the admin socket cannot change while the daemon runs.
    #[error("[admin]: `socket` cannot change while the daemon runs")]
    AdminMoved,
    /// The log cannot be written in the configured format.
    #[error("[log]: {0}")]
    Log(LogError),
}

impl StartError {
    /// Returns the class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Aws(source) | Self::Forward { source, .. } => source.class(),
            Self::Listen { source, .. } | Self::Http(source) | Self::Admin(source) => {
                source.class()
            }
            Self::Unfinished { .. } => ErrorClass::TimedOut,
            Self::Stdio(_) => ErrorClass::StdioFailed,
            Self::Roots(_) | Self::Proxy(_) | Self::AdminMoved | Self::Log(_) => {
                ErrorClass::BadConfiguration
            }
        }
    }

    /// Returns the suggested action.
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Roots(_) => Cow::Borrowed(
                "check AWS_CA_BUNDLE, `ca_bundle` of the profile, and `ca_bundle` in [aws]",
            ),
            Self::Proxy(_) => Cow::Borrowed(
                "check `proxy` in [aws], HTTPS_PROXY and ALL_PROXY; NO_PROXY=* disables the proxy",
            ),
            Self::Aws(error) | Self::Forward { source: error, .. } => Cow::Borrowed(error.hint()),
            Self::Listen { source, .. } | Self::Http(source) | Self::Admin(source) => {
                Cow::Owned(source.hint())
            }
            Self::AdminMoved => Cow::Borrowed("restore the previous value, or restart the daemon"),
            Self::Log(_) => Cow::Borrowed("set `format` to \"text\" or \"json\""),
            Self::Unfinished { .. } => Cow::Borrowed(
                "check the disk and the paths: `ca_bundle`, AWS_CA_BUNDLE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE must be files, not pipes",
            ),
            Self::Stdio(_) => Cow::Borrowed(self.class().remedy()),
        }
    }
}
