//! Host names by which clients call the HTTP server.

use crate::config::check::typed_value::{SpannedError, TypedValue, wrong_type};
use crate::config::diagnostic::ValueError;
use crate::config::document::{Value, ValueData};
use crate::config::settings::Setting;
use crate::config::source::quoted;

/// Parses an array of host names.
pub(super) fn hosts(setting: &Setting, value: &Value) -> Result<TypedValue, Vec<SpannedError>> {
    let ValueData::Array(values) = &value.data else {
        return Err(vec![(value.span.clone(), wrong_type(setting, &value.data))]);
    };
    if !(1..=MAX_HOSTS).contains(&values.len()) {
        let what = format!("an array of {} names", values.len());
        let fault = ValueError::new(what, format!("write 1 to {MAX_HOSTS} of them"));
        return Err(vec![(value.span.clone(), fault)]);
    }
    let mut names = Vec::new();
    let mut faults = Vec::new();
    for value in values {
        let checked = if let ValueData::Text(text) = &value.data {
            check_host(text).map(|()| text.clone())
        } else {
            Err(wrong_type(setting, &value.data))
        };
        match checked {
            Ok(name) => names.push(name),
            Err(fault) => faults.push((value.span.clone(), fault)),
        }
    }
    match faults.is_empty() {
        true => Ok(TypedValue::Hosts(names)),
        false => Err(faults),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_have_labels_and_neither_scheme_nor_port() {
        for good in ["metrics.example.org", "Host-1", "a_b.example.", "x"] {
            assert!(check_host(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "host:9187",
            "http://host",
            "*.example.org",
            "a b",
            "a/b",
            "häuser.example",
            long.as_str(),
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }
}
