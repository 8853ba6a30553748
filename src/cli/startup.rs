//! What a command does first: it registers its signal handlers and starts its log.

use super::exit::Exit;
use super::terminal;
use crate::daemon::Signals;
use crate::telemetry::{Format, Log, Verbosity};

/// Registers the handlers of the stop signals and starts the log.
///
/// A command calls it before it starts anything: a signal must end what was started.
pub(super) fn start(log: Log, verbosity: Verbosity) -> Result<Signals, Exit> {
    let signals = stop_signals()?;
    start_log(log, verbosity)?;
    Ok(signals)
}

/// Registers the handlers of the stop signals. SIGHUP is one of them.
pub(super) fn stop_signals() -> Result<Signals, Exit> {
    Ok(signals()?.without_reload())
}

/// Makes SIGQUIT and SIGTSTP stop signals too.
pub(super) fn with_terminal_keys(signals: Signals) -> Result<Signals, Exit> {
    let signals = signals.with_terminal_keys();
    signals.map_err(|error| terminal::fail(Exit::Failed, &error, LIMIT_HINT))
}

/// Registers the handlers of all signals.
pub(super) fn signals() -> Result<Signals, Exit> {
    Signals::new().map_err(|error| terminal::fail(Exit::Failed, &error, LIMIT_HINT))
}

/// Starts the log on stderr.
pub(super) fn start_log(log: Log, verbosity: Verbosity) -> Result<(), Exit> {
    let hint = "internal error; please report it";
    let started = log.start(Format::Text, verbosity);
    started.map_err(|error| terminal::fail(Exit::Failed, &error, hint))?;
    Ok(())
}

const LIMIT_HINT: &str = "cannot register the signal handlers; check the limit of open files";
