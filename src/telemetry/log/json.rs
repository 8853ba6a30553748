//! Log lines in JSON: one object for each event, with its fields as members.
//!
//! A line has only printable characters: others are escaped. Each string is cut separately, so that
//! the line stays valid JSON.

use std::fmt::{self, Write};

use tracing::{Event, Metadata};

use super::fields::{FieldSink, SpanFields, SpanVisitor, Value, Visitor};
use super::line::{self, MAX_VALUE, timestamp};
use crate::printable::is_printable;

/// Returns the line of an event.
pub(super) fn line(event: &Event<'_>, spans: impl FnOnce(SpanVisitor<'_>)) -> Vec<u8> {
    let metadata = event.metadata();
    let mut object = Object::new(line::buffer());
    object.add("timestamp", Value::Shown(&format_args!("{}", timestamp())));
    object.add("level", Value::Text(metadata.level().as_str()));
    event.record(&mut Visitor(&mut object));
    object.add("target", Value::Text(metadata.target()));
    let mut list = SpanList {
        out: object.out,
        is_first: true,
    };
    spans(&mut |metadata, fields| list.add(metadata, fields));
    let mut out = list.end();
    out.push_str("}\n");
    out.into_bytes()
}

/// The member `spans`, which is absent if there are none.
struct SpanList {
    out: String,
    is_first: bool,
}

impl SpanList {
    fn add(&mut self, metadata: &Metadata<'_>, fields: &SpanFields) {
        self.out.push_str(match self.is_first {
            true => ",\"spans\":[",
            false => ",",
        });
        self.is_first = false;
        let mut object = Object::new(std::mem::take(&mut self.out));
        fields.write(&mut object);
        object.add("name", Value::Text(metadata.name()));
        self.out = object.out;
        self.out.push('}');
    }

    fn end(mut self) -> String {
        if !self.is_first {
            self.out.push(']');
        }
        self.out
    }
}

/// An object whose end is not written yet.
struct Object {
    out: String,
    is_first: bool,
}

impl Object {
    fn new(mut out: String) -> Self {
        out.push('{');
        Self {
            out,
            is_first: true,
        }
    }

    fn string(&mut self, write: impl FnOnce(&mut JsonString<'_>) -> fmt::Result) {
        self.out.push('"');
        let mut string = JsonString {
            out: &mut self.out,
            left: MAX_VALUE,
            is_cut: false,
        };
        // If formatting fails, the part written so far is kept.
        let _shown = write(&mut string);
        self.out.push('"');
    }

    fn number(&mut self, number: fmt::Arguments<'_>) {
        self.out.write_fmt(number).expect(line::WRITES);
    }
}

impl FieldSink for Object {
    fn add(&mut self, name: &'static str, value: Value<'_>) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        // An identifier needs no escapes.
        self.out.extend(["\"", name, "\":"]);
        match value {
            Value::Bool(value) => self.number(format_args!("{value}")),
            Value::Unsigned(value) => self.number(format_args!("{value}")),
            Value::Signed(value) => self.number(format_args!("{value}")),
            Value::Float(value) if !value.is_finite() => self.out.push_str("null"),
            // No exponent, which `Debug` writes, in times of some microseconds.
            Value::Float(value) if (1e-12..1e-4).contains(&value.abs()) => {
                self.number(format_args!("{value}"));
            }
            Value::Float(value) => self.number(format_args!("{value:?}")),
            Value::Text(text) => self.string(|string| string.write_str(text)),
            Value::Shown(shown) => self.string(|string| write!(string, "{shown:?}")),
            Value::Error(error) => self.string(|string| write!(string, "{error}")),
        }
    }
}

/// Writes the content of a string.
struct JsonString<'a> {
    out: &'a mut String,
    /// Number of characters that may still be written.
    left: usize,
    is_cut: bool,
}

impl JsonString<'_> {
    fn add(&mut self, c: char) {
        if self.left == 0 {
            if !std::mem::replace(&mut self.is_cut, true) {
                self.out.push('…');
            }
            return;
        }
        self.left -= 1;
        match c {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            c if is_printable(c) => self.out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(self.out, "\\u{unit:04x}").expect(line::WRITES);
                }
            }
        }
    }
}

impl Write for JsonString<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
        if text.len() <= self.left && text.bytes().all(is_plain) {
            self.left -= text.len();
            self.out.push_str(text);
        } else {
            text.chars().for_each(|c| self.add(c));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\r\nc\u{202e}d\u{2028}e\u{9b}f\u{200b}g\u{e0041}h\u{7f}i";

    /// Returns an object with these values, each under the name of its place.
    fn object(values: &[Value<'_>]) -> String {
        let mut object = Object::new(String::new());
        for (name, value) in ["a", "b", "c", "d", "e", "f", "g"].iter().zip(values) {
            object.add(name, *value);
        }
        object.out + "}"
    }

    #[test]
    fn strings_are_printable_and_have_the_same_value() {
        let texts = [HOSTILE, "\"\\\u{0}\t", "ä 🦀", "", "plain"];

        let line = object(&texts.map(Value::Text));

        assert!(line.chars().all(is_printable), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"a": texts[0], "b": texts[1], "c": texts[2], "d": "", "e": "plain"})
        );
    }

    #[test]
    fn numbers_are_numbers() {
        let line = object(&[
            Value::Unsigned(u64::MAX),
            Value::Signed(i64::MIN),
            Value::Float(0.000_012),
            Value::Float(3.0),
            Value::Float(f64::NAN),
            Value::Bool(true),
            Value::Shown(&Some(1)),
        ]);

        assert_eq!(
            line,
            "{\"a\":18446744073709551615,\"b\":-9223372036854775808,\"c\":0.000012,\"d\":3.0,\
             \"e\":null,\"f\":true,\"g\":\"Some(1)\"}"
        );
    }

    #[test]
    fn long_strings_are_cut() {
        for unit in ["x", "\n", "\"", "\\", "\u{202e}", "\u{1}"] {
            let long = unit.repeat(1 << 16);
            let whole = unit.repeat(MAX_VALUE);

            let line = object(&[Value::Text(&long), Value::Text(&whole)]);

            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            let cut = whole.clone() + "…";
            assert_eq!(read, serde_json::json!({"a": cut, "b": whole}), "{unit:?}");
        }
    }
}
