//! Errors of a reload: logged in lines, answered to clients.

use tracing::warn;

use super::admin::{ErrorKind, ErrorResponse};
use super::error::StartError;
use crate::config;

/// Error of a reload. The current configuration stays in use.
#[derive(Debug)]
pub enum ReloadError {
    /// The configuration cannot be read, or it is invalid.
    Config(config::Error),
    /// The configuration cannot be used for a reload.
    Unusable {
        /// Cause, in one line.
        error: String,
        /// Suggested action; empty if there is none.
        hint: String,
    },
    /// The configuration cannot be applied.
    Start(StartError),
}

impl ReloadError {
    /// Creates the error of a configuration that cannot be used for a reload.
    pub fn unusable(error: impl ToString, hint: impl Into<String>) -> Self {
        Self::Unusable {
            error: error.to_string(),
            hint: hint.into(),
        }
    }

    /// Logs each problem in one line.
    pub(super) fn log(&self) {
        for (error, hint) in self.summary() {
            warn!(
                error,
                hint, "reload failed; keeping the current configuration"
            );
        }
    }

    fn summary(&self) -> Vec<(String, String)> {
        match self {
            Self::Config(error) => error.summary(),
            Self::Unusable { error, hint } => vec![(error.clone(), hint.clone())],
            Self::Start(error) => vec![(error.to_string(), error.hint().into_owned())],
        }
    }

    /// Returns the answer to a client.
    pub(super) fn response(&self) -> ErrorResponse {
        let (message, hint) = self.summary().into_iter().next().unwrap_or_default();
        let (kind, rendered) = match self {
            Self::Config(error) => (ErrorKind::Configuration, Some(error.to_string())),
            Self::Start(StartError::Listen { .. } | StartError::Http(_)) => {
                (ErrorKind::Listen, None)
            }
            Self::Unusable { .. } | Self::Start(_) => (ErrorKind::Configuration, None),
        };
        ErrorResponse {
            kind,
            message,
            hint,
            rendered,
        }
    }
}

impl From<StartError> for ReloadError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}
