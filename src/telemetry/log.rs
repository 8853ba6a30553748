//! Tracing, for people or for programs.
//!
//! Lines go to stderr: stdout belongs to a command's result. Colour only on a terminal. No filter
//! makes other people's crates say more than `debug`: at `trace` the AWS SDK prints answers whole,
//! tokens included.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// What was asked for on the command line and in the environment. Flags win over the environment,
/// and that over the file.
#[derive(Debug)]
pub struct Log {
    filter: Option<EnvFilter>,
    flag: Option<Verbosity>,
    colour: bool,
}

impl Log {
    /// `filter` is `SSM_PROXYD_LOG`, `flag` what `-q`, `-v` and `-vv` say.
    ///
    /// # Errors
    ///
    /// If the filter counts and cannot be understood.
    pub fn new(
        filter: Option<&str>,
        flag: Option<Verbosity>,
        colour: bool,
    ) -> Result<Self, LogError> {
        let filter = filter.filter(|_| flag.is_none());
        Ok(Self {
            filter: filter.map(read_filter).transpose()?,
            flag,
            colour,
        })
    }

    /// Starts logging for the whole process, at `verbosity` if nobody asked for another.
    ///
    /// # Errors
    ///
    /// If it was started before.
    pub fn start(self, format: Format, verbosity: Verbosity) -> Result<(), LogError> {
        let verbosity = self.flag.unwrap_or(verbosity);
        let filter = self
            .filter
            .unwrap_or_else(|| EnvFilter::new(verbosity.filter()));
        // What goes wrong with the log would be told on stderr, whose loss is the likely error: that
        // is a panic.
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .log_internal_errors(false);
        let lines = match format {
            Format::Text => lines.with_ansi(self.colour).boxed(),
            Format::Json => lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_target(true)
                .boxed(),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(keeps_secrets))
            .with(lines)
            .try_init()
            .map_err(|error| LogError::Started(error.to_string()))
    }
}

/// For whom lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: an object of JSON in each line.
    Json,
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
    /// What stopped and will not come back.
    Faults,
    /// `-q`: that, and what a person may look at tomorrow.
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
            Self::Faults => "error",
            // What the SDK says about credentials that cannot be had, or about an answer that is no
            // HTTP, is in our own line.
            Self::Quiet => {
                "warn,aws_config::profile=error,aws_config::meta=error,aws_config::sts=error,aws_smithy_http_client=error"
            }
            Self::Normal => {
                "warn,ssm_proxyd=info,aws_config::profile=error,aws_config::meta=error,aws_config::sts=error,aws_smithy_http_client=error"
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
            Verbosity::Faults,
            Verbosity::Quiet,
            Verbosity::Normal,
            Verbosity::Verbose,
            Verbosity::Everything,
        ] {
            assert!(read_filter(verbosity.filter()).is_ok(), "{verbosity:?}");
        }
    }
}
