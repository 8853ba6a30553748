//! `target`: a text, a table of tags, or an array of both.

use std::collections::BTreeMap;

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

/// Converts `{ tags = { Name = "bastion" } }`.
fn of_table(table: &Table, value: &Value) -> Checked<Target> {
    let (tags, others): (Vec<_>, Vec<_>) = table.entries.iter().partition(|e| e.key == TAGS);
    let mut errors: Vec<_> = others.into_iter().map(unknown).collect();
    match tags.first().map(|entry| of_tags(&entry.value)) {
        Some(Ok(tags)) if errors.is_empty() => return Ok(Target::Tags(tags)),
        Some(Ok(_)) => {}
        Some(Err(found)) => errors.extend(found),
        None if errors.is_empty() => {
            errors = at(value, ValueError::new("an empty table", EXAMPLE));
        }
        None => {}
    }
    Err(errors)
}

fn unknown(entry: &KeyValue) -> SpannedError {
    let what = format!("unknown key `{}` of a target", truncated(&entry.key));
    let hint = match closest_match(&entry.key, [TAGS]) {
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

const TAGS: &str = "tags";

const EXAMPLE: &str = "for example `target = { tags = { Name = \"bastion\" } }`";

/// Maximum number of targets. Each costs a StartSession call while a connection waits.
const MAX_TARGETS: usize = 8;

/// Maximum number of tags. Each is a filter in one lookup.
const MAX_TAGS: usize = 10;
