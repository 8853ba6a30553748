//! Converts values of the file to types of the model, by the kind of their setting.

use std::ops::Range;
use std::slice;
use std::time::Duration;

use crate::config::check::address::{ListenAddress, port_number};
use crate::config::check::units::{duration, format_size, size};
use crate::config::diagnostic::ValueError;
use crate::config::document::{Value, ValueData};
use crate::config::model::{Allow, Listen, Parameters, Remote, Targets};
use crate::config::settings::{Default, Kind, Section, Setting};
use crate::config::source::quoted;
use crate::config::suggest::closest_match;
use crate::duration::written;

/// A type of the model that a value is converted to.
pub(super) trait FromValue: Sized {
    /// Converts a value, whose setting has a kind of this type.
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self>;
}

/// A valid value, or all errors in it.
pub(super) type Checked<T> = Result<T, Vec<SpannedError>>;

/// An error and its range: the value or a part of it.
pub(super) type SpannedError = (Range<usize>, ValueError);

/// Addresses as they are written, with their ranges; at least one.
pub(super) type WrittenAddresses = Vec<(ListenAddress, Range<usize>)>;

/// Addresses with their ranges.
pub(super) type Addresses = Vec<(Listen, Range<usize>)>;

/// Returns all errors of a value.
pub(super) fn errors(setting: &Setting, value: &Value) -> Vec<SpannedError> {
    fn of<T: FromValue>(setting: &Setting, value: &Value) -> Vec<SpannedError> {
        T::from_value(setting, value).err().unwrap_or_default()
    }
    let errors = match setting.kind {
        Kind::Flag => of::<bool>,
        Kind::Number(..) | Kind::Size(..) => of::<u64>,
        Kind::Duration(..) => of::<Duration>,
        Kind::Choice(_) | Kind::Text(..) => of::<String>,
        Kind::Listen => of::<WrittenAddresses>,
        Kind::Hosts => of::<Vec<String>>,
        Kind::Target => of::<Targets>,
        Kind::Remote => of::<Remote>,
        Kind::Allow => of::<Allow>,
        Kind::Parameters => of::<Parameters>,
    };
    errors(setting, value)
}

/// Returns the default of a setting; `None` if it has none.
pub(super) fn default(setting: &Setting) -> Option<Value> {
    let data = match setting.absent {
        Default::Required | Default::Unless(_) | Default::None => return None,
        Default::Text(text) => ValueData::Text(text.to_owned()),
        Default::Number(number) => ValueData::Number(number.into()),
        Default::Flag(flag) => ValueData::Flag(flag),
    };
    Some(Value { span: 0..0, data })
}

/// Returns the check of a value that replaces the string of the setting `key`: an argument or a
/// variable.
pub fn argument(
    key: &str,
) -> impl Fn(&str) -> Result<String, ValueError> + Clone + Send + Sync + use<> {
    let setting = Section::section_with_key(key).and_then(|section| section.setting(key));
    let Some(Kind::Text(_, check)) = setting.map(|setting| setting.kind) else {
        unreachable!("`{key}` is no setting with a string");
    };
    move |text| check(text).map(|()| text.to_owned())
}

impl FromValue for bool {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let ValueData::Flag(flag) = value.data else {
            return wrong_type(setting, value);
        };
        Ok(flag)
    }
}

impl FromValue for u64 {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let number = match (setting.kind, &value.data) {
            (Kind::Number(min, max), ValueData::Number(number)) => whole(*number, min, max),
            (Kind::Size(min, max), ValueData::Text(text)) => {
                size(text).and_then(|size| within(text, size, (min, max), "size", format_size))
            }
            _ => return wrong_type(setting, value),
        };
        number.map_err(|error| at(value, error))
    }
}

impl FromValue for Duration {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        match (setting.kind, &value.data) {
            (Kind::Duration(min, max), ValueData::Text(text)) => duration(text)
                .and_then(|time| within(text, time, (min, max), "duration", written))
                .map_err(|error| at(value, error)),
            _ => wrong_type(setting, value),
        }
    }
}

impl FromValue for String {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let (checked, text) = match (setting.kind, &value.data) {
            (Kind::Text(_, check), ValueData::Text(text)) => (check(text), text),
            (Kind::Choice(words), ValueData::Text(text)) => (choice(text, words), text),
            _ => return wrong_type(setting, value),
        };
        checked
            .map(|()| text.clone())
            .map_err(|error| at(value, error))
    }
}

impl FromValue for Remote {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        let remote = match (setting.kind, &value.data) {
            (Kind::Remote, ValueData::Text(text)) => text.parse(),
            (Kind::Remote, ValueData::Number(number)) => port_number(*number, 1).map(Self::Port),
            _ => return wrong_type(setting, value),
        };
        remote.map_err(|error| at(value, error))
    }
}

impl FromValue for WrittenAddresses {
    fn from_value(setting: &Setting, value: &Value) -> Checked<Self> {
        one_or_many(value, MAX_ADDRESSES, "addresses", |value| {
            let listen = match (setting.kind, &value.data) {
                (Kind::Listen, ValueData::Text(text)) => text.parse(),
                (Kind::Listen, ValueData::Number(number)) => port_number(*number, 0)
                    .map(Listen::Localhost)
                    .map(ListenAddress::Fixed),
                _ => return wrong_type(setting, value),
            };
            let listen = listen.map_err(|error| at(value, error))?;
            Ok((listen, value.span.clone()))
        })
    }
}

/// Converts each value of an array, or a value that is not in an array.
pub(super) fn one_or_many<T>(
    value: &Value,
    most: usize,
    type_name: &str,
    one: impl Fn(&Value) -> Checked<T>,
) -> Checked<Vec<T>> {
    let values = if let ValueData::Array(values) = &value.data {
        values
    } else {
        slice::from_ref(value)
    };
    if !(1..=most).contains(&values.len()) {
        let what = format!("an array of {} {type_name}", values.len());
        let hint = format!("write 1 to {most} of them");
        return Err(at(value, ValueError::new(what, hint)));
    }
    all(values.iter().map(one))
}

/// Returns all values, or all errors.
pub(super) fn all<T, C: FromIterator<T>>(items: impl Iterator<Item = Checked<T>>) -> Checked<C> {
    let mut errors = Vec::new();
    let valid = items.filter_map(|item| item.map_err(|found| errors.extend(found)).ok());
    let valid = valid.collect();
    match errors.is_empty() {
        true => Ok(valid),
        false => Err(errors),
    }
}

/// Returns the error of a whole value.
pub(super) fn at(value: &Value, error: ValueError) -> Vec<SpannedError> {
    vec![(value.span.clone(), error)]
}

fn choice(text: &str, words: &[&str]) -> Result<(), ValueError> {
    if words.contains(&text) {
        return Ok(());
    }
    let hint = match closest_match(text, words.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write \"{}\"", words.join("\" or \"")),
    };
    let what = format!("{} is not a valid value", quoted(text));
    Err(ValueError::new(what, hint))
}

fn whole(number: i128, min: u64, max: u64) -> Result<u64, ValueError> {
    let fitting = u64::try_from(number).ok();
    let fitting = fitting.filter(|number| (min..=max).contains(number));
    fitting.ok_or_else(|| {
        // One that overflowed the type is shown without digits.
        let what = match number {
            i128::MAX => "the number is out of range".to_owned(),
            number => format!("{number} is out of range"),
        };
        ValueError::new(what, format!("write a whole number from {min} to {max}"))
    })
}

/// Checks an amount against its range. `written` formats it as in the file.
fn within<T: Copy + PartialOrd>(
    text: &str,
    amount: T,
    (min, max): (T, T),
    type_name: &str,
    written: fn(T) -> String,
) -> Result<T, ValueError> {
    if (min..=max).contains(&amount) {
        return Ok(amount);
    }
    let (min, max) = (written(min), written(max));
    let hint = format!("write a {type_name} from \"{min}\" to \"{max}\"");
    let what = format!("{} is out of range", quoted(text));
    Err(ValueError::new(what, hint))
}

/// Returns a type error that names the expected type and gives an example.
pub(super) fn wrong_type<T>(setting: &Setting, value: &Value) -> Checked<T> {
    let wanted = match setting.kind {
        Kind::Flag => "true or false",
        Kind::Number(..) => "a whole number",
        Kind::Duration(..) => "a duration in quotes",
        Kind::Size(..) => "a size in quotes",
        Kind::Choice(_) | Kind::Text(..) => "a string",
        Kind::Listen => "a port, an address or an array of them",
        Kind::Hosts => "an array of strings",
        Kind::Target => "a string, a table `tags` or `ecs`, or an array of them",
        Kind::Remote => "a string \"host:port\" or a port",
        Kind::Allow => "an array of strings \"host:port\"",
        Kind::Parameters => "a table of strings",
    };
    let what = format!("expected {wanted}, found {}", value.data.type_name());
    let hint = match rewritten(setting, &value.data) {
        Some(value) => format!("write `{} = {value}`", setting.key),
        None => format!("for example `{}`", setting.example()),
    };
    Err(at(value, ValueError::new(what, hint)))
}

/// Returns the value in the right type, if the intention is clear.
fn rewritten(setting: &Setting, data: &ValueData) -> Option<String> {
    match (setting.kind, data) {
        (Kind::Flag, ValueData::Text(text)) => Some(text.parse::<bool>().ok()?.to_string()),
        (Kind::Number(..), ValueData::Text(text)) => Some(text.parse::<u64>().ok()?.to_string()),
        (Kind::Duration(..), ValueData::Number(number)) => {
            Some(format!("\"{}s\"", u32::try_from(*number).ok()?))
        }
        (Kind::Size(..), ValueData::Number(number)) => {
            Some(format!("\"{}\"", format_size(u64::try_from(*number).ok()?)))
        }
        _ => None,
    }
}

/// Maximum number of addresses of a table.
const MAX_ADDRESSES: usize = 16;
