//! Durations as written by users: `500ms`, `30s`, `1m30s`, `2 hours`, `1.5h`.
//!
//! `humantime` parses them. Its months and years are rejected: they have no fixed length, and `M`
//! (months) is easily written for `m` (minutes).

use std::time::Duration;

/// Parses a duration. One that is too long for any use is [`Duration::MAX`].
///
/// # Errors
///
/// Fails if the text is not a duration.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    parse_checked(text).ok_or_else(|| NotADuration { hint: hint(text) })
}

/// Formats a duration (`1m30s`) such that [`parse`] returns the same one.
pub fn written(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut out = String::new();
    for (unit, nanos) in UNITS {
        if rest >= *nanos {
            out += &format!("{}{unit}", rest / nanos);
            rest %= nanos;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Error of a text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration; {hint}")]
pub struct NotADuration {
    /// What to write instead.
    pub hint: String,
}

fn parse_checked(text: &str) -> Option<Duration> {
    let digits = |part: &str| part.trim_start_matches('0').len();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let is_long = numbers.any(|number| digits(number) > MAX_DIGITS);
    let mut units = text.split(|c: char| !c.is_alphabetic());
    let is_calendar = |unit: &str| unit.starts_with(['M', 'y']) || unit.starts_with("mo");
    if text.len() > MAX_LENGTH || units.any(is_calendar) || has_split_number(text) {
        return None;
    }
    if is_long {
        return Some(Duration::MAX);
    }
    match humantime::parse_duration(text) {
        Err(humantime::DurationError::NumberOverflow) => Some(Duration::MAX),
        parsed => parsed.ok(),
    }
}

/// Returns whether there is space within a number. `humantime` ignores it, so that `1 30m` would be
/// 130 minutes.
fn has_split_number(text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    words
        .windows(2)
        .any(|pair| pair[0].ends_with(is_digit) && pair[1].starts_with(is_digit))
}

/// Returns the text in lower case, or with the unit of seconds, if that is a duration.
fn hint(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let lower = words.join(" ").to_ascii_lowercase();
    let mut likely = [lower.clone(), lower + "s"].into_iter();
    match likely.find(|text| parse_checked(text).is_some_and(|likely| likely < Duration::MAX)) {
        Some(likely) => format!("write \"{likely}\""),
        None => "write numbers with a unit: \"500ms\", \"30s\", \"5m\", \"1m30s\", \"1h\"".into(),
    }
}

/// Units of [`written`], in nanoseconds.
const UNITS: &[(&str, u128)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// Maximum length of a text. With [`MAX_DIGITS`] it keeps every sum far below [`Duration::MAX`]:
/// `humantime` 2.4 panics if seconds and nanoseconds together just exceed it.
const MAX_LENGTH: usize = 100;

/// Maximum digits of a number that is not too long for any use.
const MAX_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, micros) in [
            ("0", 0),
            ("0s", 0),
            ("250us", 250),
            ("500ms", 500_000),
            ("30s", 30_000_000),
            ("0000000000000030s", 30_000_000),
            ("1.5s", 1_500_000),
            ("90m", 5_400_000_000),
            ("1h2m3s4ms", 3_723_004_000),
            (" 2 hours 1 min ", 7_260_000_000),
            ("10s1m", 70_000_000),
            ("2d", 172_800_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        let long = "1s ".repeat(40);
        for bad in [
            "",
            " ",
            "s",
            "30",
            "-1s",
            "+1s",
            "1,5s",
            "1.s",
            "1e3s",
            "30S",
            "5M",
            "1mo",
            "1 month",
            "2y",
            "1year",
            "٣s",
            "３s",
            "30\u{3bc}s",
            "1 30m",
            "1 .5s",
            "1. 5s",
            "1m 30",
            "soon",
            "1s\0",
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad:?}: {:?}", parse(bad));
        }
    }

    #[test]
    fn durations_too_long_for_any_use_are_duration_max() {
        for long in [
            "99999999999999999999d",
            "18446744073709551615s1000ms",
            "5124095576030431h15s1000ms",
            "1000000000000h",
            "999999999999w 999999999999w",
        ] {
            let parsed = parse(long).unwrap();
            assert!(parsed > Duration::from_secs(u32::MAX.into()), "{long}");
        }
    }

    #[test]
    fn a_typing_error_is_corrected_in_the_hint() {
        for (text, meant) in [
            ("30", "30s"),
            ("30S", "30s"),
            ("5 Minutes", "5 minutes"),
            ("5M", "5m"),
            ("1m30", "1m30s"),
            ("1\n H", "1 h"),
        ] {
            assert_eq!(parse(text).unwrap_err().hint, format!("write \"{meant}\""));
        }
        for text in ["", "soon", "1Y"] {
            assert!(
                parse(text).unwrap_err().hint.contains("\"500ms\""),
                "{text}"
            );
        }
    }

    #[test]
    fn a_formatted_duration_can_be_parsed() {
        for nanos in [
            0,
            1,
            999_999,
            1_000_000_000,
            90_000_000_000,
            86_400_000_000_000,
            3_723_004_005_006,
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&written(duration)), Ok(duration));
        }
        assert_eq!(written(Duration::from_millis(90_004)), "1m30s4ms");
    }
}
