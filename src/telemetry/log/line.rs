//! Final filter for log lines: the output has no raw control, format or invisible characters, is
//! one line, and has a bounded length, whatever the input was.
//!
//! Our own lines contain text from outside as `Printable`. Libraries log as well, and their `debug`
//! lines quote what a server sent.

use std::fmt::{self, Write};

use crate::printable::is_printable;

/// Filters a text line. With `colour` the formatter's own colour sequences are kept: it escapes
/// those in values.
pub(super) fn text(line: &str, colour: bool) -> Vec<u8> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let mut value = Value::new(MAX_LINE);
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
    value.text.push('\n');
    value.text.into_bytes()
}

/// Returns the length of the leading escape sequence if it only selects a colour or a style.
fn colour_len(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// Filters a line of JSON. Each string is cut separately, so that the line stays valid JSON.
pub(super) fn json(line: &str) -> Vec<u8> {
    let mut out = String::with_capacity(line.len());
    // `Some`: inside a string, with the number of characters that may still be kept.
    let mut left: Option<usize> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if left.is_none() || c == '"' {
            left = match left {
                None if c == '"' => Some(MAX_VALUE),
                None | Some(_) => None,
            };
            out.push(c);
            continue;
        }
        let from = out.len();
        if c == '\\' {
            // `\n` or `\u001b`: kept or dropped as a whole.
            let escaped = chars.next();
            let digits = if escaped == Some('u') { 4 } else { 0 };
            out.push(c);
            out.extend(escaped.into_iter().chain(chars.by_ref().take(digits)));
        } else if is_printable(c) {
            out.push(c);
        } else {
            escape_json(&mut out, c);
        }
        match left {
            Some(0) => {
                out.truncate(from);
                if !out.ends_with('…') {
                    out.push('…');
                }
            }
            Some(kept) => left = Some(kept - 1),
            None => {}
        }
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out.into_bytes()
}

fn escape_json(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        write!(out, "\\u{unit:04x}").expect("writing to a String does not fail");
    }
}

/// Builder of a printable field value, for text or the journal.
#[derive(Debug)]
pub(super) struct Value {
    text: String,
    left: usize,
    is_cut: bool,
}

impl Value {
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

impl Write for Value {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        Ok(())
    }
}

/// Maximum number of characters of a text line.
const MAX_LINE: usize = 8192;

/// Maximum number of characters of a value in JSON or in the journal.
pub(super) const MAX_VALUE: usize = 4096;

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
        let line = read(text(&format!("INFO {HOSTILE}\n"), false));

        assert_harmless(&line);
        assert_eq!(
            line,
            "INFO a\\u{1b}[2Jb\\r\\nc\\u{202e}d\\u{2028}e\\u{9b}f\\u{200b}g\\u{e0041}h\\u{7f}i\n"
        );
    }

    #[test]
    fn only_colour_sequences_are_kept() {
        let line = read(text(
            "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J \u{1b}]0;t\u{7} \u{1b}[1\n",
            true,
        ));

        assert_eq!(
            line,
            "\u{1b}[1;31mred\u{1b}[0m \\u{1b}[2J \\u{1b}]0;t\\u{7} \\u{1b}[1\n"
        );
        let without = read(text("\u{1b}[31mred\n", false));
        assert_harmless(&without);
    }

    #[test]
    fn json_stays_valid_and_has_the_same_value() {
        let written = serde_json::to_string(&[HOSTILE, "\"\\\u{0}", "ä 🦀", ""]).unwrap();

        let line = read(json(&written));

        assert_harmless(&line);
        let read: [String; 4] = serde_json::from_str(&line).unwrap();
        assert_eq!(read, [HOSTILE, "\"\\\u{0}", "ä 🦀", ""]);
    }

    #[test]
    fn long_lines_and_values_are_cut() {
        for unit in ["x", "\n", "\"", "\\", "\u{202e}", "\u{1}"] {
            let long = unit.repeat(1 << 16);

            let line = read(text(&long, true));
            assert!(line.chars().count() < 10 * MAX_LINE, "{}", line.len());
            assert!(line.contains('…'), "{unit:?}");

            let whole = serde_json::to_string(&[unit.repeat(MAX_VALUE)]).unwrap();
            assert!(!read(json(&whole)).contains('…'), "{unit:?}");
            let written = serde_json::to_string(&[&long, "next"]).unwrap();
            let line = read(json(&written));
            assert!(line.chars().count() < 13 * MAX_VALUE, "{}", line.len());
            let parts: [String; 2] = serde_json::from_str(&line).unwrap();
            assert_eq!(parts[0], unit.repeat(MAX_VALUE) + "…");
            assert_eq!(parts[1], "next");
        }
    }
}
