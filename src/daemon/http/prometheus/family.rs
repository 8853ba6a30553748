//! A family of metrics: name, type, help, and how its samples are read.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// A family of metrics whose samples are read from a `T`.
pub(super) struct Family<T> {
    /// Complete name, with the suffixes of unit and type.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// One sentence, without a full stop.
    pub(super) help: &'static str,
    pub(super) samples: for<'a> fn(&'a T) -> Vec<Sample<'a>>,
}

/// A sample: labels and value.
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: Value<'a>,
}

/// Name and value of a label.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Value of a sample.
pub(super) enum Value<'a> {
    Integer(u64),
    Float(f64),
    Histogram(&'a Histogram),
}

impl<'a> Sample<'a> {
    /// Creates a sample with labels.
    pub(super) fn new(labels: impl Into<Vec<Label<'a>>>, value: impl Into<Value<'a>>) -> Self {
        Self {
            labels: labels.into(),
            value: value.into(),
        }
    }

    /// Creates the only sample of a family without labels.
    pub(super) fn only(value: impl Into<Value<'a>>) -> Vec<Self> {
        vec![Self::new([], value)]
    }
}

impl<T> Family<T> {
    /// Writes the description and all samples.
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>, source: &T) -> fmt::Result {
        let (name, unit) = self.base_name();
        let help = format!("{}.", self.help);
        let mut family = encoder.encode_descriptor(name, &help, unit.as_ref(), self.kind)?;
        for Sample { labels, value } in (self.samples)(source) {
            if self.kind == MetricType::Info {
                family.encode_info(&labels)?;
            } else {
                value.encode(self.kind, family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// Returns the name without the suffixes that the encoder adds, and the unit.
    fn base_name(&self) -> (&'static str, Option<Unit>) {
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        let name = self.name.strip_suffix(suffix).unwrap_or(self.name);
        for (suffix, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
            if let Some(name) = name.strip_suffix(suffix) {
                return (name, Some(unit));
            }
        }
        (name, None)
    }
}

impl Value<'_> {
    fn encode(&self, kind: MetricType, encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self, kind) {
            (Self::Integer(value), MetricType::Counter) => {
                ConstCounter::new(*value).encode(encoder)
            }
            (Self::Float(value), MetricType::Counter) => ConstCounter::new(*value).encode(encoder),
            (Self::Integer(value), _) => ConstGauge::new(*value).encode(encoder),
            (Self::Float(value), _) => ConstGauge::new(*value).encode(encoder),
            (Self::Histogram(histogram), _) => histogram.encode(encoder),
        }
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<SystemTime> for Value<'_> {
    /// Seconds since 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::Float(since.as_secs_f64())
    }
}

impl<'a> From<&'a Histogram> for Value<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        Self::Histogram(histogram)
    }
}
