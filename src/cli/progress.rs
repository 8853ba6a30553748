//! Progress of a command that takes seconds: one line on stderr, if that is a terminal.
//!
//! The cursor stays at the start of the line, so that whatever is printed next overwrites it.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{cells, terminal};
use crate::clock;
use crate::printable::printable_lines;
use crate::quantity;
use crate::session::unless_prompting;
use crate::telemetry::write_to_stderr;

/// The line. Dropping it clears it.
#[derive(Debug)]
pub(super) struct ProgressLine {
    is_terminal: bool,
    /// Empty if it is cleared.
    shown: String,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal() && !terminal::is_dumb(),
            shown: String::new(),
        }
    }

    /// Replaces the line, cut to the width of the terminal.
    pub(super) fn show(&mut self, text: &str) {
        if !self.is_terminal || self.shown == text {
            return;
        }
        let width = terminal::width(io::stderr()).unwrap_or(80);
        let line = cells::cut(&printable_lines(text), width - 1);
        // The line of a prompt is not overwritten.
        if unless_prompting(|| write_to_stderr(&format!("{CLEAR}{line}\r"))) {
            text.clone_into(&mut self.shown);
        }
    }

    pub(super) fn clear(&mut self) {
        if !std::mem::take(&mut self.shown).is_empty() {
            unless_prompting(|| write_to_stderr(CLEAR));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Waits for work, and shows what it is once it takes long.
pub(super) async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut line = ProgressLine::new();
    let (mut work, begin) = (pin!(work), clock::now());
    loop {
        if let Ok(done) = timeout(REFRESH, &mut work).await {
            return done;
        }
        let elapsed = quantity::time(clock::since(begin).as_secs());
        line.show(&format!("{what} ({elapsed})"));
    }
}

/// Moves to the start of the line and clears it.
pub(super) const CLEAR: &str = "\r\x1b[K";

/// Interval of updates, and time before the first one.
pub(super) const REFRESH: Duration = Duration::from_secs(1);
