//! Messages on stderr: errors with hints, colour if wanted.

#![expect(clippy::disallowed_methods, reason = "the environment is read here")]

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::exit::Exit;
use crate::error_class::ErrorClass;
use crate::printable::printable_lines;
use crate::telemetry::write_to_stderr;

/// Prints an error and its hint; an empty hint is omitted.
pub(super) fn fail(exit: Exit, error: &dyn Display, hint: &str) -> Exit {
    let (red, plain) = if has_colour() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    let error = printable_lines(&error.to_string());
    write_to_stderr(&format!("{red}error{plain}: {error}\n"));
    if !hint.is_empty() {
        send(&format!(" hint: {hint}"));
    }
    exit
}

/// Prints an error of a class, its hint and the name of the class.
pub(super) fn fail_with_class(class: ErrorClass, error: &dyn Display, hint: &str) -> Exit {
    let (error, hint) = tagged(error, hint, class.name());
    fail(class.into(), &error, &hint)
}

/// Appends the name of a class to the hint, or to the error if there is no hint.
pub(super) fn tagged(error: &dyn Display, hint: &str, class: &str) -> (String, String) {
    match (hint, class) {
        // A daemon of an earlier version.
        (hint, "") => (error.to_string(), hint.to_owned()),
        ("", class) => (format!("{error} [{class}]"), String::new()),
        (hint, class) => (error.to_string(), format!("{hint} [{class}]")),
    }
}

/// Prints an error that is already formatted as by [`fail`].
pub(super) fn fail_with_rendered(exit: Exit, error: &dyn Display) -> Exit {
    send(error);
    exit
}

/// Returns the message of a system error, without its number.
pub(super) fn os_message(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Prints a line. Write errors are ignored, as the exit code reports the result anyway.
pub(super) fn send(line: &dyn Display) {
    let lines = printable_lines(&line.to_string());
    write_to_stderr(&format!("{lines}\n"));
}

/// Returns program, version and host name, as shown with the sessions of a target.
pub(super) fn client_label() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let system = rustix::system::uname();
    format!(
        "ssm-proxyd {version} on {}",
        system.nodename().to_string_lossy()
    )
}

/// Returns whether stderr is a terminal that displays colours, and `NO_COLOR` is not set.
pub(super) fn has_colour() -> bool {
    io::stderr().is_terminal() && wants_colour()
}

/// Returns whether this process runs as root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the columns of a terminal; `None` for another output, or if it does not tell.
pub(super) fn width(output: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(output).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Returns whether stdout is a terminal that displays colours, and `NO_COLOR` is not set.
pub(super) fn has_colour_on_stdout() -> bool {
    io::stdout().is_terminal() && wants_colour()
}

fn wants_colour() -> bool {
    environment("NO_COLOR").is_none() && !is_dumb()
}

/// Returns whether the terminal does not interpret control sequences.
pub(super) fn is_dumb() -> bool {
    environment("TERM").is_some_and(|kind| kind == "dumb")
}

/// Returns width and height of the terminal on stdout; 80 and 24 if they are unknown.
pub(super) fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Returns whether stderr is the journal stream set up by the service manager (systemd.exec(5),
/// `$JOURNAL_STREAM`).
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

/// Returns an environment variable if set and not empty.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
