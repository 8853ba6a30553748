//! What a bundle knows about its stripes, for status and metrics.

use std::time::Duration;

use super::Bundle;
use super::ids::StripeId;
use super::stripe::{Stripe, StripeState};

/// What is known about a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeReport {
    /// The stripe.
    pub id: StripeId,
    /// What it is used for.
    pub phase: StripePhase,
    /// Bytes per second that the peer has received at most in the last seconds; `None` before the
    /// first measurement.
    pub rate: Option<u64>,
    /// Smoothed round trip; `None` before the first measurement.
    pub round_trip: Option<Duration>,
    /// Bytes that were sent or are to be sent on it, and are not acknowledged.
    pub unacknowledged: u64,
}

/// What a stripe is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripePhase {
    /// The answer of the relay is expected.
    Greeting,
    /// It carries records.
    Live,
    /// It does not acknowledge records, which were sent again on others.
    Silent,
    /// It is no longer needed.
    Leaving,
}

impl Bundle {
    /// Returns what is known about each stripe.
    pub fn stripe_reports(&self) -> impl Iterator<Item = StripeReport> {
        self.stripes.values().map(Stripe::report)
    }
}

impl Stripe {
    fn report(&self) -> StripeReport {
        let phase = match self.state {
            StripeState::Greeting => StripePhase::Greeting,
            StripeState::Live if self.is_suspect => StripePhase::Silent,
            StripeState::Live => StripePhase::Live,
            StripeState::Draining | StripeState::Leaving => StripePhase::Leaving,
        };
        StripeReport {
            id: self.id,
            phase,
            rate: self.path.measured_rate(),
            round_trip: self.path.measured_round_trip(),
            unacknowledged: self.flight,
        }
    }
}
