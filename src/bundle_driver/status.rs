//! The state of a bundle, for status and metrics.

use super::shared::Shared;
use crate::bundle::report::StripeReport;

/// State of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleStatus {
    /// Its stripes, connecting ones included.
    pub stripes: Vec<StripeStatus>,
    /// The number of stripes that the bundle wants (daemon).
    pub stripes_wanted: usize,
    /// The number of flows, those included whose end is not complete.
    pub flows: usize,
}

/// State of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeStatus {
    /// What the bundle knows about it.
    pub report: StripeReport,
    /// Bytes sent on it.
    pub sent: u64,
    /// Bytes received on it.
    pub received: u64,
}

impl BundleStatus {
    pub(super) fn of(shared: &Shared) -> Self {
        let inner = shared.lock();
        let stripes = inner.bundle.stripe_reports().map(|report| {
            let slot = inner.stripes.get(&report.id);
            let (sent, received) = slot.map_or((0, 0), |slot| (slot.sent, slot.received));
            StripeStatus {
                report,
                sent,
                received,
            }
        });
        Self {
            stripes: stripes.collect(),
            stripes_wanted: inner.bundle.stripes_wanted(),
            flows: inner.bundle.flow_count(),
        }
    }
}
