//! Log lines for people: time, level, spans, the message, and the fields as `name=value`.
//!
//! A value that contains spaces, quotes or `=` is quoted, so that text from outside cannot look like
//! another field. Messages of this program do not look like a field; one of a library that does is
//! quoted as well.

use std::error::Error;
use std::fmt::{self, Write};
use std::iter;

use tracing::{Event, Level};

use super::fields::{FieldSink, MESSAGE, SpanVisitor, Value, Visitor};
use super::line::{self, timestamp};
use crate::printable::is_printable;

/// Returns the line of an event.
pub(super) fn line(
    event: &Event<'_>,
    spans: impl FnOnce(SpanVisitor<'_>),
    colour: bool,
) -> Vec<u8> {
    let mut out = line::buffer();
    let level = *event.metadata().level();
    let timestamp = timestamp();
    match colour {
        true => out.extend([
            DIMMED,
            &timestamp.to_string(),
            RESET,
            " ",
            coloured(level),
            " ",
        ]),
        false => write!(out, "{timestamp} {level:>5} ").expect(line::WRITES),
    }
    let mut has_spans = false;
    spans(&mut |metadata, fields| {
        has_spans = true;
        let [bold, dimmed, reset] =
            [BOLD, DIMMED, RESET].map(|code| if colour { code } else { "" });
        out.extend([bold, metadata.name(), reset]);
        if !fields.is_empty() {
            out.extend([bold, "{", reset]);
            fields.write(&mut TextFields::new(&mut out, colour));
            out.extend([bold, "}", reset]);
        }
        out.extend([dimmed, ":", reset]);
    });
    if has_spans {
        out.push(' ');
    }
    event.record(&mut Visitor(&mut TextFields::new(&mut out, colour)));
    line::text(out, colour)
}

/// Appends fields to a line.
struct TextFields<'a> {
    out: &'a mut String,
    colour: bool,
    is_first: bool,
}

impl<'a> TextFields<'a> {
    fn new(out: &'a mut String, colour: bool) -> Self {
        Self {
            out,
            colour,
            is_first: true,
        }
    }

    /// Begins a field.
    fn begin(&mut self, name: &str, suffix: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(' ');
        }
        match self.colour {
            _ if name == MESSAGE => {}
            true => self
                .out
                .extend([ITALIC, name, suffix, RESET, DIMMED, "=", RESET]),
            false => self.out.extend([name, suffix, "="]),
        }
    }

    /// Appends a value, which is quoted if necessary.
    fn value(&mut self, value: fmt::Arguments<'_>, is_quoted: impl FnOnce(&str) -> bool) {
        let begin = self.out.len();
        // If formatting fails, the part written so far is kept.
        let _shown = self.out.write_fmt(value);
        if is_quoted(&self.out[begin..]) {
            let text = self.out.split_off(begin);
            write!(self.out, "{text:?}").expect(line::WRITES);
        }
    }
}

impl FieldSink for TextFields<'_> {
    fn add(&mut self, name: &'static str, value: Value<'_>) {
        self.begin(name, "");
        match value {
            Value::Bool(value) => self.value(format_args!("{value}"), |_| false),
            Value::Unsigned(value) => self.value(format_args!("{value}"), |_| false),
            Value::Signed(value) => self.value(format_args!("{value}"), |_| false),
            Value::Float(value) => self.value(format_args!("{value:?}"), |_| false),
            Value::Text(text) if name == MESSAGE => {
                self.value(format_args!("{text}"), resembles_field);
            }
            Value::Text(text) => self.value(format_args!("{text:?}"), |_| false),
            Value::Shown(shown) if name == MESSAGE => {
                self.value(format_args!("{shown:?}"), resembles_field);
            }
            Value::Shown(shown) => self.value(format_args!("{shown:?}"), |text| {
                needs_quotes(text) && !is_quoted(text)
            }),
            Value::Error(error) => {
                self.value(format_args!("{error}"), needs_quotes);
                self.sources(name, error);
            }
        }
    }
}

impl TextFields<'_> {
    /// Appends the sources of an error as one field, if there are any.
    fn sources(&mut self, name: &str, error: &(dyn Error + 'static)) {
        let sources = iter::successors(error.source(), |&error| error.source());
        let sources: Vec<String> = sources.map(ToString::to_string).collect();
        if !sources.is_empty() {
            self.begin(name, ".sources");
            self.value(format_args!("{}", sources.join(": ")), |_| true);
        }
    }
}

fn coloured(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31mERROR\x1b[0m",
        Level::WARN => "\x1b[33m WARN\x1b[0m",
        Level::INFO => "\x1b[32m INFO\x1b[0m",
        Level::DEBUG => "\x1b[34mDEBUG\x1b[0m",
        Level::TRACE => "\x1b[35mTRACE\x1b[0m",
    }
}

/// Returns true if the end of a value, or a field in it, could not be recognised without quotes.
fn needs_quotes(text: &str) -> bool {
    let is_special = |c: char| c.is_whitespace() || "\"={}".contains(c) || !is_printable(c);
    text.is_empty() || text.contains(is_special)
}

/// Returns true if the text is one quoted string, as `Debug` writes it.
fn is_quoted(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner.filter(|inner| inner.chars().all(is_printable)) else {
        return false;
    };
    let mut is_escaped = false;
    for c in inner.chars() {
        match c {
            '"' if !is_escaped => return false,
            c => is_escaped = c == '\\' && !is_escaped,
        }
    }
    !is_escaped
}

/// Returns true if a message contains what looks like a field, or what is not printable.
fn resembles_field(message: &str) -> bool {
    let mut previous = ' ';
    message.chars().any(|c| {
        let is_field = c == '=' && (previous.is_alphanumeric() || "_.".contains(previous));
        previous = c;
        is_field || !is_printable(c)
    })
}

const BOLD: &str = "\x1b[1m";
const ITALIC: &str = "\x1b[3m";
const DIMMED: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
