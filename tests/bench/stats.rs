//! Medians and percentiles, and how they are printed.

use std::time::Duration;

/// Samples of one quantity, sorted.
#[derive(Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Sorts them.
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// In microseconds.
    pub(crate) fn micros(samples: &[Duration]) -> Self {
        Self::new(samples.iter().map(|d| d.as_secs_f64() * 1e6).collect())
    }

    /// The smallest value that `percent` of all values do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len() - 1;
        self.0[(self.0.len() * percent / 100).min(last)]
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// Bounds of the median of the distribution that the samples are from, with a confidence of 95 %,
    /// whatever the distribution is: ranks from the normal approximation of the binomial
    /// distribution.
    pub(crate) fn median_interval(&self) -> (f64, f64) {
        let len = self.0.len();
        // 0.98 √len, rounded up.
        let distance = (len * 9604 / 10_000).isqrt() + 1;
        let low = (len / 2).saturating_sub(distance);
        let high = (len.div_ceil(2) + distance).min(len - 1);
        (self.0[low], self.0[high])
    }

    /// `median (smallest – largest)`.
    pub(crate) fn spread(&self) -> String {
        let (min, max) = (self.percentile(0), self.percentile(100));
        format!("{:7.1} ({min:5.0} –{max:5.0})", self.median())
    }
}

/// The speed of `bytes` in `time`.
pub(crate) fn mib_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / time.as_secs_f64()
}

/// A headline above a table.
pub(crate) fn title(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}
