//! What the formats share, and the final filter for text: the output has no raw control, format or
//! invisible characters, is one line, and has a bounded length, whatever the input was.
//!
//! Our own lines contain text from outside as `Printable`. Libraries log as well, and their `debug`
//! lines quote what a server sent.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::printable::{is_printable, is_printable_ascii};

/// Returns a buffer for a line.
pub(super) fn buffer() -> String {
    String::with_capacity(CAPACITY)
}

/// Returns the wall clock time as it appears in a line.
pub(super) fn timestamp() -> humantime::Rfc3339Timestamp {
    let time = clock::wall().clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST_TIME);
    humantime::format_rfc3339_micros(time)
}

/// Filters a text line, and ends it. With `colour` the formatter's own colour sequences are kept: it
/// escapes those in values.
pub(super) fn text(mut line: String, colour: bool) -> Vec<u8> {
    if line.len() > MAX_LINE || !is_printable_ascii(&line) {
        line = filtered(&line, colour);
    }
    line.push('\n');
    line.into_bytes()
}

fn filtered(line: &str, colour: bool) -> String {
    let mut value = PrintableValue::new(MAX_LINE);
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}').filter(|_| colour) {
        let (before, sequence) = rest.split_at(at);
        let len = colour_len(sequence);
        value.add(before);
        match len {
            // Not counted: it is not visible.
            Some(len) => value.text.push_str(&sequence[..len]),
            None => value.add("\u{1b}"),
        }
        rest = &sequence[len.unwrap_or(1)..];
    }
    value.add(rest);
    if value.is_cut && colour {
        value.text.push_str("\u{1b}[0m");
    }
    value.text
}

/// Returns the length of the leading escape sequence if it only selects a colour or a style.
fn colour_len(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// Builder of a printable text: a line, or a value in the journal.
#[derive(Debug)]
pub(super) struct PrintableValue {
    text: String,
    left: usize,
    is_cut: bool,
}

impl PrintableValue {
    /// Creates a value of at most `max` characters.
    pub(super) fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            left: max,
            is_cut: false,
        }
    }

    /// Appends a text, and marks a cut with `…`.
    pub(super) fn add(&mut self, text: &str) {
        if text.len() <= self.left && is_printable_ascii(text) {
            self.left -= text.len();
            return self.text.push_str(text);
        }
        for c in text.chars() {
            if self.left == 0 {
                if !self.is_cut {
                    self.text.push('…');
                }
                self.is_cut = true;
                return;
            }
            self.left -= 1;
            match c {
                c if is_printable(c) => self.text.push(c),
                c => self.text.extend(c.escape_default()),
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Write for PrintableValue {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        Ok(())
    }
}

/// The last second that the format can express, from the first one.
const LAST_TIME: Duration = Duration::from_secs(253_402_300_799);

/// Capacity of a buffer in bytes: a record of a connection in JSON.
const CAPACITY: usize = 1024;

/// Maximum number of characters of a text line.
const MAX_LINE: usize = 8192;

/// Maximum number of characters of a value in JSON or in the journal.
pub(super) const MAX_VALUE: usize = 4096;

/// For `expect`.
pub(super) const WRITES: &str = "writing to a String does not fail";

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\r\nc\u{202e}d\u{2028}e\u{9b}f\u{200b}g\u{e0041}h\u{7f}i";

    fn read(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn assert_harmless(line: &str) {
        let line = line.strip_suffix('\n').unwrap();
        assert!(line.chars().all(is_printable), "{line:?}");
    }

    #[test]
    fn a_text_line_shows_escaped_characters() {
        let line = read(text(format!("INFO {HOSTILE}"), false));

        assert_harmless(&line);
        assert_eq!(
            line,
            "INFO a\\u{1b}[2Jb\\r\\nc\\u{202e}d\\u{2028}e\\u{9b}f\\u{200b}g\\u{e0041}h\\u{7f}i\n"
        );
    }

    #[test]
    fn only_colour_sequences_are_kept() {
        let foreign = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J \u{1b}]0;t\u{7} \u{1b}[1";
        let line = read(text(foreign.to_owned(), true));

        assert_eq!(
            line,
            "\u{1b}[1;31mred\u{1b}[0m \\u{1b}[2J \\u{1b}]0;t\\u{7} \\u{1b}[1\n"
        );
        let without = read(text("\u{1b}[31mred".to_owned(), false));
        assert_harmless(&without);
    }

    #[test]
    fn long_lines_are_cut() {
        for unit in ["x", "\n", "\"", "\\", "\u{202e}", "\u{1}"] {
            let long = unit.repeat(1 << 16);

            let line = read(text(long, true));
            assert!(line.chars().count() < 10 * MAX_LINE, "{}", line.len());
            assert!(line.contains('…'), "{unit:?}");
        }
    }
}
