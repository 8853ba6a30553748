//! Syntax errors of a text, and which other findings remain reliable.
//!
//! The parser continues after an error, which finds more errors but also consequences of earlier
//! ones. Not reported are therefore: all but the first error of a line; missing settings, once
//! there is any syntax error; and everything after an unclosed array, multi-line string or header,
//! which extends over the text that follows it.
//!
//! The parser's messages use terms of the grammar and point at the byte where parsing failed. For
//! the most frequent mistakes the likely cause is reported instead, with the range it covers.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::diagnostic::{Finding, Findings};
use crate::config::document::{Document, KeyValue, ParseError, Value, ValueData};
use crate::config::source::{SourceText, quoted, truncated};

/// The syntax errors of a text.
#[derive(Debug)]
pub(super) struct SyntaxErrors {
    errors: Findings,
    lines: BTreeSet<usize>,
    /// First line from which findings are ignored.
    unreliable_from: usize,
}

impl SyntaxErrors {
    /// Selects the parser errors to report.
    pub(super) fn of(text: &str, source: &SourceText<'_>, document: &Document) -> Self {
        let reader = MessageRewriter::new(text, source, document);
        let mut syntax = Self {
            errors: Findings::default(),
            lines: BTreeSet::new(),
            unreliable_from: usize::MAX,
        };
        for error in &document.errors {
            if syntax.unreliable_from < usize::MAX || !syntax.errors.has_room() {
                break;
            }
            if syntax.lines.contains(&source.line(error.span.start)) {
                continue;
            }
            let finding = reader.finding(error);
            let line = source.line(finding.span.start);
            syntax.lines.insert(line);
            syntax.errors.add(finding);
            if reader.hides_rest(error) {
                syntax.unreliable_from = line;
            }
        }
        syntax
    }

    /// Returns whether a finding is reliable, rather than a consequence of a syntax error.
    pub(super) fn keeps(&self, finding: &Finding, source: &SourceText<'_>) -> bool {
        let line = source.line(finding.span.start);
        let in_doubt = finding.is_absence && !self.lines.is_empty();
        !in_doubt && line < self.unreliable_from && !self.lines.contains(&line)
    }

    pub(super) fn into_findings(self) -> Findings {
        self.errors
    }
}

/// Converts the parser errors of one text into findings.
struct MessageRewriter<'a> {
    text: &'a str,
    source: &'a SourceText<'a>,
    /// All entries that the parser recovered.
    entries: Vec<&'a KeyValue>,
    /// A value that is not closed, and therefore extends over the text that follows it.
    open: Option<&'a Value>,
}

impl<'a> MessageRewriter<'a> {
    fn new(text: &'a str, source: &'a SourceText<'a>, document: &'a Document) -> Self {
        let entries = match document.errors.as_slice() {
            [] => Vec::new(),
            _ => document.root.all_entries(),
        };
        let unclosed = document.errors.iter().find(|error| {
            let parts = ["unclosed array,", "unclosed inline", "invalid multi-line"];
            parts.iter().any(|part| error.message.starts_with(part))
        });
        let values = entries.iter().map(|entry| &entry.value);
        let open = values.filter(|value| unclosed.is_some_and(|error| is_inside(error, value)));
        Self {
            open: open.min_by_key(|value| value.span.start),
            text,
            source,
            entries,
        }
    }

    fn finding(&self, error: &ParseError) -> Finding {
        let ParseError { span, message } = error;
        if let Some(value) = self.open.filter(|value| is_inside(error, value)) {
            return self.not_closed(value);
        }
        match message.as_str() {
            "duplicate key" => self.duplicate(span.clone()),
            m if m.starts_with("missing value") => Finding::new(span.clone(), MISSING, ADD_VALUE),
            m if is_unquoted(m) => self.unquoted(self.word(span.clone())),
            m if m.contains("string") && self.line_after(span.start).trim_end().is_empty() => {
                let start = self.value_start(span.start);
                Finding::new(
                    start..span.start,
                    "this string is not closed",
                    "add the closing quote",
                )
            }
            other => {
                let what = other.trim_end_matches(", expected nothing");
                let hint = HINTS.iter().find(|(part, _)| other.contains(part));
                let hint = hint.map_or(SYNTAX, |(_, hint)| hint);
                Finding::new(span.clone(), format!("invalid TOML: {what}"), hint)
            }
        }
    }

    fn not_closed(&self, value: &Value) -> Finding {
        let (what, hint) = match &value.data {
            ValueData::Array(_) => ("this array is not closed", "end it with `]`"),
            ValueData::Text(_) => ("this string is not closed", "add the three closing quotes"),
            ValueData::Number(_)
            | ValueData::Float
            | ValueData::Flag(_)
            | ValueData::Date
            | ValueData::Table(_) => ("this table is not closed", "end it with `}`"),
        };
        let start = value.span.start;
        let end = start + self.line_after(start).trim_end().len();
        Finding::new(start..end, what, hint)
    }

    fn duplicate(&self, span: Range<usize>) -> Finding {
        let key = &self.text[span.clone()];
        if self.is_header(&span) {
            let hint = match key {
                "forward" => "write `[[forward]]`, in double brackets, above each forward",
                _ => "merge its keys under one header",
            };
            return Finding::new(span, format!("duplicate table `{}`", truncated(key)), hint);
        }
        let before = self.entries.iter().filter(|entry| entry.key == key);
        let before = before.map(|entry| entry.span.clone());
        let first = before.filter(|first| first.end <= span.start);
        let what = format!("`{}` is set twice", truncated(key));
        let finding = Finding::new(span.clone(), what, "keep one of the two lines");
        match first.max_by_key(|first| first.start) {
            Some(first) => finding.with_label(first, "set here first"),
            None => finding,
        }
    }

    /// A value that is not a string, number or date; most likely an unquoted string.
    fn unquoted(&self, span: Range<usize>) -> Finding {
        let word = &self.text[span.clone()];
        let shown = match self.source.is_secret(span.start) {
            true => "the value".to_owned(),
            false => format!("`{}`", truncated(word)),
        };
        let (what, hint) = match word.to_ascii_lowercase().as_str() {
            "" => return Finding::new(span, MISSING, ADD_VALUE),
            "true" | "yes" | "on" => ("is not a value", "write `true`".to_owned()),
            "false" | "no" | "off" => ("is not a value", "write `false`".to_owned()),
            _ if self.source.is_secret(span.start) => ("has no quotes", "add quotes".to_owned()),
            typed if typed.contains(TYPOGRAPHIC) => {
                let plain = quoted(word.trim_matches(TYPOGRAPHIC));
                ("has typographic quotes", format!("write {plain}"))
            }
            words if words.contains(char::is_whitespace) => {
                let hint = format!("write {}, or separate values by commas", quoted(word));
                ("has no quotes", hint)
            }
            _ => ("has no quotes", format!("write {}", quoted(word))),
        };
        Finding::new(span, format!("{shown} {what}"), hint)
    }

    /// Returns whether the parser took the text after an error as part of it.
    fn hides_rest(&self, error: &ParseError) -> bool {
        self.open.is_some_and(|value| is_inside(error, value))
            || error.message.starts_with("unclosed")
            || (error.message == "duplicate key" && self.is_header(&error.span))
    }

    /// Returns whether a range is on a line that starts with a bracket.
    fn is_header(&self, span: &Range<usize>) -> bool {
        self.line_before(span.start).trim_start().starts_with('[')
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
        let line = self.line_before(offset);
        let value = line.split_once('=').map_or(line, |(_, value)| value);
        offset - value.trim_start().len()
    }

    /// Returns the line that contains `offset`, up to there.
    fn line_before(&self, offset: usize) -> &'a str {
        let before = &self.text[..offset];
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// Returns the line that contains `offset`, from there on.
    fn line_after(&self, offset: usize) -> &'a str {
        self.text[offset..].split('\n').next().unwrap_or_default()
    }
}

fn is_inside(error: &ParseError, value: &Value) -> bool {
    value.span.start < error.span.start && error.span.start <= value.span.end
}

/// Returns whether a message is about a value that is not a string, number or date.
fn is_unquoted(message: &str) -> bool {
    let kinds = [
        "boolean", "float", "integer", "mantissa", "fraction", "exponent",
    ];
    let invalid = message.strip_prefix("invalid ").unwrap_or_default();
    message.starts_with("string values must be quoted")
        || kinds.iter().any(|kind| invalid.starts_with(kind))
}

/// Typographic quotes that text editors substitute for straight ones.
const TYPOGRAPHIC: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '‚', '‛'];

const MISSING: &str = "the value is missing";

const ADD_VALUE: &str = "add a value after `=`, or remove the line";

/// Hints for messages of the parser, by a part of the message.
const HINTS: &[(&str, &str)] = &[
    (
        "escape",
        "write `\\\\` for a backslash, or quote the string with '…'",
    ),
    (
        "string",
        "write other characters as escape sequences, for example \\t or \\u001B",
    ),
    (
        "table",
        "write `[[forward]]` or `[aws]` on a line of its own",
    ),
];

/// Hint for all other messages.
const SYNTAX: &str =
    "write one `key = value` per line, strings in quotes, comments after `#`; see https://toml.io";
