//! The JSON arguments: their fields, and what may be wrong with them.
//!
//! They have a token, so nothing of their content is in an error.

use std::fmt;

use serde_json::{Map, Value};

/// Parses an argument, which errors call `what`.
///
/// # Errors
///
/// If it is not a JSON object.
pub(super) fn object(what: &'static str, text: &str) -> Result<Map<String, Value>, ArgumentError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ArgumentError::NotAnObject(what)),
        Err(error) => Err(ArgumentError::NotJson(what, error.line(), error.column())),
    }
}

/// Returns a field that is a text and not empty.
///
/// # Errors
///
/// If it is not.
pub(super) fn string(
    what: &'static str,
    object: &Map<String, Value>,
    name: &'static str,
) -> Result<String, ArgumentError> {
    let text = object.get(name).and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or(ArgumentError::Field(what, name))
}

/// Arguments that are not those of StartSession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentError {
    /// The variable of the environment is not set.
    NoVariable,
    /// The argument is not JSON, at this line and column.
    NotJson(&'static str, usize, usize),
    /// The argument is not a JSON object.
    NotAnObject(&'static str),
    /// The field is missing or has another type.
    Field(&'static str, &'static str),
    /// The argument is not UTF-8.
    NotUtf8(&'static str),
    /// A text has characters that cannot be displayed.
    Unprintable(&'static str),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariable => write!(
                f,
                "the environment has no variable of the name in the first argument, or it is not UTF-8"
            ),
            Self::NotJson(what, line, column) => {
                write!(f, "{what} is not JSON (line {line}, column {column})")
            }
            Self::NotUtf8(what) => write!(f, "{what} is not UTF-8"),
            Self::NotAnObject(what) => write!(f, "{what} is not a JSON object"),
            Self::Field(what, name) => write!(f, "{what} has no valid {name}"),
            Self::Unprintable(what) => write!(f, "{what} has a character that is not printable"),
        }
    }
}

/// The first argument.
pub(super) const RESPONSE: &str = "the response of StartSession";

/// The fifth argument.
pub(super) const REQUEST: &str = "the request of StartSession";
