//! Host names by which clients call the HTTP server.

use crate::config::check::value::{Checked, FromValue, at, one_or_many, wrong_type};
use crate::config::diagnostic::ValueError;
use crate::config::document::{Value, ValueData};
use crate::config::settings::Setting;
use crate::config::source::quoted;

impl FromValue for Vec<String> {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let ValueData::Array(_) = &value.data else {
            return wrong_type(setting, value);
        };
        one_or_many(value, MAX_HOSTS, "names", |value| {
            let ValueData::Text(text) = &value.data else {
                return wrong_type(setting, value);
            };
            check_host(text).map_err(|error| at(value, error))?;
            Ok(text.clone())
        })
    }
}

/// Checks the syntax of a host name (RFC 1123, section 2.1).
fn check_host(text: &str) -> Result<(), ValueError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() <= MAX_NAME && name.split('.').all(is_label) {
        return Ok(());
    }
    let what = format!("{} is not a valid host name", quoted(text));
    let hint = match text.contains(':') {
        true => "write only the name, without scheme and port: \"metrics.example.org\"",
        false => "write the name used by clients: \"metrics.example.org\"",
    };
    Err(ValueError::new(what, hint))
}

/// Maximum number of host names.
const MAX_HOSTS: usize = 16;
const MAX_NAME: usize = 253;
