//! Parsed TOML document: tables and values with their byte ranges.
//!
//! Invalid TOML is parsed as far as possible, so that other problems are found in the same run;
//! `syntax_errors` then decides which findings are reliable. This file is the only user of `toml`.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A parsed text.
#[derive(Debug)]
pub(super) struct Document {
    /// The top-level table.
    pub(super) root: Table,
    /// In the order of the text.
    pub(super) errors: Vec<ParseError>,
}

impl Document {
    /// Parses a text. Never fails.
    pub(super) fn read(text: &str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let errors = errors.iter().map(|error| ParseError {
            span: whole(text, error.span().unwrap_or_default()),
            message: error.message().to_owned(),
        });
        let mut errors: Vec<_> = errors.collect();
        errors.sort_by_key(|error| error.span.start);
        Self {
            root: Table::of(root.get_ref(), 0..0),
            errors,
        }
    }
}

/// Error reported by the parser. Its message has no text of the file.
#[derive(Debug)]
pub(super) struct ParseError {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// Keys and values, in file order.
#[derive(Debug)]
pub(super) struct Table {
    /// Range of the header, or of a whole inline table.
    pub(super) span: Range<usize>,
    pub(super) entries: Vec<KeyValue>,
}

impl Table {
    fn of(table: &DeTable<'_>, span: Range<usize>) -> Self {
        let entries = table.iter().map(|(key, value)| KeyValue {
            key: key.get_ref().to_string(),
            span: key.span(),
            value: Value::of(value),
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|entry| entry.span.start);
        Self { span, entries }
    }

    /// Returns the entries of this table and of all tables in it.
    pub(super) fn all_entries(&self) -> Vec<&KeyValue> {
        let mut all: Vec<_> = self.entries.iter().collect();
        for table in self.entries.iter().flat_map(|entry| entry.value.tables()) {
            all.extend(table.all_entries());
        }
        all
    }
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct KeyValue {
    pub(super) key: String,
    /// Range of the key.
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// A value and its range.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) span: Range<usize>,
    pub(super) data: ValueData,
}

impl Value {
    fn of(value: &Spanned<DeValue<'_>>) -> Self {
        let span = value.span();
        let data = match value.get_ref() {
            DeValue::String(text) => ValueData::Text(text.to_string()),
            DeValue::Integer(integer) => ValueData::Number(
                // An integer that overflows the type is out of every range.
                i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX),
            ),
            DeValue::Float(_) => ValueData::Float,
            DeValue::Boolean(flag) => ValueData::Flag(*flag),
            DeValue::Datetime(_) => ValueData::Date,
            DeValue::Array(values) => ValueData::Array(values.iter().map(Self::of).collect()),
            DeValue::Table(table) => ValueData::Table(Table::of(table, span.clone())),
        };
        Self { span, data }
    }

    /// Returns the tables directly inside the value, or the value itself if it is one.
    fn tables(&self) -> Vec<&Table> {
        if let ValueData::Table(table) = &self.data {
            return vec![table];
        }
        let ValueData::Array(values) = &self.data else {
            return Vec::new();
        };
        values.iter().flat_map(Self::tables).collect()
    }
}

/// Data of a value, by type.
#[derive(Debug)]
pub(super) enum ValueData {
    Text(String),
    Number(i128),
    Float,
    Flag(bool),
    Date,
    Array(Vec<Value>),
    Table(Table),
}

impl ValueData {
    /// Returns the type as a noun with its article.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Float => "a number with a fraction",
            Self::Flag(_) => "a boolean",
            Self::Date => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// Widens a range to character boundaries of the text.
fn whole(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    start..text.floor_char_boundary(span.end).max(start)
}
