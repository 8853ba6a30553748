//! Output of commands on stdout, whose reader may have closed it.
//!
//! Programs such as `head` close stdout early. That is not an error: the command stops without a
//! message.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use super::exit::Exit;
use super::terminal;
use crate::printable::{is_printable, printable_lines};

/// Prints a line.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn print_line(line: impl Display) -> Result<(), StdoutClosed> {
    writeln!(io::stdout(), "{line}").map_err(StdoutClosed)
}

/// Prints part of a line and flushes it.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn print(part: impl Display) -> Result<(), StdoutClosed> {
    let mut stdout = io::stdout();
    write!(stdout, "{part}").map_err(StdoutClosed)?;
    stdout.flush().map_err(StdoutClosed)
}

/// Prints a text of several lines for a person, with characters escaped that are not printable.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn print_text(text: &str) -> Result<(), StdoutClosed> {
    print(printable_lines(text))
}

/// Prints a line of JSON. Characters that are not printable are escaped, which does not change the
/// value.
///
/// # Errors
///
/// Fails if stdout cannot be written.
pub(super) fn print_json(json: impl Display) -> Result<(), StdoutClosed> {
    print_line(escaped(&json.to_string()))
}

/// Escapes all characters in compact JSON that are not printable. They can only be in strings.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to memory cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_json_is_printable_and_has_the_same_value() {
        let value =
            serde_json::json!({ "\u{7f}é": "a\u{1b}[2J\u{202e}\u{9b}\u{e0041}\u{2028}\n\"🦀" });

        let text = escaped(&value.to_string());

        assert!(text.chars().all(is_printable), "{text:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        assert!(text.contains("é") && text.contains("🦀"), "{text}");
    }
}
