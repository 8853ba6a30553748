//! Fields of a text line: `name=value`, where a value that contains spaces, quotes or `=` is quoted,
//! so that text from outside cannot look like another field.
//!
//! The message comes first. Those of this program do not look like a field; one of a library that
//! does is quoted as well.

use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::iter;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::printable::is_printable;

/// Formats the fields of events and spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor {
            writer,
            text: String::new(),
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'writer> {
    writer: Writer<'writer>,
    /// Buffer of a value.
    text: String,
    is_first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn add(&mut self, name: &str, is_quoted: impl Fn(&str) -> bool) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name != MESSAGE {
            let name = name.strip_prefix("r#").unwrap_or(name);
            match self.writer.has_ansi_escapes() {
                true => write!(self.writer, "{ITALIC}{name}{RESET}{DIMMED}={RESET}")?,
                false => write!(self.writer, "{name}=")?,
            }
        }
        match is_quoted(&self.text) {
            true => write!(self.writer, "{:?}", self.text),
            false => self.writer.write_str(&self.text),
        }
    }

    fn record(&mut self, name: &str, value: fmt::Arguments<'_>, is_quoted: impl Fn(&str) -> bool) {
        self.text.clear();
        let written = self.text.write_fmt(value);
        let added = written.and_then(|()| self.add(name, is_quoted));
        self.result = self.result.and(added);
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.record(MESSAGE, format_args!("{value}"), resembles_field),
            name => self.record(name, format_args!("{value}"), |_| true),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record(field.name(), format_args!("{value}"), needs_quotes);
        let sources = iter::successors(value.source(), |&error| error.source());
        let sources: Vec<String> = sources.map(ToString::to_string).collect();
        if !sources.is_empty() {
            let name = format!("{}.sources", field.name());
            self.record(&name, format_args!("{}", sources.join(": ")), |_| true);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            MESSAGE => self.record(MESSAGE, format_args!("{value:?}"), resembles_field),
            name => self.record(name, format_args!("{value:?}"), |text| {
                needs_quotes(text) && !is_quoted(text)
            }),
        }
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

const MESSAGE: &str = "message";

const ITALIC: &str = "\x1b[3m";
const DIMMED: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{error_span, info};

    use super::*;

    /// Returns what is logged meanwhile.
    fn logged(colour: bool, log: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(TextFields)
            .with_writer(move || writer.clone())
            .with_ansi(colour)
            .with_target(false)
            .with_level(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let lines = lines.0.lock().unwrap();
        String::from_utf8(lines.clone()).unwrap()
    }

    #[test]
    fn a_value_cannot_look_like_another_field() {
        let name = "x\" sent=9 \\";
        let line = logged(false, || {
            let span = error_span!("serving", peer = %name, late = tracing::field::Empty);
            span.record("late", tracing::field::display("a b=c}: d"));
            span.in_scope(|| {
                info!(shown = %name, debug = ?name, text = name, list = ?[name], empty = %"", "done");
            });
        });

        let quoted = r#""x\" sent=9 \\""#;
        let list = r#""[\"x\\\" sent=9 \\\\\"]""#;
        assert_eq!(
            line,
            format!(
                "serving{{peer={quoted} late=\"a b=c}}: d\"}}: done shown={quoted} debug={quoted} \
                 text={quoted} list={list} empty=\"\"\n"
            )
        );
    }

    #[test]
    fn plain_values_and_messages_are_not_quoted() {
        let line = logged(false, || {
            let time = std::time::Duration::from_millis(1500);
            info!(sent = 5, ?time, peer = %"[::1]:80", path = %"/a\\b", "reloaded: +1 =2");
        });

        assert_eq!(
            line,
            "reloaded: +1 =2 sent=5 time=1.5s peer=[::1]:80 path=/a\\b\n"
        );
    }

    #[test]
    fn a_message_that_looks_like_a_field_is_quoted() {
        let foreign = "done ended_by=client \u{1b}[31m";

        let line = logged(false, || info!("{foreign}"));

        assert_eq!(line, "\"done ended_by=client \\u{1b}[31m\"\n");
    }

    #[test]
    fn the_sources_of_an_error_are_one_value() {
        let inner = io::Error::other("no a=b");
        let outer = io::Error::other(Outer(inner));
        let line = logged(false, || {
            info!(error = &outer as &(dyn Error + 'static), "failed");
        });

        assert_eq!(line, "failed error=outer error.sources=\"no a=b\"\n");
    }

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn colours_are_those_of_names_only() {
        let value = "\u{1b}[31mred";

        let line = logged(true, || info!(value, "done"));

        assert!(
            line.contains("done \u{1b}[3mvalue\u{1b}[0m\u{1b}[2m=\u{1b}[0m\"\\u{1b}[31mred\""),
            "{line:?}"
        );
    }
}
