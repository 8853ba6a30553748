//! Sentences for a person: what failed, what to do, colour where it is wanted.

#![expect(clippy::disallowed_methods, reason = "the environment is read here")]

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::exit::Exit;
use crate::printable::printable_lines;
use crate::telemetry::write_to_stderr;

/// Says what failed and what to do about it (nothing, if the hint is empty).
pub(super) fn fail(exit: Exit, error: &dyn Display, hint: &str) -> Exit {
    let (red, plain) = if has_colour() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    let error = printable_lines(&error.to_string());
    write_to_stderr(&format!("{red}error{plain}: {error}\n"));
    if !hint.is_empty() {
        say(&format!(" hint: {hint}"));
    }
    exit
}

/// Says an error that already reads like [`fail`]'s words.
pub(super) fn fail_as_told(exit: Exit, error: &dyn Display) -> Exit {
    say(error);
    exit
}

/// The system's words, without the number behind them.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Says a line, if anybody listens: the exit code is told in any case.
pub(super) fn say(line: &dyn Display) {
    let lines = printable_lines(&line.to_string());
    write_to_stderr(&format!("{lines}\n"));
}

/// Who we are, for those who look at the sessions of a target: program, version and host.
pub(super) fn origin() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let system = rustix::system::uname();
    format!(
        "ssm-proxyd {version} on {}",
        system.nodename().to_string_lossy()
    )
}

/// True if stderr is a terminal and nobody asked for no colour.
pub(super) fn has_colour() -> bool {
    io::stderr().is_terminal() && environment("NO_COLOR").is_none()
}

/// True if stderr is the stream into the journal that a service manager has made for the process
/// (systemd.exec(5), `$JOURNAL_STREAM`).
pub(super) fn is_journal() -> bool {
    let stream = environment("JOURNAL_STREAM");
    let number = |text: &str| text.parse::<u64>().ok();
    let stream = stream.as_deref().and_then(|stream| stream.split_once(':'));
    let stream = stream.and_then(|(device, inode)| number(device).zip(number(inode)));
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let stderr = stderr.and_then(|stderr| stderr.metadata()).ok();
    stderr
        .zip(stream)
        .is_some_and(|(stderr, stream)| (stderr.dev(), stderr.ino()) == stream)
}

/// A variable of the environment that is set and not empty.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
