//! Log setup: text, JSON or journald output.
//!
//! Lines go to stderr, because stdout is reserved for the result of a command. Colours are used on
//! terminals only. No filter lets other crates log more than `debug`: at `trace` the AWS SDK logs
//! whole responses, including tokens. While it resolves credentials, only its errors are logged.
//!
//! Logging never waits for the reader of the log: lines go through a bounded queue to a writer
//! thread; lines that do not fit are dropped, counted and reported.

mod fields;
mod filter;
mod journal;
mod json;
mod layer;
mod line;
mod stderr;
#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use self::filter::read_filter;
pub use self::filter::{FilterError, Verbosity};
use self::layer::{CurrentFormat, LogLayer};
pub use self::stderr::write_to_stderr;
use self::writer::Writer;

/// Log settings of the command line and the environment. Flags take precedence over the
/// environment, and that over the configuration file.
#[derive(Debug)]
pub struct Log {
    filter: Option<EnvFilter>,
    flag: Option<Verbosity>,
    colour: bool,
    /// stderr is connected to the journal.
    journal: bool,
}

impl Log {
    /// Parses the settings. `filter` is `SSM_PROXYD_LOG`, `flag` the result of `-q`, `-v` or `-vv`;
    /// `journal` is true if stderr is connected to the journal.
    ///
    /// # Errors
    ///
    /// If the filter is used and invalid.
    pub fn new(
        filter: Option<&str>,
        flag: Option<Verbosity>,
        colour: bool,
        journal: bool,
    ) -> Result<Self, LogError> {
        let filter = filter.filter(|_| flag.is_none());
        let read = |words: &str| read_filter(words).map_err(LogError::Environment);
        Ok(Self {
            filter: filter.map(read).transpose()?,
            flag,
            colour,
            journal,
        })
    }

    /// Starts logging for the whole process, at `verbosity` unless a flag or the environment
    /// overrides it.
    ///
    /// # Errors
    ///
    /// If it was started before, or if `format` requires a journal and there is none.
    pub fn start(self, format: Format, verbosity: Verbosity) -> Result<LogHandle, LogError> {
        let is_fixed = self.filter.is_some() || self.flag.is_some();
        let verbosity = self.flag.unwrap_or(verbosity);
        let filter = self.filter.unwrap_or_else(|| verbosity.filter());
        let words = filter.to_string();
        let (filter, handle) = reload::Layer::new(filter);
        let current = CurrentFormat::default();
        let journal = match format {
            Format::Journald => Some(journal().map_err(LogError::Journal)?),
            Format::Auto | Format::Text | Format::Json => journal().ok(),
        };
        let log_handle = LogHandle(Arc::new(Inner {
            handle,
            format: current.clone(),
            has_journal: journal.is_some(),
            journal: self.journal && journal.is_some(),
            is_fixed,
            words: Mutex::new(words),
        }));
        log_handle.set_format(format)?;
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(keeps_secrets))
            .with(LogLayer {
                format: current,
                colour: self.colour,
                stderr: stderr::writer().clone(),
                journal,
            })
            .try_init()
            .map_err(|error| LogError::Started(error.to_string()))?;
        Ok(log_handle)
    }
}

/// Changes format and filter at run time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: reload::Handle<EnvFilter, Registry>,
    format: CurrentFormat,
    has_journal: bool,
    journal: bool,
    /// A flag or the environment determines the filter.
    is_fixed: bool,
    words: Mutex<String>,
}

impl LogHandle {
    /// Changes the format of the following lines.
    ///
    /// # Errors
    ///
    /// If `format` requires a journal and there is none.
    pub fn set_format(&self, format: Format) -> Result<(), LogError> {
        let format = format.resolved(self.0.journal);
        if format == Format::Journald && !self.0.has_journal {
            return Err(LogError::NoJournal);
        }
        self.0.format.set(format);
        Ok(())
    }

    /// Sets the verbosity of the configuration file. Has no effect if a flag or the environment
    /// overrides it.
    ///
    /// # Errors
    ///
    /// If the log no longer exists, as in a process that ends.
    pub fn set_verbosity(&self, verbosity: Verbosity) -> Result<(), LogError> {
        match self.0.is_fixed {
            true => Ok(()),
            false => self.install(verbosity.filter()),
        }
    }

    /// Sets the filter requested by the operator of the daemon: a value of `[log] level`, or a
    /// filter as in `SSM_PROXYD_LOG`.
    ///
    /// # Errors
    ///
    /// If the filter is invalid.
    pub fn set_filter(&self, words: &str) -> Result<(), LogError> {
        match Verbosity::named(words) {
            Some(verbosity) => self.install(verbosity.filter()),
            None => self.install(read_filter(words)?),
        }
    }

    /// Returns the current filter.
    pub fn filter(&self) -> String {
        self.words().clone()
    }

    fn install(&self, filter: EnvFilter) -> Result<(), LogError> {
        let words = filter.to_string();
        let changed = self.0.handle.reload(filter);
        changed.map_err(|error| LogError::Started(error.to_string()))?;
        *self.words() = words;
        Ok(())
    }

    fn words(&self) -> MutexGuard<'_, String> {
        self.0.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Journald if stderr is connected to the journal, else text.
    Auto,
    /// Text for humans.
    Text,
    /// JSON for programs: one object per line.
    Json,
    /// Journald's native protocol, with separate fields.
    Journald,
}

impl Format {
    /// Resolves `Auto`. `journal`: stderr is connected to the journal.
    fn resolved(self, journal: bool) -> Self {
        match (self, journal) {
            (Self::Auto, true) => Self::Journald,
            (Self::Auto, false) => Self::Text,
            (other, _) => other,
        }
    }
}

/// Opens the system journal, whose queue lives as long as the process.
fn journal() -> std::io::Result<Writer> {
    let journal = journal::open(Path::new(journal::SOCKET), stderr::report)?;
    // A second journal belongs to a log whose start will fail.
    let _second = JOURNAL.set(journal.clone());
    Ok(journal)
}

/// Returns the number of log lines dropped since the process started.
pub fn dropped_log_lines() -> u64 {
    writers().map(Writer::dropped).sum()
}

/// Waits until all lines are written, for one second at most.
pub fn flush_log() {
    writers().for_each(|writer| writer.flush(FLUSH_TIMEOUT));
}

fn writers() -> impl Iterator<Item = &'static Writer> {
    JOURNAL.get().into_iter().chain([stderr::writer()])
}

static JOURNAL: OnceLock<Writer> = OnceLock::new();

/// Maximum time for which the end of the process waits for the reader of the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

fn keeps_secrets(metadata: &Metadata<'_>) -> bool {
    filter::keeps_secrets(metadata.target(), *metadata.level())
}

/// Error of a log start or change.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `SSM_PROXYD_LOG` is not a valid filter.
    #[error("invalid log filter SSM_PROXYD_LOG={:?}: {}", .0.filter, .0.why)]
    Environment(FilterError),
    /// A filter set at run time is invalid.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// It was started before, or no longer exists.
    #[error("cannot start logging: {0}")]
    Started(String),
    /// The journal is not available.
    #[error("cannot write to the journal: {0}")]
    Journal(std::io::Error),
    /// There was no journal when the process started.
    #[error("no journal is available")]
    NoJournal,
}
