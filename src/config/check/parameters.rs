//! Parameters of a document: names, each with a string or an array of strings.

use crate::config::check::section::SectionKeys;
use crate::config::check::value::{Checked, FromValue, all, at, one_or_many, wrong_type};
use crate::config::diagnostic::ValueError;
use crate::config::document::{KeyValue, Value, ValueData};
use crate::config::model::{Parameters, Remote};
use crate::config::settings::{PROXY, Setting};
use crate::config::source::quoted;

impl FromValue for Parameters {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let ValueData::Table(table) = &value.data else {
            return wrong_type(setting, value);
        };
        let count = table.entries.len();
        if count > MAX_PARAMETERS {
            let hint = format!("a document has at most {MAX_PARAMETERS}");
            return Err(at(
                value,
                ValueError::new(format!("{count} parameters"), hint),
            ));
        }
        all(table.entries.iter().map(one))
    }
}

/// Returns the destination of a forward or proxy, and its document if that is not the destination.
pub(super) fn destination(section: &SectionKeys<'_>) -> Option<(Remote, Option<String>)> {
    if section.is_of(PROXY) {
        return Some((Remote::Requested(section.get("allow")?), None));
    }
    let document = section.get("document");
    if let Some(remote) = section.get("remote") {
        return Some((remote, document));
    }
    let (name, parameters) = (document?, section.get("parameters").unwrap_or_default());
    Some((Remote::Document { name, parameters }, None))
}

fn one(entry: &KeyValue) -> Checked<(String, Vec<String>)> {
    check("name", MAX_NAME, &entry.key).map_err(|error| vec![(entry.span.clone(), error)])?;
    let values = one_or_many(&entry.value, MAX_VALUES, "values", |value| {
        let ValueData::Text(text) = &value.data else {
            let what = format!("expected a string, found {}", value.data.type_name());
            let hint = "write each value in quotes: `{ portNumber = \"5432\" }`";
            return Err(at(value, ValueError::new(what, hint)));
        };
        check("value", MAX_VALUE, text).map_err(|error| at(value, error))?;
        Ok(text.clone())
    });
    Ok((entry.key.clone(), values?))
}

/// Reads an argument `NAME=VALUE`.
///
/// # Errors
///
/// If there is no `=`, or StartSession would reject the name or the value.
pub fn parameter(text: &str) -> Result<(String, String), ValueError> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        let what = format!("{} is not a parameter", quoted(text));
        ValueError::new(what, "write NAME=VALUE: database=orders")
    })?;
    check("name", MAX_NAME, name)?;
    check("value", MAX_VALUE, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

fn check(type_name: &str, most: usize, text: &str) -> Result<(), ValueError> {
    if (1..=most).contains(&text.chars().count()) && !text.contains(char::is_control) {
        return Ok(());
    }
    let what = format!("{} is not a valid parameter {type_name}", quoted(text));
    let hint = format!("1 to {most} characters, none of them a control character");
    Err(ValueError::new(what, hint))
}

/// Maximum number of parameters of a document (quotas of Systems Manager).
const MAX_PARAMETERS: usize = 200;

/// Maximum number of values of a parameter; port forwarding documents use one.
const MAX_VALUES: usize = 100;

/// Maximum characters of a name (SSM API: `SessionManagerParameterName`).
const MAX_NAME: usize = 255;
/// Maximum characters of a value (SSM API: `SessionManagerParameterValue`).
const MAX_VALUE: usize = 65_535;
