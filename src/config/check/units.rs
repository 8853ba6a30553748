//! Durations and sizes with units.
//!
//! ```text
//!   "500ms"  "30s"  "5m"  "1h"  "1m30s"      one or more numbers, each with a unit, larger first
//!   "1024B"  "256KiB"  "1MiB"  "2GiB"        one number with a unit
//! ```

use std::time::Duration;

use crate::config::diagnostic::ValueError;
use crate::config::source::quoted;

/// Parses a duration.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let mut units = TIME.iter();
    let mut total = Some(Duration::ZERO);
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, behind) = part(rest).ok_or_else(|| no_duration(text))?;
        let (_, millis) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| no_duration(text))?;
        let part = number.and_then(|number| number.checked_mul(*millis));
        total = total
            .zip(part)
            .and_then(|(total, part)| total.checked_add(Duration::from_millis(part)));
        rest = behind;
    }
    if text.is_empty() {
        return Err(no_duration(text));
    }
    // A duration that overflows the type is out of every range.
    Ok(total.unwrap_or(Duration::MAX))
}

/// Parses a size in bytes.
pub(super) fn size(text: &str) -> Result<u64, ValueError> {
    let (number, unit, behind) = part(text).ok_or_else(|| no_size(text))?;
    let (_, bytes) = SIZE
        .iter()
        .find(|(name, _)| *name == unit && behind.is_empty())
        .ok_or_else(|| no_size(text))?;
    let total = number.and_then(|number| number.checked_mul(*bytes));
    Ok(total.unwrap_or(u64::MAX))
}

/// Formats a duration as in the file (`1m30s`); fractions of a millisecond are dropped.
pub fn written_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (unit, millis) in TIME {
        if rest >= *millis {
            out += &format!("{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Formats a size as in the file, in the largest unit that divides it (`256KiB`).
pub fn written_size(bytes: u64) -> String {
    let divides = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZE.iter().find(divides).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

/// Splits off a number and its unit; the third value is the rest. The number is `None` on overflow.
fn part(text: &str) -> Option<(Option<u64>, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic());
    let (unit, behind) = rest.split_at(letters.unwrap_or(rest.len()));
    (!number.is_empty()).then(|| (number.parse().ok(), unit, behind))
}

fn no_duration(text: &str) -> ValueError {
    let what = format!("{} is not a duration", quoted(text));
    let likely = likely_unit(text, LIKELY_TIME);
    let hint = "write numbers with a unit, larger units first: \"500ms\", \"30s\", \"5m\", \"1m30s\", \"1h\"";
    ValueError::new(what, likely.unwrap_or_else(|| hint.to_owned()))
}

fn no_size(text: &str) -> ValueError {
    let what = format!("{} is not a size", quoted(text));
    let likely = likely_unit(text, LIKELY_SIZE);
    let hint = "write a whole number and B, KiB, MiB or GiB: \"256KiB\"";
    ValueError::new(what, likely.unwrap_or_else(|| hint.to_owned()))
}

/// Returns a hint for a number with a recognisable unit.
fn likely_unit(text: &str, units: &[(&str, &str)]) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u32 = digits.parse().ok()?;
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let (_, meant) = units.iter().find(|(name, _)| *name == unit)?;
    Some(format!("write \"{number}{meant}\""))
}

/// Units in milliseconds.
const TIME: &[(&str, u64)] = &[("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units in bytes.
const SIZE: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Common spellings of time units, in lower case, and their names here.
const LIKELY_TIME: &[(&str, &str)] = &[
    ("", "s"),
    ("ms", "ms"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("s", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "m"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("h", "h"),
    ("hour", "h"),
    ("hours", "h"),
];

/// Common spellings of size units; decimal units are taken as binary ones.
const LIKELY_SIZE: &[(&str, &str)] = &[
    ("", "B"),
    ("b", "B"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("ki", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("mi", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("gi", "GiB"),
    ("gib", "GiB"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_larger_first() {
        let millis = |text| duration(text).unwrap().as_millis();

        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis("30s"), 30_000);
        assert_eq!(millis("90m"), 5_400_000);
        assert_eq!(millis("1h2m3s4ms"), 3_723_004);
        for bad in [
            "", "s", "30", "30 s", "1.5s", "-1s", "1s1m", "1s1s", "30S", "1d", "٣s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_a_number_with_a_binary_unit() {
        assert_eq!(size("0B").unwrap(), 0);
        assert_eq!(size("256KiB").unwrap(), 262_144);
        assert_eq!(size("2GiB").unwrap(), 2_147_483_648);
        for bad in [
            "", "KiB", "256", "256 KiB", "256KB", "1MiB1KiB", "1kib", "-1B",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_too_long_to_count_are_the_largest() {
        assert_eq!(duration("99999999999999999999999h").unwrap(), Duration::MAX);
        assert_eq!(duration("5124095576031h1m").unwrap(), Duration::MAX);
        assert_eq!(size("99999999999999999999GiB").unwrap(), u64::MAX);
    }

    #[test]
    fn a_unit_that_can_be_guessed_is_named() {
        let hint = |text| duration(text).unwrap_err().hint().to_owned();

        assert_eq!(hint("30"), "write \"30s\"");
        assert_eq!(hint("5 Minutes"), "write \"5m\"");
        assert_eq!(size("256KB").unwrap_err().hint(), "write \"256KiB\"");
    }

    #[test]
    fn what_is_written_can_be_read() {
        for millis in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000, 3_723_004] {
            let amount = Duration::from_millis(millis);
            assert_eq!(duration(&written_duration(amount)), Ok(amount));
        }
        for bytes in [0, 1, 1023, 1024, 262_144, 1 << 20, (1 << 30) + 1] {
            assert_eq!(size(&written_size(bytes)), Ok(bytes));
        }
    }
}
