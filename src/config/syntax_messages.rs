//! Rewords syntax errors of the TOML parser for users.
//!
//! The parser's messages use terms of the grammar and point at the byte where parsing failed. Where
//! the likely mistake is known, it is named instead, with the whole range it covers.

use std::ops::Range;

use crate::config::diagnostic::Finding;
use crate::config::document::{ParseError, Table, Value, ValueData};
use crate::config::source::{Source, quoted, shortened};

impl ParseError {
    /// Returns whether an array or inline table is not closed.
    fn is_open_end(&self) -> bool {
        self.message.starts_with("unclosed array,")
            || self.message.starts_with("unclosed inline table,")
    }

    /// Returns whether the error is inside an array or inline table.
    fn is_inside(&self) -> bool {
        self.is_open_end()
            || ["array elements", "in array", "key-value pairs"]
                .iter()
                .any(|part| self.message.contains(part))
    }

    /// Returns whether the error is in a multi-line string, most likely an unclosed one.
    fn is_block(&self) -> bool {
        self.message.starts_with("invalid multi-line")
    }

    /// Returns whether the error is a value that is not a string, number or date.
    fn is_bare_word(&self) -> bool {
        let kinds = [
            "boolean", "float", "integer", "mantissa", "fraction", "exponent",
        ];
        let invalid = self.message.strip_prefix("invalid ");
        self.message.starts_with("string values must be quoted")
            || invalid.is_some_and(|rest| kinds.iter().any(|kind| rest.starts_with(kind)))
    }
}

/// Converts the parser errors of one text into findings.
pub(super) struct Reader<'a> {
    text: &'a str,
    source: &'a Source<'a>,
    root: &'a Table,
    /// Whether an array or inline table is not closed.
    has_open_end: bool,
}

impl<'a> Reader<'a> {
    /// `root` is the table that the parser recovered from `text`, `complaints` are all its errors.
    pub(super) fn new(
        text: &'a str,
        source: &'a Source<'a>,
        root: &'a Table,
        complaints: &[ParseError],
    ) -> Self {
        Self {
            text,
            source,
            root,
            has_open_end: complaints.iter().any(ParseError::is_open_end),
        }
    }

    /// Converts a parser error, with a message of our own where one exists.
    pub(super) fn finding(&self, complaint: &ParseError) -> Finding {
        let ParseError { span, message } = complaint.clone();
        if complaint.is_block() || (self.has_open_end && complaint.is_inside()) {
            return self.open_end(span);
        }
        if complaint.is_bare_word() {
            return self.bare_word(span);
        }
        match message.as_str() {
            "duplicate key" => self.duplicate(span),
            m if m.starts_with("unexpected key or value") => self.leftover(span),
            m if m.starts_with("invalid") && m.contains("string") => self.string(span, m),
            other => {
                let (what, hint) = phrase(other);
                Finding::new(span, what, hint)
            }
        }
    }

    fn duplicate(&self, span: Range<usize>) -> Finding {
        let key = self.text.get(span.clone()).unwrap_or_default();
        if self.is_header(&span) {
            let hint = match key {
                "forward" => "write `[[forward]]`, in double brackets, above each forward",
                _ => "merge its keys under one header",
            };
            return Finding::new(span, format!("duplicate table `{}`", shortened(key)), hint);
        }
        let what = format!("`{}` is set twice", shortened(key));
        let finding = Finding::new(span.clone(), what, "keep one of the two lines");
        match last_before(self.root, key, span.start) {
            Some(first) => finding.beside(first, "set here first"),
            None => finding,
        }
    }

    /// A value that is not a string, number or date; most likely an unquoted string.
    fn bare_word(&self, span: Range<usize>) -> Finding {
        let word = self.word(span);
        let written = self.source.shown(word.clone());
        let written = written.as_str();
        let shown = shortened(written);
        let (what, hint) = match written.to_ascii_lowercase().as_str() {
            "" => ("the value is missing".to_owned(), WRITE_VALUE.to_owned()),
            "true" | "yes" | "on" => (
                format!("`{shown}` is not a value"),
                "write `true`".to_owned(),
            ),
            "false" | "no" | "off" => (
                format!("`{shown}` is not a value"),
                "write `false`".to_owned(),
            ),
            quoted if quoted.contains(TYPOGRAPHIC) => (
                format!("`{shown}` has typographic quotes"),
                straight(written),
            ),
            words if words.contains(char::is_whitespace) => (
                format!("`{shown}` is not one value"),
                format!(
                    "separate values by commas, or quote a single value: {}",
                    quoted(written)
                ),
            ),
            _ if written != &self.text[word.clone()] => (
                format!("`{shown}` has no quotes"),
                "put the value in quotes".to_owned(),
            ),
            _ => (
                format!("`{shown}` has no quotes"),
                format!("write {}", quoted(written)),
            ),
        };
        Finding::new(word, what, hint)
    }

    fn string(&self, span: Range<usize>, message: &str) -> Finding {
        if span.is_empty() && message.ends_with(['"', '\'', '`']) {
            let start = self.value_start(span.start);
            let what = "this string is not closed";
            return Finding::new(start..span.end, what, "add the closing quote");
        }
        let what = "this character is not allowed in a string";
        Finding::new(
            span,
            what,
            "write it as an escape sequence, for example \\t or \\u001B",
        )
    }

    fn leftover(&self, span: Range<usize>) -> Finding {
        let rest = span.start..self.line_end(span.start);
        if self.is_header(&span) {
            let hint = "write `[[forward]]` or `[aws]` on a line of its own";
            return Finding::new(rest, "unexpected text after this header", hint);
        }
        let hint = "write each key on its own line, start comments with `#`, and quote strings";
        Finding::new(rest, "unexpected text after this value", hint)
    }

    /// An unclosed value that extends over the rest of the text, reported at its start.
    fn open_end(&self, span: Range<usize>) -> Finding {
        let value = outermost(self.root, span.start);
        let start = value.map_or(span.start, |value| value.span.start);
        let (what, hint) = match value.map(|value| &value.data) {
            Some(ValueData::Array(_)) => ("this array is not closed", "end it with `]`"),
            Some(ValueData::Text(_)) => {
                ("this string is not closed", "add the three closing quotes")
            }
            _ => ("this table is not closed", "end it with `}`"),
        };
        Finding::new(start..self.line_end(start), what, hint)
    }

    /// Returns whether the parser took the text after an error as part of it.
    pub(super) fn swallows(&self, complaint: &ParseError) -> bool {
        complaint.is_block()
            || complaint.message.starts_with("unclosed")
            || (self.has_open_end && complaint.is_inside())
            || (complaint.message == "duplicate key" && self.is_header(&complaint.span))
    }

    /// Returns whether a range is on a line that starts with a bracket.
    fn is_header(&self, span: &Range<usize>) -> bool {
        let line = &self.text[self.line_start(span.start)..];
        line.trim_start_matches([' ', '\t']).starts_with('[')
    }

    /// Returns the word around a range.
    fn word(&self, span: Range<usize>) -> Range<usize> {
        let ends = |c: char| c.is_whitespace() || ",[]{}#=".contains(c);
        let before = self.text[..span.start].trim_end_matches(|c| !ends(c));
        let behind = self.text[span.start..].find(ends);
        let end = behind.map_or(self.text.len(), |length| span.start + length);
        before.len()..end.max(span.end)
    }

    /// Returns the offset of the value on the line that contains `offset`.
    fn value_start(&self, offset: usize) -> usize {
        let line = &self.text[self.line_start(offset)..offset];
        let value = line.split_once('=').map_or(line, |(_, value)| value);
        offset - value.trim_start().len()
    }

    fn line_start(&self, offset: usize) -> usize {
        self.text[..offset].rfind('\n').map_or(0, |end| end + 1)
    }

    fn line_end(&self, offset: usize) -> usize {
        let line = self.text[offset..].split('\n').next().unwrap_or_default();
        offset + line.trim_end().len()
    }
}

/// Returns a hint with the value in straight quotes, or a general one if the string continues after
/// the word.
fn straight(written: &str) -> String {
    let is_whole = written.starts_with(TYPOGRAPHIC) && written.ends_with(TYPOGRAPHIC);
    match written.trim_matches(TYPOGRAPHIC) {
        word if is_whole && !word.is_empty() => format!("write {}", quoted(word)),
        _ => "write straight quotes: \"…\"".to_owned(),
    }
}

/// Rewords a parser message: cause and hint.
fn phrase(message: &str) -> (String, &'static str) {
    let (what, hint) = match message {
        m if m.starts_with("missing escaped value") => (
            "invalid escape sequence after a backslash",
            "write `\\\\` for a backslash, or quote the string with '…'",
        ),
        m if m.starts_with("unclosed") => (
            "this header is not closed",
            "write `[[forward]]` or `[aws]` on a line of its own",
        ),
        m if m.starts_with("missing value") => ("the value is missing", WRITE_VALUE),
        m if m.starts_with("missing comma") => {
            ("a comma is missing", "separate the values by commas")
        }
        m if m.starts_with("unexpected leading zero") => {
            ("a number begins with 0", "write it without leading zeros")
        }
        m if m.starts_with("carriage return") => (
            "a carriage return that is not part of a line end",
            "end every line with a newline",
        ),
        m if ["key with no value", "invalid unquoted key", "invalid key"]
            .iter()
            .any(|start| m.starts_with(start)) =>
        {
            ("invalid TOML", "write one `key = value` per line")
        }
        other => {
            return (
                format!("invalid TOML: {other}"),
                "see https://toml.io for the syntax",
            );
        }
    };
    (what.to_owned(), hint)
}

/// Returns the last key of that name before `offset`.
fn last_before(table: &Table, key: &str, offset: usize) -> Option<Range<usize>> {
    let here = table.entries.iter().filter(|entry| entry.key == key);
    let here = here.map(|entry| entry.span.clone());
    let below = table.entries.iter().flat_map(|entry| tables(&entry.value));
    here.chain(below.filter_map(|table| last_before(table, key, offset)))
        .filter(|span| span.end <= offset)
        .max_by_key(|span| span.start)
}

/// Returns the outermost value that contains the byte at `offset`.
fn outermost(table: &Table, offset: usize) -> Option<&Value> {
    let here = table.entries.iter().map(|entry| &entry.value);
    let below = table.entries.iter().flat_map(|entry| tables(&entry.value));
    here.filter(|value| value.span.start < offset && offset <= value.span.end)
        .chain(below.filter_map(|table| outermost(table, offset)))
        .min_by_key(|value| value.span.start)
}

/// Returns the tables directly inside a value.
fn tables(value: &Value) -> Vec<&Table> {
    match &value.data {
        ValueData::Table(table) => vec![table],
        ValueData::Array(values) => values.iter().flat_map(tables).collect(),
        ValueData::Text(_)
        | ValueData::Number(_)
        | ValueData::Float
        | ValueData::Flag(_)
        | ValueData::Date => Vec::new(),
    }
}

/// Typographic quotes that text editors substitute for straight ones.
const TYPOGRAPHIC: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '‚', '‛'];

const WRITE_VALUE: &str = "add a value after `=`, or remove the line";
