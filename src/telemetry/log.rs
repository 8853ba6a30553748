//! Tracing for a terminal.
//!
//! Lines go to stderr: stdout belongs to a command's result. Colour only on a terminal. No filter
//! makes other people's crates say more than `debug`: at `trace` the AWS SDK prints answers whole,
//! tokens included.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for the whole process.
///
/// `filter` is `SSM_PROXYD_LOG`, which wins over `verbosity`; flags win over both.
///
/// # Errors
///
/// If the filter cannot be understood, or logging was started before.
pub fn start(filter: Option<&str>, verbosity: Verbosity, colour: bool) -> Result<(), LogError> {
    let filter = match filter {
        Some(words) => read_filter(words)?,
        None => EnvFilter::new(verbosity.filter()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        // It would be told on stderr, whose loss is the likely error: that is a panic.
        .log_internal_errors(false)
        .finish()
        .with(filter_fn(keeps_secrets))
        .try_init()
        .map_err(|error| LogError::Started(error.to_string()))
}

fn read_filter(words: &str) -> Result<EnvFilter, LogError> {
    let fail = |why: String| LogError::Filter {
        filter: words.to_owned(),
        why,
    };
    if let Some(stranger) = words.split(',').find(|word| !may_match(word)) {
        return Err(fail(format!(
            "{stranger:?} is neither a level nor a module"
        )));
    }
    EnvFilter::try_new(words).map_err(|error| fail(error.to_string()))
}

/// Whether a part of a filter can ever match a line. The library takes any word for a module, and
/// a slip of the finger would mean silence.
fn may_match(part: &str) -> bool {
    let module = part.split(['=', '[']).next().unwrap_or_default();
    if module.len() == part.len() && !part.is_empty() {
        return is_level(part) || part.starts_with(OURS);
    }
    module
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// Our own lines are known to hold no secret.
fn keeps_secrets(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with(OURS) || *metadata.level() <= Level::DEBUG
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
            // What the SDK says about credentials that cannot be had, or about an answer that is no
            // HTTP, is in our own line.
            Self::Quiet => {
                "warn,aws_config::profile=error,aws_config::meta=error,aws_smithy_http_client=error"
            }
            Self::Normal => {
                "warn,ssm_proxyd=info,aws_config::profile=error,aws_config::meta=error,aws_smithy_http_client=error"
            }
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

/// The first part of the name of every module of this program.
const OURS: &str = "ssm_proxyd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels_and_modules() {
        for good in [
            "",
            "debug",
            "OFF",
            "3",
            "warn,ssm_proxyd=trace",
            "ssm_proxyd::forward",
            "info,hyper=debug",
            "[connection]=debug",
            "ssm_proxyd[connection{peer=\"a\"}]=debug",
        ] {
            assert!(read_filter(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_word_that_can_match_nothing_is_refused() {
        for bad in [
            "warning",
            "info,verbose",
            "ssm-proxyd=debug",
            "ssm_proxyd=loud",
        ] {
            assert!(read_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_verbosity_is_a_filter() {
        for verbosity in [
            Verbosity::Quiet,
            Verbosity::Normal,
            Verbosity::Verbose,
            Verbosity::Everything,
        ] {
            assert!(read_filter(verbosity.filter()).is_ok(), "{verbosity:?}");
        }
    }
}
