//! Output of commands on stdout, whose reader may have closed it.
//!
//! Programs such as `head` close stdout early. That is not an error: the command stops without a
//! message.

use std::fmt::Display;
use std::io::{self, Write};

use super::exit::Exit;
use super::terminal;

/// Prints a line.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn line(line: impl Display) -> Result<(), StdoutClosed> {
    writeln!(io::stdout(), "{line}").map_err(StdoutClosed)
}

/// Prints part of a line and flushes it.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn part(part: impl Display) -> Result<(), StdoutClosed> {
    let mut stdout = io::stdout();
    write!(stdout, "{part}").map_err(StdoutClosed)?;
    stdout.flush().map_err(StdoutClosed)
}

/// Output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout: {0}")]
pub(super) struct StdoutClosed(io::Error);

impl StdoutClosed {
    /// Returns the exit code of the command: success if the reader has closed the pipe.
    pub(super) fn exit(&self) -> Exit {
        if self.0.kind() == io::ErrorKind::BrokenPipe {
            return Exit::Done;
        }
        terminal::fail(Exit::Failed, self, "")
    }
}
