//! What is known about the bundle of a forward, for status and metrics: the state of its stripes,
//! their sessions, and their last failure.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bundle::ids::StripeId;
use crate::bundle::report::StripePhase;
use crate::bundle_driver::{BundleStatus, StripeStatus};
use crate::printable::Printable;
use crate::telemetry::{FailureStatus, StripeState};

/// What the supplier of the stripes records.
#[derive(Debug, Default)]
pub(super) struct BundleRecords(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    /// When the current bundle began.
    began: Option<Instant>,
    origins: BTreeMap<StripeId, Origin>,
    failure: Option<FailureStatus>,
}

/// Where a stripe comes from.
#[derive(Clone, Debug)]
struct Origin {
    session: Printable,
    since: Instant,
}

/// A bundle at one moment.
#[derive(Clone, Debug, Default)]
pub struct BundleInfo {
    /// Time since it began.
    pub age: Duration,
    /// Connections, those included whose end is not complete.
    pub flows: usize,
    /// Number of stripes that it wants.
    pub wanted: usize,
    /// Its stripes, oldest first.
    pub stripes: Vec<StripeInfo>,
}

/// A stripe at one moment.
#[derive(Clone, Debug)]
pub struct StripeInfo {
    /// Its number within the bundle.
    pub id: u64,
    /// Session id.
    pub session: Option<Printable>,
    /// State.
    pub state: StripeState,
    /// Time since its stream was open.
    pub age: Duration,
    /// Bytes sent on it.
    pub sent: u64,
    /// Bytes received on it.
    pub received: u64,
    /// Bytes per second that the relay has received on it at most in the last seconds, once it was
    /// measured.
    pub delivery_rate: Option<u64>,
    /// Smoothed round trip, once it was measured.
    pub round_trip: Option<Duration>,
    /// Bytes for the relay that it has not acknowledged.
    pub unacknowledged: u64,
}

impl BundleInfo {
    /// Returns the number of stripes in a state.
    pub fn in_state(&self, state: StripeState) -> usize {
        let stripes = self.stripes.iter();
        stripes.filter(|stripe| stripe.state == state).count()
    }

    /// Returns the bytes per second that the relay has received at most in the last seconds, if that
    /// was measured.
    pub fn delivery_rate(&self) -> Option<u64> {
        let rates = self.connected().filter_map(|stripe| stripe.delivery_rate);
        rates.reduce(u64::saturating_add)
    }

    /// Returns the bytes for the relay that it has not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.stripes
            .iter()
            .map(|stripe| stripe.unacknowledged)
            .sum()
    }

    /// Returns the longest smoothed round trip, if one was measured.
    pub fn longest_round_trip(&self) -> Option<Duration> {
        let round_trips = self.connected().filter_map(|stripe| stripe.round_trip);
        round_trips.max()
    }

    fn connected(&self) -> impl Iterator<Item = &StripeInfo> {
        let is_connected = |stripe: &&StripeInfo| stripe.state == StripeState::Connected;
        self.stripes.iter().filter(is_connected)
    }
}

impl BundleRecords {
    /// A bundle begins.
    pub(super) fn handle_bundle(&self, now: Instant) {
        let mut records = self.lock();
        records.began = Some(now);
        records.origins.clear();
    }

    /// A stripe was added to the bundle.
    pub(super) fn handle_stripe(&self, now: Instant, id: StripeId, session: Printable) {
        let since = now;
        self.lock().origins.insert(id, Origin { session, since });
    }

    /// A stripe has ended.
    pub(super) fn handle_stripe_end(&self, id: StripeId) {
        self.lock().origins.remove(&id);
    }

    /// A stripe could not be started or was lost.
    pub(super) fn handle_failure(&self, failure: FailureStatus) {
        self.lock().failure = Some(failure);
    }

    /// Returns the last failure of a stripe.
    pub(super) fn failure(&self) -> Option<FailureStatus> {
        self.lock().failure.clone()
    }

    /// Returns what is known about the current bundle.
    pub(super) fn info(&self, now: Instant, status: &BundleStatus) -> BundleInfo {
        let records = self.lock();
        let stripes = status.stripes.iter().map(|stripe| {
            let origin = records.origins.get(&stripe.report.id);
            info(now, stripe, origin)
        });
        let began = records.began.unwrap_or(now);
        BundleInfo {
            age: now.saturating_duration_since(began),
            flows: status.flows,
            wanted: status.stripes_wanted,
            stripes: stripes.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn info(now: Instant, stripe: &StripeStatus, origin: Option<&Origin>) -> StripeInfo {
    let StripeStatus {
        report,
        sent,
        received,
    } = *stripe;
    let since = origin.map_or(now, |origin| origin.since);
    StripeInfo {
        id: report.id.0,
        session: origin.map(|origin| origin.session.clone()),
        state: match report.phase {
            StripePhase::Greeting => StripeState::Connecting,
            StripePhase::Live => StripeState::Connected,
            StripePhase::Silent => StripeState::Silent,
            StripePhase::Leaving => StripeState::Closing,
        },
        age: now.saturating_duration_since(since),
        sent,
        received,
        delivery_rate: report.rate,
        round_trip: report.round_trip,
        unacknowledged: report.unacknowledged,
    }
}
