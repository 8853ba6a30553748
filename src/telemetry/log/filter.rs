//! How much is said: a word for it, or a filter of levels and modules.

use tracing_subscriber::EnvFilter;
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
        EnvFilter::new(self.words())
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
