//! Counters and histograms of the forwards of one name, across reloads.
//!
//! The forward that a reload starts shares them with its predecessor, whose connections go on
//! counting while they finish. They never decrease.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection::{ConnectionRecord, EndReason};
use super::timings::Timings;
use crate::error_class::ErrorClass;

/// Counters and histograms of the forwards of one name.
#[derive(Debug, Default)]
pub struct ForwardTotals {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Bytes read from clients.
    pub sent: AtomicU64,
    /// Bytes written to clients.
    pub received: AtomicU64,
    /// Sessions started by AWS.
    pub started: AtomicU64,
    /// Failed attempts to establish a session.
    pub failed: AtomicU64,
    /// Websockets that replaced a broken one.
    pub resumed: AtomicU64,
    /// Messages sent to the agent for the first time.
    pub messages_sent: Arc<AtomicU64>,
    /// Messages sent to the agent again.
    pub messages_retransmitted: Arc<AtomicU64>,
    /// How long connecting, connections and stalls take.
    pub timings: Timings,
    /// Stripes to a relay that could not be started or were lost.
    pub stripe_failures: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Failures of each class.
    failures: BTreeMap<ErrorClass, u64>,
    /// Failed sessions of each class.
    sessions: BTreeMap<ErrorClass, u64>,
    /// Connections that ended for each reason.
    ends: BTreeMap<EndReason, u64>,
}

impl ForwardTotals {
    /// Returns the number of connections that ended for each reason.
    pub fn ends(&self) -> BTreeMap<EndReason, u64> {
        self.counts().ends.clone()
    }

    /// Returns the number of failures of each class that occurred.
    pub fn failures(&self) -> BTreeMap<ErrorClass, u64> {
        self.counts().failures.clone()
    }

    /// Returns the number of failed sessions of each class that occurred.
    pub fn session_failures(&self) -> BTreeMap<ErrorClass, u64> {
        self.counts().sessions.clone()
    }

    pub(super) fn count_failure(&self, class: ErrorClass) {
        *self.counts().failures.entry(class).or_default() += 1;
    }

    pub(super) fn count_failed_session(&self, class: ErrorClass) {
        self.failed.fetch_add(1, Relaxed);
        *self.counts().sessions.entry(class).or_default() += 1;
    }

    pub(super) fn record_end(&self, record: &ConnectionRecord) {
        self.timings.record_end(record);
        *self.counts().ends.entry(record.reason).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
