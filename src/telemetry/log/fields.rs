//! Fields of events and spans: one visitor for all formats. The fields of a span are recorded once,
//! and written in the format of each event within it.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing::Metadata;
use tracing::field::{Field, Visit};

/// Value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A string.
    Text(&'a str),
    /// Anything else, by its `Debug` output.
    Shown(&'a dyn Debug),
    Error(&'a (dyn Error + 'static)),
}

/// Takes fields in the order of their definition; the message of an event is the first one.
pub(super) trait FieldSink {
    /// `name` is an identifier that may contain dots.
    fn add(&mut self, name: &'static str, value: Value<'_>);
}

/// Name of the field that is the message of an event.
pub(super) const MESSAGE: &str = "message";

/// Passes recorded fields on.
pub(super) struct Visitor<'a, T>(pub(super) &'a mut T);

impl<T: FieldSink> Visitor<'_, T> {
    fn add(&mut self, field: &Field, value: Value<'_>) {
        let name = field.name();
        self.0.add(name.strip_prefix("r#").unwrap_or(name), value);
    }
}

impl<T: FieldSink> Visit for Visitor<'_, T> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, Value::Shown(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, Value::Error(value));
    }
}

/// Fields of a span. A field that is recorded again has the latest value.
#[derive(Debug, Default)]
pub(super) struct SpanFields(Vec<(&'static str, StoredValue)>);

#[derive(Debug)]
enum StoredValue {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Box<str>),
    Shown(Verbatim),
}

impl SpanFields {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes all fields.
    pub(super) fn write(&self, sink: &mut impl FieldSink) {
        for (name, value) in &self.0 {
            sink.add(name, value.as_value());
        }
    }
}

impl FieldSink for SpanFields {
    fn add(&mut self, name: &'static str, value: Value<'_>) {
        let value = StoredValue::from(value);
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl StoredValue {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Unsigned(value) => Value::Unsigned(*value),
            Self::Signed(value) => Value::Signed(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(text),
            Self::Shown(text) => Value::Shown(text),
        }
    }
}

impl From<Value<'_>> for StoredValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Unsigned(value) => Self::Unsigned(value),
            Value::Signed(value) => Self::Signed(value),
            Value::Float(value) => Self::Float(value),
            Value::Text(text) => Self::Text(text.into()),
            Value::Shown(shown) => Self::Shown(Verbatim(format!("{shown:?}").into())),
            Value::Error(error) => Self::Shown(Verbatim(error.to_string().into())),
        }
    }
}

/// Gets each span of an event, outermost first.
pub(super) type SpanVisitor<'a> = &'a mut dyn FnMut(&'static Metadata<'static>, &SpanFields);

/// `Debug` output that was written before.
struct Verbatim(Box<str>);

impl Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
