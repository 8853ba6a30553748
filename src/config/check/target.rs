//! `target`: a text, a table of tags or of ECS, or an array of them.

use std::collections::BTreeMap;

use crate::config::check::target_ecs;
use crate::config::check::target_text::check_tag;
use crate::config::check::value::{
    Checked, FromValue, SpannedError, all, at, one_or_many, wrong_type,
};
use crate::config::diagnostic::ValueError;
use crate::config::document::{KeyValue, Table, Value, ValueData};
use crate::config::model::{Target, Targets};
use crate::config::settings::{Kind, Setting};
use crate::config::source::truncated;
use crate::config::suggest::closest_match;

impl FromValue for Targets {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let one = |value: &Value| match (setting.kind, &value.data) {
            (Kind::Target, ValueData::Text(text)) => text.parse().map_err(|error| at(value, error)),
            (Kind::Target, ValueData::Table(table)) => of_table(table, value),
            (Kind::Target, ValueData::Array(_)) => {
                let hint = "write all targets in one array";
                Err(at(value, ValueError::new("a nested array", hint)))
            }
            _ => wrong_type(setting, value),
        };
        one_or_many(value, MAX_TARGETS, "targets", one).map(Self::new)
    }
}

/// Converts `{ tags = { … } }` or `{ ecs = { … } }`.
fn of_table(table: &Table, value: &Value) -> Checked<Target> {
    let is_known = |entry: &&KeyValue| KEYS.contains(&entry.key.as_str());
    let (known, others): (Vec<_>, Vec<_>) = table.entries.iter().partition(is_known);
    let mut errors: Vec<_> = others.into_iter().map(unknown).collect();
    let target = match known[..] {
        [entry] if entry.key == ECS => target_ecs::of_table(&entry.value),
        [entry] => of_tags(&entry.value).map(Target::Tags),
        [] if errors.is_empty() => Err(at(value, ValueError::new("an empty table", EXAMPLE))),
        [] => Err(Vec::new()),
        _ => {
            let hint = "write two tables in an array; they are tried in order";
            let what = "`tags` and `ecs` in one target";
            Err(at(value, ValueError::new(what, hint)))
        }
    };
    match target {
        Ok(target) if errors.is_empty() => Ok(target),
        Ok(_) => Err(errors),
        Err(found) => {
            errors.extend(found);
            Err(errors)
        }
    }
}

fn unknown(entry: &KeyValue) -> SpannedError {
    let what = format!("unknown key `{}` of a target", truncated(&entry.key));
    let hint = match closest_match(&entry.key, KEYS) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => EXAMPLE.to_owned(),
    };
    (entry.span.clone(), ValueError::new(what, hint))
}

fn of_tags(value: &Value) -> Checked<BTreeMap<String, String>> {
    let ValueData::Table(tags) = &value.data else {
        let what = format!("expected a table of tags, found {}", value.data.type_name());
        return Err(at(value, ValueError::new(what, EXAMPLE)));
    };
    if !(1..=MAX_TAGS).contains(&tags.entries.len()) {
        let what = format!("{} tags", tags.entries.len());
        let hint = format!("write 1 to {MAX_TAGS} of them: {EXAMPLE}");
        return Err(at(value, ValueError::new(what, hint)));
    }
    let tags = tags.entries.iter();
    all(tags.map(|entry| tag(entry).map_err(|error| at(&entry.value, error))))
}

/// Converts a tag of a table.
fn tag(entry: &KeyValue) -> Result<(String, String), ValueError> {
    let ValueData::Text(value) = &entry.value.data else {
        let type_name = entry.value.data.type_name();
        let what = format!("expected the value of a tag in quotes, found {type_name}");
        return Err(ValueError::new(what, EXAMPLE));
    };
    check_tag(&entry.key, value)?;
    Ok((entry.key.clone(), value.clone()))
}

const ECS: &str = "ecs";

const KEYS: [&str; 2] = ["tags", ECS];

const EXAMPLE: &str = "for example `target = { tags = { Name = \"bastion\" } }`";

/// Maximum number of targets. Each costs a StartSession call while a connection waits.
const MAX_TARGETS: usize = 8;

/// Maximum number of tags. Each is a filter in one lookup.
const MAX_TAGS: usize = 10;
