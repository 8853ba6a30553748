//! Tracing for a terminal.
//!
//! Lines go to stderr: stdout belongs to a command's result. Colour only on a terminal.

use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
///
/// `filter` is `SSM_PROXYD_LOG`, which wins over `verbosity`.
///
/// # Errors
///
/// If the filter cannot be understood, or logging was started before.
pub fn start(filter: Option<&str>, verbosity: Verbosity, colour: bool) -> Result<(), LogError> {
    let words = filter.unwrap_or_else(|| verbosity.filter());
    let filter = EnvFilter::try_new(words).map_err(|error| LogError::Filter {
        filter: words.to_owned(),
        why: error.to_string(),
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init()
        .map_err(|error| LogError::Started(error.to_string()))
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// `-q`: what stopped and will not come back, and what a person may look at tomorrow.
    Quiet,
    /// What the person who runs it would feel.
    Normal,
    /// `-v`: decisions that differed from the ordinary path.
    Verbose,
    /// `-vv`: every message and every frame.
    Everything,
}

impl Verbosity {
    fn filter(self) -> &'static str {
        match self {
            Self::Quiet => "warn",
            Self::Normal => "warn,ssm_proxyd=info",
            Self::Verbose => "info,ssm_proxyd=debug",
            Self::Everything => "info,ssm_proxyd=trace",
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `SSM_PROXYD_LOG` is no filter.
    #[error("SSM_PROXYD_LOG={filter:?} is no filter: {why}")]
    Filter {
        /// What it said.
        filter: String,
        /// What the parser said.
        why: String,
    },
    /// It was started before.
    #[error("logging cannot be started: {0}")]
    Started(String),
}
