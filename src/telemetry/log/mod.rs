//! Tracing, for people, for programs, or for the journal.
//!
//! Lines go to stderr: stdout belongs to a command's result. Colour only on a terminal. No filter
//! makes other people's crates say more than `debug`: at `trace` the AWS SDK prints answers whole,
//! tokens included. Where it looks for credentials, only its errors are printed.
//!
//! Nobody waits for whoever reads the log: lines go through a bounded queue to a thread that
//! writes them, and what finds no room there is dropped, counted and reported.

mod filter;
mod journal;
mod line;
mod stderr;
mod writer;

use std::path::Path;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing::callsite::rebuild_interest_cache;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use self::filter::read_filter;
pub use self::filter::{FilterError, Verbosity};
use self::journal::Journal;
use self::stderr::Lines;
pub use self::stderr::write_to_stderr;
use self::writer::Writer;

/// What was asked for on the command line and in the environment. Flags win over the environment,
/// and that over the file.
#[derive(Debug)]
pub struct Log {
    filter: Option<EnvFilter>,
    flag: Option<Verbosity>,
    colour: bool,
    /// stderr is a stream into the journal.
    journal: bool,
}

impl Log {
    /// `filter` is `SSM_PROXYD_LOG`, `flag` what `-q`, `-v` and `-vv` say; `journal` tells that
    /// stderr is a stream into the journal.
    ///
    /// # Errors
    ///
    /// If the filter counts and cannot be understood.
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

    /// Starts logging for the whole process, at `verbosity` if nobody asked for another.
    ///
    /// # Errors
    ///
    /// If it was started before, or if there is no journal and `format` wants one.
    pub fn start(self, format: Format, verbosity: Verbosity) -> Result<Control, LogError> {
        let is_fixed = self.filter.is_some() || self.flag.is_some();
        let verbosity = self.flag.unwrap_or(verbosity);
        let filter = self.filter.unwrap_or_else(|| verbosity.filter());
        let words = filter.to_string();
        let (filter, handle) = reload::Layer::new(filter);
        let shape = Shape::default();
        let journal = match format {
            Format::Journald => Some(journal().map_err(LogError::Journal)?),
            Format::Auto | Format::Text | Format::Json => journal().ok(),
        };
        let control = Control(Arc::new(Inner {
            handle,
            shape: shape.clone(),
            has_journal: journal.is_some(),
            journal: self.journal && journal.is_some(),
            is_fixed,
            words: Mutex::new(words),
        }));
        control.set_format(format)?;
        let lines = |lines: Lines| {
            fmt::layer()
                .with_writer(lines)
                .with_target(false)
                .log_internal_errors(false)
        };
        let colour = self.colour;
        let json = lines(Lines::Json).json();
        let json = json.flatten_event(true).with_current_span(false);
        let text = lines(Lines::Text { colour }).with_ansi(colour);
        let mut layers = vec![
            shape.only(Format::Text, text),
            shape.only(Format::Json, json.with_target(true)),
        ];
        layers.extend(journal.map(|journal| shape.only(Format::Journald, journal)));
        tracing_subscriber::registry()
            .with(filter)
            .with(filter_fn(keeps_secrets))
            .with(layers)
            .try_init()
            .map_err(|error| LogError::Started(error.to_string()))?;
        Ok(control)
    }
}

/// Changes what is said while the process runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: reload::Handle<EnvFilter, Registry>,
    shape: Shape,
    has_journal: bool,
    journal: bool,
    /// A flag or the environment says how much is said.
    is_fixed: bool,
    words: Mutex<String>,
}

impl Control {
    /// Writes the next lines in another way.
    ///
    /// # Errors
    ///
    /// If there is no journal and `format` wants one.
    pub fn set_format(&self, format: Format) -> Result<(), LogError> {
        let format = format.among(self.0.journal);
        if format == Format::Journald && !self.0.has_journal {
            return Err(LogError::NoJournal);
        }
        self.0.shape.set(format);
        Ok(())
    }

    /// Says so much from now on, as a file wishes that was read anew; flags and the environment
    /// win over it.
    ///
    /// # Errors
    ///
    /// If the log is gone, as in a process that ends.
    pub fn set_verbosity(&self, verbosity: Verbosity) -> Result<(), LogError> {
        match self.0.is_fixed {
            true => Ok(()),
            false => self.install(verbosity.filter()),
        }
    }

    /// Says from now on what a person asks for who runs the daemon: a word of `[log] level`, or a
    /// filter as in `SSM_PROXYD_LOG`.
    ///
    /// # Errors
    ///
    /// If that is no filter.
    pub fn set_filter(&self, words: &str) -> Result<(), LogError> {
        match Verbosity::named(words) {
            Some(verbosity) => self.install(verbosity.filter()),
            None => self.install(read_filter(words)?),
        }
    }

    /// What is let through, as a filter.
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

/// For whom lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For the journal if stderr is a stream into it, else for people.
    Auto,
    /// For people.
    Text,
    /// For programs: an object of JSON in each line.
    Json,
    /// For the journal, each field by itself.
    Journald,
}

impl Format {
    /// The one that is meant. `journal`: stderr is a stream into the journal.
    fn among(self, journal: bool) -> Self {
        match (self, journal) {
            (Self::Auto, true) => Self::Journald,
            (Self::Auto, false) => Self::Text,
            (other, _) => other,
        }
    }
}

/// The format of the moment. Every layer knows every span, and one of them writes the events.
#[derive(Clone, Debug, Default)]
struct Shape(Arc<AtomicU8>);

impl Shape {
    fn set(&self, format: Format) {
        self.0.store(format as u8, Relaxed);
        rebuild_interest_cache();
    }

    fn only<S>(&self, format: Format, layer: impl Layer<S> + Send + Sync) -> BoxedLayer<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let shape = self.clone();
        let writes = move |metadata: &Metadata<'_>| {
            metadata.is_span() || shape.0.load(Relaxed) == format as u8
        };
        layer.with_filter(filter_fn(writes)).boxed()
    }
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// The journal of the system, whose queue ends with the process.
fn journal() -> std::io::Result<Journal> {
    let journal = Journal::open(Path::new(journal::SOCKET), stderr::report)?;
    // A second one belongs to a log that is refused.
    let _second = JOURNAL.set(journal.writer().clone());
    Ok(journal)
}

/// Lines of the log that were lost since the process began, because nobody read them.
pub fn dropped_log_lines() -> u64 {
    writers().map(Writer::dropped).sum()
}

/// Waits until what was logged is written, for a second at most: nobody may read it.
pub fn flush_log() {
    writers().for_each(|writer| writer.flush(LAST_LINES));
}

fn writers() -> impl Iterator<Item = &'static Writer> {
    JOURNAL.get().into_iter().chain([stderr::writer()])
}

static JOURNAL: OnceLock<Writer> = OnceLock::new();

/// How long an end waits for the reader of the log.
const LAST_LINES: Duration = Duration::from_secs(1);

fn keeps_secrets(metadata: &Metadata<'_>) -> bool {
    filter::keeps_secrets(metadata.target(), *metadata.level())
}

/// Why there is no log, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `SSM_PROXYD_LOG` is no filter.
    #[error("SSM_PROXYD_LOG={:?} is no filter: {}", .0.filter, .0.why)]
    Environment(FilterError),
    /// What was asked for while the process runs is no filter.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// It was started before, or is gone.
    #[error("logging cannot be started: {0}")]
    Started(String),
    /// The journal does not answer.
    #[error("the journal cannot be written to: {0}")]
    Journal(std::io::Error),
    /// There was no journal when the process began.
    #[error("there is no journal here to write to")]
    NoJournal,
}
