//! Source locations and excerpts.
//!
//! Lines and columns count from 1, columns in characters. An excerpt is safe to print on a terminal
//! whatever the file contains: tabs become spaces, characters that are not printable become `�`, a
//! very long line is cut around the mark, and a line that may hold a secret is not shown.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;

use crate::config::redact::{NOT_SHOWN, is_secret_value, secret_lines};
use crate::printable::is_printable;

/// A text with an index of its lines.
#[derive(Debug)]
pub(super) struct SourceText<'a> {
    text: &'a str,
    /// Byte offset of the start of each line; never empty. Line 1 starts after a byte order mark.
    starts: Vec<usize>,
    /// Whether each line may hold a secret; computed when the first excerpt is made.
    secret: OnceCell<Vec<bool>>,
}

impl<'a> SourceText<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let first = text.len() - text.trim_start_matches('\u{feff}').len();
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self {
            text,
            starts: std::iter::once(first).chain(ends).collect(),
            secret: OnceCell::new(),
        }
    }

    /// Returns the line that contains the byte at `offset`, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Returns whether the line that contains the byte at `offset` may hold a secret.
    pub(super) fn is_secret(&self, offset: usize) -> bool {
        let secret = self.secret.get_or_init(|| secret_lines(self.text));
        secret[self.line(offset) - 1]
    }

    /// Returns the location of a byte range. Offsets beyond the end are clamped to it.
    pub(super) fn place(&self, span: Range<usize>) -> Location {
        let line = self.line(span.start.min(self.text.len()));
        let start = self.starts[line - 1];
        let content = self.text[start..].split('\n').next().unwrap_or_default();
        let content = content.strip_suffix('\r').unwrap_or(content);
        let characters = |offset: usize| {
            let end = content.floor_char_boundary(offset.saturating_sub(start));
            content[..end].chars().count()
        };
        let before = characters(span.start);
        let marked = characters(span.end).saturating_sub(before);
        let (excerpt, mark) = match self.is_secret(start) {
            true => (SECRET_LINE.to_owned(), String::new()),
            false => excerpt(content, before, marked),
        };
        Location {
            line,
            column: before + 1,
            excerpt,
            mark,
        }
    }
}

/// Location in a text, with its excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
    /// The line as displayed.
    excerpt: String,
    /// Carets below the marked part; empty if the line is not shown.
    mark: String,
}

impl Location {
    /// Writes the line and the mark below it, after a gutter of the given width. Writes nothing if
    /// the line is blank.
    pub(super) fn write_excerpt(&self, f: &mut fmt::Formatter<'_>, gutter: usize) -> fmt::Result {
        if self.excerpt.trim().is_empty() {
            return Ok(());
        }
        writeln!(f, " {:gutter$} |", "")?;
        writeln!(f, " {:gutter$} | {}", self.line, self.excerpt)?;
        match self.mark.as_str() {
            "" => Ok(()),
            mark => writeln!(f, " {:gutter$} | {mark}", ""),
        }
    }

    /// Number of digits of the line number.
    pub(super) fn gutter(&self) -> usize {
        self.line.to_string().len()
    }
}

/// Returns a line as displayed, and carets below its `marked` characters after the first `before`.
fn excerpt(line: &str, before: usize, marked: usize) -> (String, String) {
    let skipped = before.saturating_sub(CONTEXT);
    let end = skipped + WIDTH;
    let marked_end = (before + marked).min(end);
    let part = |range: Range<usize>| printable(line.chars().skip(range.start).take(range.len()));
    let (left, middle, right) = (
        part(skipped..before),
        part(before..marked_end),
        part(marked_end..end),
    );
    let cut = if skipped > 0 { "…" } else { "" };
    let torn = line.chars().nth(end).map_or("", |_| "…");
    let width = |text: &str| text.chars().count();
    let mark = " ".repeat(width(cut) + width(&left)) + &"^".repeat(width(&middle).max(1));
    (format!("{cut}{left}{middle}{right}{torn}"), mark)
}

/// Formats a value for a message: quoted, on one line, shortened; not shown if it may be a secret.
pub(super) fn quoted(value: &str) -> String {
    match truncated(value) {
        text if text == NOT_SHOWN => text,
        text if text.contains('"') => format!("'{text}'"),
        text => format!("\"{text}\""),
    }
}

/// As [`quoted`], without quotes.
pub(super) fn truncated(value: &str) -> String {
    if is_secret_value(value) {
        return NOT_SHOWN.to_owned();
    }
    let more = value.chars().nth(QUOTED).map_or("", |_| "…");
    printable(value.chars().take(QUOTED)) + more
}

fn printable(characters: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for character in characters {
        match character {
            '\t' => out.push_str("    "),
            other if is_printable(other) => out.push(other),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

/// Excerpt of a line that may hold a secret.
const SECRET_LINE: &str = "(not shown: this line may hold a secret)";

/// Maximum characters of a line in an excerpt.
const WIDTH: usize = 110;

/// Maximum characters shown before the mark in a long line.
const CONTEXT: usize = 60;

/// Maximum characters of a value in a message.
const QUOTED: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> (String, String) {
        let Location { excerpt, mark, .. } = SourceText::new(text).place(span);
        (excerpt, mark)
    }

    #[test]
    fn a_location_is_a_line_and_a_column_in_characters() {
        for (text, offset, place) in [
            ("a\nbc", 3, (2, 2)),
            ("ä\u{1f600}c", 6, (1, 3)),
            ("\u{feff}abc", 0, (1, 1)),
            ("\u{feff}abc", 3, (1, 1)),
            ("", 0, (1, 1)),
            ("a\n", 2, (2, 1)),
            ("ab", 99, (1, 3)),
            ("a\r\nb", 3, (2, 1)),
            ("a\r\nb", 1, (1, 2)),
        ] {
            let Location { line, column, .. } = SourceText::new(text).place(offset..offset + 1);
            assert_eq!((line, column), place, "{text:?}");
        }
    }

    #[test]
    fn the_mark_is_below_the_marked_part_and_ends_with_its_line() {
        let pair = |excerpt: &str, mark: &str| (excerpt.to_owned(), mark.to_owned());

        assert_eq!(shown("a\r\nb", 0..1), pair("a", "^"));
        assert_eq!(shown("\tä = 12", 6..8), pair("    ä = 12", "        ^^"));
        assert_eq!(shown("[1,\n2]", 0..6), pair("[1,", "^^^"));
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let text = format!("{}here{}", "a".repeat(500), "b".repeat(500));

        let (excerpt, mark) = shown(&text, 500..504);

        assert!(excerpt.contains("ahereb") && excerpt.chars().count() < 120);
        assert_eq!(excerpt.matches('…').count(), 2);
        assert_eq!(excerpt.chars().position(|c| c == 'h'), mark.find('^'));
    }

    #[test]
    fn a_message_is_printable_short_and_without_secrets() {
        assert_eq!(shown("a = \"\u{1b}[2J\u{202e}\"", 0..1).0, "a = \"�[2J�\"");
        assert_eq!(quoted("a\u{1b}\n\"b"), "'a��\"b'");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTED + 3);
        assert_eq!(quoted("https://me:s3/cret@host/"), "(not shown)");
        assert_eq!(shown("a = \"me:s3cret@b\"", 0..1).0, SECRET_LINE);
    }
}
