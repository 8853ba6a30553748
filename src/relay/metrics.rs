//! Counters of a relay, and its state for status and metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::bundle_driver::BundleStatus;

/// A counter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of a relay.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) bundles: Counter,
    pub(super) flows: Counter,
    pub(super) failed_flows: Counter,
    pub(super) denied_flows: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) rejected_streams: Counter,
    pub(super) refused_stripes: Counter,
}

/// State of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayReport {
    /// The open bundles.
    pub bundles: Vec<BundleReport>,
    /// Bundles created so far.
    pub total_bundles: u64,
    /// Flows connected so far.
    pub total_flows: u64,
    /// Flows that could not be connected.
    pub failed_flows: u64,
    /// Flows of those that no rule allows.
    pub denied_flows: u64,
    /// Bytes sent to destinations.
    pub sent: u64,
    /// Bytes received from destinations.
    pub received: u64,
    /// Byte streams that did not begin with a HELLO.
    pub rejected_streams: u64,
    /// Stripes that were refused.
    pub refused_stripes: u64,
}

/// State of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleReport {
    /// Number of the bundle in the log.
    pub number: u64,
    /// Its stripes and flows.
    pub status: BundleStatus,
}

impl Metrics {
    pub(super) fn report(&self, bundles: Vec<BundleReport>) -> RelayReport {
        RelayReport {
            bundles,
            total_bundles: self.bundles.get(),
            total_flows: self.flows.get(),
            failed_flows: self.failed_flows.get(),
            denied_flows: self.denied_flows.get(),
            sent: self.sent.get(),
            received: self.received.get(),
            rejected_streams: self.rejected_streams.get(),
            refused_stripes: self.refused_stripes.get(),
        }
    }
}
