//! Bounds of values in JSON: values impossible for a service or path are rejected.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, de};

/// A probability per thousand.
pub(super) fn per_mille<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(deserializer, 0..=1000)
}

/// N in "every Nth".
pub(super) fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1..=u32::MAX)
}

/// HTTP status of a rejection.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(deserializer, 400..=599)
}

/// Close code of a websocket, or 1006.
pub(super) fn close_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(deserializer, 1000..=4999)
}

/// Error code of the API.
pub(super) fn error_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let code = String::deserialize(deserializer)?;
    let fits = !code.is_empty() && code.chars().all(|c| c.is_ascii_alphanumeric());
    let problem = || de::Error::custom("expected an error code, for example ThrottlingException");
    fits.then_some(code).ok_or_else(problem)
}

fn within<'de, D, T>(deserializer: D, bounds: RangeInclusive<T>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Display + PartialOrd,
{
    let got = T::deserialize(deserializer)?;
    if bounds.contains(&got) {
        return Ok(got);
    }
    let (least, most) = bounds.into_inner();
    Err(de::Error::custom(format_args!(
        "{got} is out of range; expected {least} to {most}"
    )))
}
