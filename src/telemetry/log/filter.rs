//! How much is said: a word for it, or a filter of levels and modules.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Builder;
use tracing_subscriber::filter::LevelFilter;

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
    /// The one that a word of `[log] level` stands for.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "error" => Self::Faults,
            "warn" => Self::Quiet,
            "info" => Self::Normal,
            "debug" => Self::Verbose,
            "trace" => Self::Everything,
            _ => return None,
        })
    }

    pub(super) fn filter(self) -> EnvFilter {
        parser().parse_lossy(self.words())
    }

    fn words(self) -> &'static str {
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

/// A text that is no filter.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is no filter: {why}")]
pub struct FilterError {
    /// What it says.
    pub(super) filter: String,
    /// What is wrong with it.
    pub(super) why: String,
}

/// Reads a filter, and refuses what could never match.
pub(super) fn read_filter(words: &str) -> Result<EnvFilter, FilterError> {
    let fail = |why: String| FilterError {
        filter: words.to_owned(),
        why,
    };
    if words.trim().is_empty() {
        return Err(fail("it says nothing; `off` is silence".to_owned()));
    }
    if let Some(stranger) = words.split(',').find(|word| !may_match(word)) {
        return Err(fail(format!(
            "{stranger:?} is neither a level nor a module"
        )));
    }
    parser()
        .parse(words)
        .map_err(|error| fail(error.to_string()))
}

/// Values of fields are compared as text: a pattern could take any time and memory to compile.
fn parser() -> Builder {
    EnvFilter::builder().with_regex(false)
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

/// Whether a line is known to hold no secret, as our own. At `trace` the AWS SDK prints whole
/// answers. Where it looks for credentials it prints key ids at `info`, and bodies of answers that it
/// cannot read at `warn`; what matters of that is in our own errors.
pub(super) fn keeps_secrets(target: &str, level: Level) -> bool {
    if target.starts_with(OURS) {
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

/// The part of the AWS SDK that looks for credentials.
const CREDENTIALS: &str = "aws_config";

/// The first part of the name of every module of this program.
pub(super) const OURS: &str = "ssm_proxyd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels_and_modules() {
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
    fn a_word_that_can_match_nothing_is_refused() {
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
    fn a_value_of_a_field_is_a_text_and_no_pattern() {
        for text in ["(", "*a"] {
            let filter = format!("ssm_proxyd[connection{{peer={text:?}}}]=debug");
            assert!(read_filter(&filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn the_sdk_tells_of_credentials_at_no_level_but_error() {
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
    fn every_verbosity_is_a_filter() {
        for verbosity in [
            Verbosity::Faults,
            Verbosity::Quiet,
            Verbosity::Normal,
            Verbosity::Verbose,
            Verbosity::Everything,
        ] {
            assert!(read_filter(verbosity.words()).is_ok(), "{verbosity:?}");
        }
    }
}
