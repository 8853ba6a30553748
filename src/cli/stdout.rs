//! What a command says on stdout, to a reader who may have gone.
//!
//! `head` leaves when it has seen enough. That is no fault: there is nobody to tell anything
//! more, so the command ends what it began and says no word about it.

use std::fmt::Display;
use std::io::{self, Write};

use super::exit::Exit;
use super::terminal;

/// Says a line.
///
/// # Errors
///
/// If it could not be written.
pub(super) fn line(line: impl Display) -> Result<(), StdoutClosed> {
    writeln!(io::stdout(), "{line}").map_err(StdoutClosed)
}

/// Says a part of a line, at once.
///
/// # Errors
///
/// If it could not be written.
pub(super) fn part(part: impl Display) -> Result<(), StdoutClosed> {
    let mut stdout = io::stdout();
    write!(stdout, "{part}").map_err(StdoutClosed)?;
    stdout.flush().map_err(StdoutClosed)
}

/// A word that reached nobody.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout: {0}")]
pub(super) struct StdoutClosed(io::Error);

impl StdoutClosed {
    /// How the command ends that wanted to say it: well, if its reader has gone.
    pub(super) fn exit(&self) -> Exit {
        if self.0.kind() == io::ErrorKind::BrokenPipe {
            return Exit::Done;
        }
        terminal::fail(Exit::Failed, self, "")
    }
}
