//! Durations in options and JSON.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::duration;

/// Parses a duration.
///
/// # Errors
///
/// Fails with a text for the user.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(duration) if duration <= MAX => Ok(duration),
        Ok(_) => Err("too long".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Deserializes a duration field.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(de::Error::custom)
}

/// Serializes a duration in the format of [`parse_duration`].
pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::written(*value))
}

/// Same for optional fields.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A duration that is present, in the format of [`parse_duration`](super::parse_duration).
    #[derive(Deserialize, Serialize)]
    struct Present(#[serde(with = "super")] Duration);

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let present = Option::<Present>::deserialize(deserializer)?;
        Ok(present.map(|Present(value)| value))
    }

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Present).serialize(serializer)
    }
}

/// Maximum; can be added to every time.
const MAX: Duration = Duration::from_secs(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_can_be_added_to_every_time() {
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse_duration("4294967295s"), Ok(MAX));
        for bad in ["", "5", "4294967296s", "99999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
