//! Accepted values and defaults of settings, in words. Values are in backticks.

use crate::config::settings::{Default, Kind, Setting};
use crate::duration;

/// Returns the accepted values, without a full stop.
pub(in crate::cli) fn values(kind: Kind) -> String {
    match kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Number(min, max) => format!("Integer, {min} to {max}"),
        Kind::Duration(min, max) => format!(
            "Duration, `{}` to `{}`",
            duration::written(min),
            duration::written(max)
        ),
        Kind::Size(min, max) => format!("Size, `{}` to `{}`", size(min), size(max)),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            format!("One of {}", words.join(", "))
        }
        Kind::Text(..) => "String".to_owned(),
        Kind::Listen => "Port, `HOST:PORT`, `unix:PATH`, `systemd:NAME`, `hosts` or `hosts:PORT`; or an array of these".to_owned(),
        Kind::Hosts => "Array of host names".to_owned(),
        Kind::Target => "String, or a table of `tags` or `ecs`; or an array of these".to_owned(),
        Kind::Remote => "`HOST:PORT`, or a port".to_owned(),
        Kind::Allow => "Array of `HOST:PORT`".to_owned(),
        Kind::Parameters => "Table of strings or arrays of strings".to_owned(),
    }
}

/// Returns what holds if the setting is absent, as a sentence.
pub(in crate::cli) fn absence(setting: &Setting) -> String {
    match default(setting) {
        Some(default) => format!("Default: {default}."),
        None => match setting.alternatives() {
            None => "Optional.".to_owned(),
            Some([]) => "Required.".to_owned(),
            Some(others) => format!("Required unless {} is present.", either(others)),
        },
    }
}

/// Returns the default, if there is a fixed one.
fn default(setting: &Setting) -> Option<String> {
    match setting.absent {
        Default::Text(text) => Some(format!("`\"{text}\"`")),
        Default::Number(number) => Some(format!("`{number}`")),
        Default::Flag(flag) => Some(format!("`{flag}`")),
        Default::Required | Default::Unless(_) | Default::None => None,
    }
}

fn either(keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(" or ")
}

/// Returns a size as written in the file.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}
