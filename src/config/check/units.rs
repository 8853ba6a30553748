//! Durations and sizes with units.
//!
//! ```text
//!   "500ms"  "30s"  "1m30s"  "2 hours"    one or more numbers with units; see `duration`
//!   "1024B"  "256KiB"  "1MiB"  "2GiB"     a whole number with a unit
//! ```

use std::time::Duration;

use crate::config::diagnostic::ValueError;
use crate::config::source::quoted;
use crate::duration;

/// Parses a duration.
///
/// # Errors
///
/// Fails if it is not valid.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    duration::parse(text)
        .map_err(|error| ValueError::new(format!("{} is not a duration", quoted(text)), error.hint))
}

/// Parses a size in bytes.
pub(super) fn size(text: &str) -> Result<u64, ValueError> {
    let is_digit = |c: char| c.is_ascii_digit();
    let (digits, unit) = text.split_at(text.len() - text.trim_start_matches(is_digit).len());
    let bytes = SIZE.iter().find(|(name, _)| *name == unit);
    match bytes.filter(|_| !digits.is_empty()) {
        // A size that overflows the type is out of every range.
        Some((_, bytes)) => Ok(digits.parse().unwrap_or(u64::MAX).saturating_mul(*bytes)),
        None => Err(no_size(text)),
    }
}

/// Formats a size as in the file, in the largest unit that divides it (`256KiB`).
pub fn format_size(bytes: u64) -> String {
    let divides = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZE.iter().find(divides).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

fn no_size(text: &str) -> ValueError {
    let what = format!("{} is not a size", quoted(text));
    let hint = likely_size(text).map_or_else(
        || "write a whole number and B, KiB, MiB or GiB: \"256KiB\"".to_owned(),
        |likely| format!("write \"{likely}\""),
    );
    ValueError::new(what, hint)
}

/// Returns the size that was probably meant: a number and the unit that begins with the same
/// letter. Decimal units are taken as binary ones.
fn likely_size(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u32 = digits.parse().ok()?;
    let letter = text[digits.len()..].trim_start().chars().next();
    let is_meant =
        |(unit, _): &&(&str, u64)| unit.starts_with(letter.unwrap_or('B').to_ascii_uppercase());
    let (unit, _) = SIZE.iter().find(is_meant)?;
    Some(format!("{number}{unit}"))
}

/// Units in bytes.
const SIZE: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_size_can_be_parsed() {
        for bytes in [0, 1, 1023, 1024, 262_144, 1 << 20, (1 << 30) + 1] {
            assert_eq!(size(&format_size(bytes)), Ok(bytes));
        }
    }
}
