//! Source locations and excerpts.
//!
//! Lines and columns count from 1, columns in characters. An excerpt is safe to print on a terminal
//! whatever the file contains: tabs become spaces, control characters and bidirectional formatting
//! characters become `�`, a very long line is cut around the mark, and possible secrets are
//! replaced by asterisks.

use std::fmt;
use std::ops::Range;

use crate::config::redact::{secrets, starred};

/// A text with an index of its lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    /// Byte offset of the start of each line; never empty.
    starts: Vec<usize>,
    /// Byte ranges that must not be shown.
    secrets: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    /// Indexes the lines of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(end, _)| end + 1));
        Self {
            text,
            starts: starts.collect(),
            secrets: secrets(text),
        }
    }

    /// Returns the line that contains the byte at `offset`, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Returns the location of a byte range. Offsets beyond the end are clamped to it.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.line(start);
        let content = self.content(line);
        let before = self.characters(line, start, content);
        let marked = self.characters(line, end, content).saturating_sub(before);
        let first = content.as_ptr().addr() - self.text.as_ptr().addr();
        let content = self.shown(first..first + content.len());
        Place {
            line,
            column: before + 1,
            span: start..end,
            excerpt: Excerpt::of(&content, before, marked),
        }
    }

    /// Returns a part of the text, with possible secrets replaced by asterisks.
    pub(super) fn shown(&self, part: Range<usize>) -> String {
        starred(self.text, part, &self.secrets)
    }

    /// Returns a line without its line ending and byte order mark.
    fn content(&self, line: usize) -> &'a str {
        let rest = &self.text[self.starts[line - 1]..];
        let content = rest.split('\n').next().unwrap_or_default();
        let content = content.strip_suffix('\r').unwrap_or(content);
        content.strip_prefix('\u{feff}').unwrap_or(content)
    }

    /// Returns the number of characters of a line before `offset`.
    fn characters(&self, line: usize, offset: usize, content: &str) -> usize {
        let start = self.starts[line - 1];
        let mark = if self.text[start..].starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        let length = offset.saturating_sub(start + mark).min(content.len());
        content[..content.floor_char_boundary(length)]
            .chars()
            .count()
    }
}

/// Location in a text, with its excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
    /// Byte range in the text.
    pub(super) span: Range<usize>,
    excerpt: Excerpt,
}

impl Place {
    /// Writes the line and the mark below it, after a gutter of the given width. Writes nothing if
    /// the line is blank.
    pub(super) fn write_excerpt(&self, f: &mut fmt::Formatter<'_>, gutter: usize) -> fmt::Result {
        let Excerpt {
            line,
            before,
            marked,
        } = &self.excerpt;
        if line.trim().is_empty() {
            return Ok(());
        }
        writeln!(f, " {:gutter$} |", "")?;
        writeln!(f, " {:gutter$} | {line}", self.line)?;
        writeln!(f, " {:gutter$} | {:before$}{:^<marked$}", "", "", "")
    }

    /// Number of digits of the line number.
    pub(super) fn gutter(&self) -> usize {
        self.line.to_string().len()
    }
}

/// A line as displayed. Counts are in terminal columns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: String,
    before: usize,
    marked: usize,
}

impl Excerpt {
    fn of(content: &str, before: usize, marked: usize) -> Self {
        let hidden = before.saturating_sub(CONTEXT);
        let masked: Vec<char> = masked(content).chars().collect();
        let shown = &masked[hidden..masked.len().min(hidden + WIDTH)];
        let (left, rest) = shown.split_at(before - hidden);
        let middle = &rest[..marked.min(rest.len())];
        let (cut, torn) = (hidden > 0, hidden + shown.len() < masked.len());
        Self {
            line: [
                if cut { "…" } else { "" },
                &printable(shown),
                if torn { "…" } else { "" },
            ]
            .concat(),
            before: usize::from(cut) + columns(left),
            marked: columns(middle).max(1),
        }
    }
}

/// Formats a value for a message: quoted, on one line, shortened, without a password.
pub(super) fn quoted(value: &str) -> String {
    let text = shortened(value);
    match text.contains('"') {
        true => format!("'{text}'"),
        false => format!("\"{text}\""),
    }
}

/// As [`quoted`], without quotes.
pub(super) fn shortened(value: &str) -> String {
    let masked = masked(value);
    let mut characters = masked.chars();
    let head: Vec<char> = characters.by_ref().take(QUOTED).collect();
    let more = characters.next().map_or("", |_| "…");
    printable(&head) + more
}

/// Replaces what is between `://` and `@` by the same number of asterisks.
fn masked(line: &str) -> String {
    let ends = |c: char| matches!(c, '"' | '\'');
    line.split_inclusive(ends).map(masked_word).collect()
}

fn masked_word(word: &str) -> String {
    let secret = word.find("://").map(|scheme| scheme + "://".len());
    match secret.zip(word.rfind('@')) {
        Some((start, end)) if start < end => {
            let stars = "*".repeat(word[start..end].chars().count());
            [&word[..start], &stars, &word[end..]].concat()
        }
        Some(_) | None => word.to_owned(),
    }
}

fn printable(characters: &[char]) -> String {
    let mut out = String::with_capacity(characters.len());
    for character in characters {
        match character {
            '\t' => out.push_str(TAB),
            hostile if is_hostile(*hostile) => out.push('\u{fffd}'),
            other => out.push(*other),
        }
    }
    out
}

/// Returns whether a character moves the cursor or reorders its neighbours.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

fn columns(characters: &[char]) -> usize {
    let width = |character: &char| if *character == '\t' { TAB.len() } else { 1 };
    characters.iter().map(width).sum()
}

/// Replacement for a tab.
const TAB: &str = "    ";

/// Maximum characters of a line in an excerpt.
const WIDTH: usize = 110;

/// Maximum characters shown before the mark in a long line.
const CONTEXT: usize = 60;

/// Maximum characters of a value in a message.
const QUOTED: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, span: Range<usize>) -> String {
        struct Shown(Place);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write_excerpt(f, 1)
            }
        }
        Shown(Source::new(text).place(span)).to_string()
    }

    fn position(text: &str, offset: usize) -> (usize, usize) {
        let place = Source::new(text).place(offset..offset + 1);
        (place.line, place.column)
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position("a\nbc", 3), (2, 2));
        assert_eq!(position("ä\u{1f600}c", 6), (1, 3));
        assert_eq!(position("\u{feff}abc", 3), (1, 1));
    }

    #[test]
    fn the_end_of_a_text_is_a_place() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("a\n", 2), (2, 1));
        assert_eq!(position("ab", 99), (1, 3));
    }

    #[test]
    fn a_carriage_return_belongs_to_no_line() {
        assert_eq!(position("a\r\nb", 3), (2, 1));
        assert_eq!(position("a\r\nb", 1), (1, 2));
        assert_eq!(excerpt("a\r\nb", 0..1), "   |\n 1 | a\n   | ^\n");
    }

    #[test]
    fn the_mark_stands_below_what_it_marks() {
        assert_eq!(
            excerpt("\tä = 12", 6..8),
            "   |\n 1 |     ä = 12\n   |         ^^\n"
        );
    }

    #[test]
    fn the_mark_ends_with_its_line() {
        assert_eq!(excerpt("[1,\n2]", 0..6), "   |\n 1 | [1,\n   | ^^^\n");
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides() {
        let text = format!("{}here{}", "a".repeat(500), "b".repeat(500));

        let shown = excerpt(&text, 500..504);

        assert!(shown.contains("ahereb"), "{shown}");
        assert_eq!(shown.matches('…').count(), 2);
        assert!(shown.lines().all(|line| line.chars().count() < 130));
        let column = shown.lines().nth(1).unwrap().chars().position(|c| c == 'h');
        let mark = shown.lines().nth(2).unwrap().chars().position(|c| c == '^');
        assert_eq!(column, mark);
    }

    #[test]
    fn hostile_characters_do_not_reach_a_terminal() {
        let shown = excerpt("a = \"\u{1b}[2J\u{202e}\"", 0..1);

        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    }

    #[test]
    fn a_password_is_starred_in_excerpts_and_in_sentences() {
        let url = "https://me:s3/cret@host/";

        assert_eq!(quoted(url), "\"https://**********@host/\"");
        assert!(!excerpt(&format!("a = \"{url}\" # b@c"), 0..1).contains("s3/cret"));
    }

    #[test]
    fn a_long_value_is_not_quoted_whole() {
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTED + 3);
    }
}
