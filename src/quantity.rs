//! Sizes, rates and times for people. JSON and logs have plain numbers in base units instead.
//!
//! `duration` writes durations as the configuration does; these are shorter and rounded.

use std::time::Duration;

/// Returns a size: `1023 B`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB"].iter();
    let mut unit = "B";
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// Returns a rate: `1.5 MiB/s`.
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// Returns a time in its two largest units: `45s`, `3m 20s`, `2h 5m`, `4d 3h`.
pub fn time(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, unit)| seconds >= *unit);
    let first = first.unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, unit) in &units[first..units.len().min(first + 2)] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || parts.is_empty() {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

/// Returns a short time: `23ms`, `1.5s`; from ten seconds on as [`time`].
pub fn milliseconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        1000..10_000 => format!("{:.1}s", milliseconds as f64 / 1000.0),
        _ => time(milliseconds / 1000),
    }
}

/// Returns a duration: as [`milliseconds`], but with whole seconds without a fraction.
pub fn duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => time(duration.as_secs()),
        _ => milliseconds(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_binary_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(rate(2048), "2.0 KiB/s");
    }

    #[test]
    fn a_time_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (200, "3m 20s"),
            (3600, "1h"),
            (3605, "1h"),
            (7500, "2h 5m"),
            (86_399, "23h 59m"),
            (356_400, "4d 3h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn a_short_time_has_milliseconds() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (1540, "1.5s"),
            (10_400, "10s"),
            (200_000, "3m 20s"),
        ] {
            assert_eq!(milliseconds(millis), text);
        }
        for (millis, text) in [(0, "0s"), (500, "500ms"), (2000, "2s"), (90_000, "1m 30s")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
