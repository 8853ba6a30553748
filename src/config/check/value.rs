//! Converts one value by the kind of its setting.

use std::time::Duration;

use crate::config::check::address::{check_endpoint, check_gateway, check_proxy, port_number};
use crate::config::check::hosts::hosts;
use crate::config::check::identifiers::{
    check_document, check_name, check_path, check_profile, check_region, check_role, check_socket,
    mode,
};
use crate::config::check::target::targets;
use crate::config::check::typed_value::{SpannedError, TypedValue, wrong_type};
use crate::config::check::units::{duration, size, written_size};
use crate::config::check::version::check_client_version;
use crate::config::diagnostic::ValueError;
use crate::config::document::{Value, ValueData};
use crate::config::model::{Listen, Remote};
use crate::config::settings::{Absent, Kind, Setting};
use crate::config::source::quoted;
use crate::config::suggest::nearest;
use crate::duration::written;

/// Converts a value by the kind of its setting.
pub(super) fn meaning(setting: &Setting, value: &Value) -> Result<TypedValue, Vec<SpannedError>> {
    if matches!(setting.kind, Kind::Listen) {
        return listen(setting, value);
    }
    if matches!(setting.kind, Kind::Hosts) {
        return hosts(setting, value);
    }
    if matches!(setting.kind, Kind::Target) {
        return targets(setting, value);
    }
    single(setting, &value.data).map_err(|fault| vec![(value.span.clone(), fault)])
}

/// Returns the default of a setting; `None` if it has none.
pub(super) fn default(setting: &Setting) -> Option<TypedValue> {
    let data = match setting.absent {
        Absent::Problem | Absent::Nothing => return None,
        Absent::Text(text) => ValueData::Text(text.to_owned()),
        Absent::Number(number) => ValueData::Number(number.into()),
        Absent::Flag(flag) => ValueData::Flag(flag),
    };
    single(setting, &data).ok()
}

fn single(setting: &Setting, data: &ValueData) -> Result<TypedValue, ValueError> {
    match (setting.kind, data) {
        (Kind::Flag, ValueData::Flag(flag)) => Ok(TypedValue::Flag(*flag)),
        (Kind::Number { min, max }, ValueData::Number(number)) => whole(*number, min, max),
        (Kind::Duration { min, max }, ValueData::Text(text)) => time(text, min, max),
        (Kind::Size { min, max }, ValueData::Text(text)) => bytes(text, min, max),
        (Kind::Choice(words), ValueData::Text(text)) => choice(text, words),
        (Kind::Mode, ValueData::Text(text)) => {
            mode(text).map(|mode| TypedValue::Number(mode.into()))
        }
        (Kind::Remote, ValueData::Text(text)) => text.parse().map(TypedValue::Remote),
        (Kind::Remote, ValueData::Number(number)) => {
            port_number(*number, 1).map(|port| TypedValue::Remote(Remote::Port(port)))
        }
        (_, ValueData::Text(text)) => word(setting, text),
        _ => Err(wrong_type(setting, data)),
    }
}

fn word(setting: &Setting, text: &str) -> Result<TypedValue, ValueError> {
    let check = match setting.kind {
        Kind::Name => check_name,
        Kind::Region => check_region,
        Kind::Profile => check_profile,
        Kind::Role => check_role,
        Kind::ClientVersion => check_client_version,
        Kind::Endpoint => check_endpoint,
        Kind::Gateway => check_gateway,
        Kind::Proxy => check_proxy,
        Kind::File => check_path,
        Kind::Socket => check_socket,
        Kind::Document => check_document,
        Kind::Flag
        | Kind::Number { .. }
        | Kind::Duration { .. }
        | Kind::Size { .. }
        | Kind::Choice(_)
        | Kind::Listen
        | Kind::Hosts
        | Kind::Mode
        | Kind::Target
        | Kind::Remote => return Err(wrong_type(setting, &ValueData::Text(text.to_owned()))),
    };
    check(text).map(|()| TypedValue::Text(text.to_owned()))
}

fn listen(setting: &Setting, value: &Value) -> Result<TypedValue, Vec<SpannedError>> {
    let values = if let ValueData::Array(values) = &value.data {
        values
    } else {
        std::slice::from_ref(value)
    };
    if !(1..=MAX_ADDRESSES).contains(&values.len()) {
        let what = format!("an array of {} addresses", values.len());
        let fault = ValueError::new(what, format!("write 1 to {MAX_ADDRESSES} of them"));
        return Err(vec![(value.span.clone(), fault)]);
    }
    let mut addresses = Vec::new();
    let mut faults = Vec::new();
    for value in values {
        match one_listen(setting, &value.data) {
            Ok(listen) => addresses.push((listen, value.span.clone())),
            Err(fault) => faults.push((value.span.clone(), fault)),
        }
    }
    if faults.is_empty() {
        Ok(TypedValue::Listen(addresses))
    } else {
        Err(faults)
    }
}

fn one_listen(setting: &Setting, data: &ValueData) -> Result<Listen, ValueError> {
    match data {
        ValueData::Text(text) => text.parse(),
        ValueData::Number(number) => port_number(*number, 0).map(Listen::Localhost),
        ValueData::Float
        | ValueData::Flag(_)
        | ValueData::Date
        | ValueData::Array(_)
        | ValueData::Table(_) => Err(wrong_type(setting, data)),
    }
}

fn choice(text: &str, words: &[&str]) -> Result<TypedValue, ValueError> {
    if words.contains(&text) {
        return Ok(TypedValue::Text(text.to_owned()));
    }
    let hint = match nearest(text, words.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write \"{}\"", words.join("\" or \"")),
    };
    Err(ValueError::new(
        format!("{} is not a valid value", quoted(text)),
        hint,
    ))
}

fn whole(number: i128, min: u64, max: u64) -> Result<TypedValue, ValueError> {
    let fitting = u64::try_from(number)
        .ok()
        .filter(|n| (min..=max).contains(n));
    fitting.map(TypedValue::Number).ok_or_else(|| {
        let what = format!("{} is out of range", shown(number));
        ValueError::new(what, format!("write a whole number from {min} to {max}"))
    })
}

fn time(text: &str, min: Duration, max: Duration) -> Result<TypedValue, ValueError> {
    let duration = duration(text)?;
    if (min..=max).contains(&duration) {
        return Ok(TypedValue::Duration(duration));
    }
    let (min, max) = (written(min), written(max));
    let hint = format!("write a duration from \"{min}\" to \"{max}\"");
    Err(ValueError::new(
        format!("{} is out of range", quoted(text)),
        hint,
    ))
}

fn bytes(text: &str, min: u64, max: u64) -> Result<TypedValue, ValueError> {
    let size = size(text)?;
    if (min..=max).contains(&size) {
        return Ok(TypedValue::Number(size));
    }
    let (min, max) = (written_size(min), written_size(max));
    let hint = format!("write a size from \"{min}\" to \"{max}\"");
    Err(ValueError::new(
        format!("{} is out of range", quoted(text)),
        hint,
    ))
}

/// Formats a number. One that overflowed the type is shown without digits.
fn shown(number: i128) -> String {
    match number {
        i128::MAX => "the number".to_owned(),
        number => number.to_string(),
    }
}

/// Maximum number of addresses of a forward.
const MAX_ADDRESSES: usize = 16;
