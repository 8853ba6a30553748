//! The format of the metrics that a client asks for.

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon::http) enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format for the values of the `Accept` headers: OpenMetrics if it is named and not
    /// less wanted than text. Without a usable value, text.
    pub(in crate::daemon::http) fn accepted<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let ranges: Vec<Range<'_>> = values
            .flat_map(|value| value.split(','))
            .filter_map(Range::parse)
            .collect();
        let open_metrics = ranges.iter().filter(|range| range.is_open_metrics());
        let open_metrics = open_metrics.map(|range| range.quality).max().unwrap_or(0);
        // The most specific range decides.
        let text = ["text/plain", "text/*", "*/*"].iter().find_map(|kind| {
            let of_kind = ranges.iter().filter(|range| range.is_text(kind));
            of_kind.map(|range| range.quality).max()
        });
        match open_metrics > 0 && open_metrics >= text.unwrap_or(0) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Returns the value of `Content-Type`.
    pub(in crate::daemon::http) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A media range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// Parses `type/subtype;name=value;…`. Returns `None` if the quality is invalid.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            kind: parts.next()?,
            version: None,
            quality: 1000,
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    fn is_open_metrics(&self) -> bool {
        self.kind
            .eq_ignore_ascii_case("application/openmetrics-text")
            && matches!(self.version, None | Some("1.0.0" | "0.0.1"))
    }

    fn is_text(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && matches!(self.version, None | Some("0.0.4"))
    }
}

/// Parses a quality: 0 to 1 with up to three decimal places. Returns it in thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Format {
        Format::accepted([value].into_iter())
    }

    #[test]
    fn open_metrics_is_sent_where_it_is_preferred() {
        // Sent by Prometheus 2.42 and 3.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for value in [
            old,
            new,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.5",
            "text/plain, application/openmetrics-text",
            "text/plain;q=0.1, */*;q=0.9, application/openmetrics-text;q=0.2",
        ] {
            assert_eq!(accepted(value), Format::OpenMetrics, "{value}");
        }
    }

    #[test]
    fn text_is_sent_otherwise() {
        assert_eq!(Format::accepted([].into_iter()), Format::Text);
        for value in [
            "",
            "*/*",
            "application/*",
            "text/plain",
            "nonsense;;=,",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.499, text/plain;q=0.5",
            "application/openmetrics-text;q=0.5, */*",
            "application/openmetrics-text;q=1.1",
            "application/openmetrics-text;q=-1",
            "application/openmetrics-text;q=0.1234",
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(accepted(value), Format::Text, "{value}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let values = ["text/plain;q=0.5", "application/openmetrics-text"];

        assert_eq!(Format::accepted(values.into_iter()), Format::OpenMetrics);
    }
}
