//! Valid values of settings, and the error for a value of another type.

use std::ops::Range;
use std::time::Duration;

use crate::config::check::units::written_size;
use crate::config::diagnostic::ValueError;
use crate::config::document::ValueData;
use crate::config::model::{Listen, Remote, Targets};
use crate::config::settings::{Kind, Setting};

/// A valid value of a setting.
#[derive(Clone, Debug)]
pub(super) enum TypedValue {
    Flag(bool),
    /// A count, a size in bytes, or the bits of a mode.
    Number(u64),
    Duration(Duration),
    Text(String),
    /// Addresses with their ranges; at least one.
    Listen(Vec<(Listen, Range<usize>)>),
    Target(Targets),
    Remote(Remote),
    /// Host names.
    Hosts(Vec<String>),
}

/// An error and its range: the value or a part of it.
pub(super) type SpannedError = (Range<usize>, ValueError);

/// Returns a type error that names the expected type and gives an example.
pub(super) fn wrong_type(setting: &Setting, data: &ValueData) -> ValueError {
    let wanted = match setting.kind {
        Kind::Flag => "true or false",
        Kind::Number { .. } => "a whole number",
        Kind::Duration { .. } => "a duration in quotes",
        Kind::Size { .. } => "a size in quotes",
        Kind::Listen => "a port, an address or an array of them",
        Kind::Hosts => "an array of strings",
        Kind::Mode => "octal digits in quotes",
        Kind::Target => "the id of a node, a table of tags or an array of them",
        Kind::Remote => "a string \"host:port\" or a port",
        Kind::Choice(_)
        | Kind::Name
        | Kind::Region
        | Kind::Profile
        | Kind::Role
        | Kind::ClientVersion
        | Kind::Endpoint
        | Kind::Gateway
        | Kind::Proxy
        | Kind::File
        | Kind::Socket
        | Kind::Document => "a string",
    };
    let what = format!("expected {wanted}, found {}", data.noun());
    ValueError::new(
        what,
        rewritten(setting, data).unwrap_or_else(|| example(setting)),
    )
}

/// Returns a hint with the value in the right type, if the intention is clear.
fn rewritten(setting: &Setting, data: &ValueData) -> Option<String> {
    let value = match (setting.kind, data) {
        (Kind::Flag, ValueData::Text(text)) if text == "true" || text == "false" => text.clone(),
        (Kind::Number { .. }, ValueData::Text(text)) => text.parse::<u64>().ok()?.to_string(),
        (Kind::Duration { .. }, ValueData::Number(number)) => {
            format!("\"{}s\"", u32::try_from(*number).ok()?)
        }
        (Kind::Size { .. }, ValueData::Number(number)) => {
            format!("\"{}\"", written_size(u64::try_from(*number).ok()?))
        }
        _ => return None,
    };
    Some(format!("write `{} = {value}`", setting.key))
}

/// Returns a hint with a valid example.
fn example(setting: &Setting) -> String {
    format!("for example `{} = {}`", setting.key, setting.example)
}
