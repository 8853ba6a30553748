//! Log filters: a verbosity level, or an expression of levels and modules.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Builder;
use tracing_subscriber::filter::LevelFilter;

/// Verbosity of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Failures that do not recover without intervention.
    Error,
    /// `-q`: also warnings that need no immediate action.
    Warn,
    /// Also events that an operator notices.
    Info,
    /// `-v`: also decisions that differ from the ordinary path.
    Debug,
    /// `-vv`: also every message and every frame.
    Trace,
}

impl Verbosity {
    /// Returns the verbosity of a value of `[log] level`.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }

    pub(super) fn filter(self) -> EnvFilter {
        parser().parse_lossy(self.words())
    }

    fn words(self) -> &'static str {
        match self {
            Self::Error => "error",
            // Our own log lines contain what the SDK logs about missing credentials and responses
            // that are not HTTP.
            Self::Warn => {
                "warn,aws_config::profile=error,aws_config::meta=error,aws_config::sts=error,aws_smithy_http_client=error"
            }
            Self::Info => {
                "warn,ssm_proxyd=info,aws_config::profile=error,aws_config::meta=error,aws_config::sts=error,aws_smithy_http_client=error"
            }
            Self::Debug => "info,ssm_proxyd=debug",
            Self::Trace => "info,ssm_proxyd=trace",
        }
    }
}

/// An invalid filter.
#[derive(Debug, thiserror::Error)]
#[error("invalid log filter {filter:?}: {why}")]
pub struct FilterError {
    /// The filter.
    pub(super) filter: String,
    /// The reason.
    pub(super) why: String,
}

/// Parses a filter. Rejects parts that can never match.
pub(super) fn read_filter(words: &str) -> Result<EnvFilter, FilterError> {
    let fail = |why: String| FilterError {
        filter: words.to_owned(),
        why,
    };
    if words.trim().is_empty() {
        return Err(fail("it is empty; use `off` to disable logging".to_owned()));
    }
    if let Some(unknown) = words.split(',').find(|word| !may_match(word)) {
        return Err(fail(format!("{unknown:?} is neither a level nor a module")));
    }
    parser()
        .parse(words)
        .map_err(|error| fail(error.to_string()))
}

/// Field values are compared as text, because compiling a pattern could take unbounded time and
/// memory.
fn parser() -> Builder {
    EnvFilter::builder().with_regex(false)
}

/// Returns true if a part of a filter can match a line. The library takes any word for a module, so
/// a typing error would disable the log.
fn may_match(part: &str) -> bool {
    let module = part.split(['=', '[']).next().unwrap_or_default();
    if module.len() == part.len() && !part.is_empty() {
        return is_level(part) || part.starts_with(CRATE);
    }
    module
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// Returns true if a line is known to contain no secret, such as our own lines. At `trace` the AWS
/// SDK logs whole responses. While it resolves credentials it logs key ids at `info`, and the
/// bodies of invalid responses at `warn`; our own errors contain the relevant part.
pub(super) fn keeps_secrets(target: &str, level: Level) -> bool {
    if target.starts_with(CRATE) {
        return true;
    }
    let is_of_credentials = target == CREDENTIALS || target.starts_with("aws_config::");
    level
        <= if is_of_credentials {
            Level::ERROR
        } else {
            Level::DEBUG
        }
}

/// The part of the AWS SDK that resolves credentials.
const CREDENTIALS: &str = "aws_config";

/// First segment of all module paths of this program.
pub(super) const CRATE: &str = "ssm_proxyd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_consists_of_levels_and_modules() {
        for good in [
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
    fn a_part_that_can_match_nothing_is_rejected() {
        for bad in [
            "",
            " ",
            "warning",
            "info,verbose",
            "ssm-proxyd=debug",
            "ssm_proxyd=loud",
        ] {
            assert!(read_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_value_of_a_field_is_text_and_not_a_pattern() {
        for text in ["(", "*a"] {
            let filter = format!("ssm_proxyd[connection{{peer={text:?}}}]=debug");
            assert!(read_filter(&filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn the_sdk_logs_about_credentials_at_error_only() {
        for target in ["aws_config", "aws_config::profile::credentials"] {
            for level in [Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                assert!(!keeps_secrets(target, level), "{target} {level}");
            }
            assert!(keeps_secrets(target, Level::ERROR));
        }
        assert!(keeps_secrets("ssm_proxyd::forward", Level::TRACE));
        assert!(keeps_secrets("hyper", Level::DEBUG));
        assert!(!keeps_secrets("hyper", Level::TRACE));
    }

    #[test]
    fn every_verbosity_has_a_valid_filter() {
        for verbosity in [
            Verbosity::Error,
            Verbosity::Warn,
            Verbosity::Info,
            Verbosity::Debug,
            Verbosity::Trace,
        ] {
            assert!(read_filter(verbosity.words()).is_ok(), "{verbosity:?}");
        }
    }
}
