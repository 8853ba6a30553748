//! `target`: a node id, a table of tags, or an array of both.

use std::collections::BTreeMap;

use crate::config::check::typed_value::{SpannedError, TypedValue, wrong_type};
use crate::config::diagnostic::ValueError;
use crate::config::document::{Entry, Table, Value, ValueData};
use crate::config::model::{Target, Targets};
use crate::config::settings::Setting;
use crate::config::source::{quoted, shortened};
use crate::config::suggest::nearest;

/// Parses a value as one or more targets.
pub(super) fn targets(setting: &Setting, value: &Value) -> Result<TypedValue, Vec<SpannedError>> {
    let values = match &value.data {
        ValueData::Array(values) => values.as_slice(),
        ValueData::Text(_)
        | ValueData::Number(_)
        | ValueData::Float
        | ValueData::Flag(_)
        | ValueData::Date
        | ValueData::Table(_) => std::slice::from_ref(value),
    };
    if !(1..=MAX_TARGETS).contains(&values.len()) {
        let what = format!("an array of {} targets", values.len());
        let fault = ValueError::new(what, format!("write 1 to {MAX_TARGETS} of them"));
        return Err(vec![(value.span.clone(), fault)]);
    }
    let (mut targets, mut faults) = (Vec::new(), Vec::new());
    for value in values {
        match one(setting, value) {
            Ok(target) => targets.push(target),
            Err(misplaced) => faults.extend(misplaced),
        }
    }
    match faults.is_empty() {
        true => Ok(TypedValue::Target(Targets::new(targets))),
        false => Err(faults),
    }
}

fn one(setting: &Setting, value: &Value) -> Result<Target, Vec<SpannedError>> {
    let here = |fault| vec![(value.span.clone(), fault)];
    match &value.data {
        ValueData::Text(text) => text.parse().map_err(here),
        ValueData::Table(table) => of_table(table, value),
        ValueData::Array(_) => {
            let hint = "write ids and tables of tags in one array";
            Err(here(ValueError::new("a nested array", hint)))
        }
        data @ (ValueData::Number(_) | ValueData::Float | ValueData::Flag(_) | ValueData::Date) => {
            Err(here(wrong_type(setting, data)))
        }
    }
}

/// Parses `{ tags = { Name = "bastion" } }`.
fn of_table(table: &Table, value: &Value) -> Result<Target, Vec<SpannedError>> {
    let mut faults = Vec::new();
    for entry in table.entries.iter().filter(|entry| entry.key != TAGS) {
        let what = format!("unknown key `{}` of a target", shortened(&entry.key));
        let hint = match nearest(&entry.key, [TAGS]) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => EXAMPLE.to_owned(),
        };
        faults.push((entry.span.clone(), ValueError::new(what, hint)));
    }
    let tags = table.entries.iter().find(|entry| entry.key == TAGS);
    let tags = match tags.map(|tags| (&tags.value.data, tags)) {
        Some((ValueData::Table(tags), _)) if (1..=MAX_TAGS).contains(&tags.entries.len()) => tags,
        Some((ValueData::Table(tags), entry)) => {
            let what = format!("{} tags", tags.entries.len());
            let hint = format!("write 1 to {MAX_TAGS} of them: {EXAMPLE}");
            faults.push((entry.value.span.clone(), ValueError::new(what, hint)));
            return Err(faults);
        }
        Some((data, entry)) => {
            let what = format!("expected a table of tags, found {}", data.noun());
            faults.push((entry.value.span.clone(), ValueError::new(what, EXAMPLE)));
            return Err(faults);
        }
        None if faults.is_empty() => {
            let fault = ValueError::new("an empty table", EXAMPLE);
            return Err(vec![(value.span.clone(), fault)]);
        }
        None => return Err(faults),
    };
    let mut found = BTreeMap::new();
    for entry in &tags.entries {
        match tag(entry) {
            Ok((key, value)) => drop(found.insert(key, value)),
            Err(fault) => faults.push((entry.value.span.clone(), fault)),
        }
    }
    match faults.is_empty() {
        true => Ok(Target::Tags(found)),
        false => Err(faults),
    }
}

/// Parses a tag. Limits of AWS: keys of up to 128 and values of up to 256 characters. EC2 allows
/// every character in its tags, other services only letters, digits, spaces and some signs. A `*`
/// would be taken for a wildcard, which DescribeInstanceInformation does not have.
fn tag(entry: &Entry) -> Result<(String, String), ValueError> {
    let ValueData::Text(value) = &entry.value.data else {
        let what = format!(
            "expected the value of a tag in quotes, found {}",
            entry.value.data.noun()
        );
        return Err(ValueError::new(what, EXAMPLE));
    };
    let fits = |text: &str, most: usize| {
        (1..=most).contains(&text.chars().count())
            && !text.contains(|c: char| c.is_control() || c == '*')
    };
    if !fits(&entry.key, MAX_KEY) {
        let what = format!("{} is not a valid tag key", quoted(&entry.key));
        return Err(ValueError::new(
            what,
            format!("AWS allows 1 to {MAX_KEY} characters; {COMPARED}"),
        ));
    }
    if !fits(value, MAX_VALUE) {
        let what = format!("{} is not a valid tag value", quoted(value));
        return Err(ValueError::new(
            what,
            format!("AWS allows 1 to {MAX_VALUE} characters; {COMPARED}"),
        ));
    }
    Ok((entry.key.clone(), value.clone()))
}

const TAGS: &str = "tags";

/// The end of a hint about characters.
const COMPARED: &str =
    "no control character, and no `*`, because the whole text is compared without wildcards";

const EXAMPLE: &str = "for example `target = { tags = { Name = \"bastion\" } }`";

/// Maximum number of targets. Each costs a StartSession call while a connection waits.
const MAX_TARGETS: usize = 8;

/// Maximum number of tags. Each is a filter in one lookup.
const MAX_TAGS: usize = 10;

/// Maximum characters of a tag key.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
