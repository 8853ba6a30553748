//! Status of the relay of a forward: its bundle, and the stripes of it.

use std::time::{Duration, Instant};

use super::status::ForwardInfo;
use crate::clock;
use crate::forward::{BundleInfo, StripeInfo};
use crate::telemetry::{
    ForwardBundleReport, ForwardRelayReport, ForwardStripeReport, StripeFailureReport, StripeState,
    Trend,
};

impl ForwardInfo {
    /// Returns its bundle, if there is one.
    pub(super) fn bundle(&self, now: Instant) -> Option<BundleInfo> {
        self.connections.as_ref()?.bundle(now)
    }

    /// Observes the rates of its stripes.
    pub(super) fn observe_stripes(&self, now: Instant) {
        if self.settings.relay.is_some() {
            let stripes = self.bundle(now).map(|bundle| bundle.stripes);
            self.observation
                .record_stripes(now, &stripes.unwrap_or_default());
        }
    }

    /// Returns the report of its relay, if it has one.
    pub(super) fn relay_report(&self, now: Instant) -> Option<ForwardRelayReport> {
        let relay = self.settings.relay?;
        let connections = self.connections.as_ref();
        let failure = connections.and_then(|connections| connections.stripe_failure());
        Some(ForwardRelayReport {
            port: relay.port,
            max_stripes: relay.stripes,
            bundle: self.bundle(now).map(|bundle| bundle_report(&bundle)),
            last_failure: failure.map(|failure| StripeFailureReport {
                code: failure.class.name().into(),
                error: failure.error,
                hint: failure.hint,
                seconds_ago: clock::since(failure.seen).as_secs(),
            }),
        })
    }

    /// Returns the reports of its stripes.
    pub(super) fn stripe_reports(&self, now: Instant) -> Vec<ForwardStripeReport> {
        let stripes = self.bundle(now).map(|bundle| bundle.stripes);
        let stripes = stripes.unwrap_or_default().into_iter();
        stripes
            .map(|stripe| {
                let rates = self.observation.stripe_rates(now, stripe.id);
                stripe_report(stripe, rates)
            })
            .collect()
    }
}

fn bundle_report(bundle: &BundleInfo) -> ForwardBundleReport {
    let connected = bundle.in_state(StripeState::Connected);
    let connecting = bundle.in_state(StripeState::Connecting);
    let closing = bundle.in_state(StripeState::Closing);
    let trend = match connected + connecting < bundle.wanted || connecting > 0 {
        true => Trend::Growing,
        false if closing > 0 => Trend::Shrinking,
        false => Trend::Steady,
    };
    ForwardBundleReport {
        age_seconds: bundle.age.as_secs(),
        flows: bundle.flows,
        stripes_connected: connected,
        stripes_connecting: connecting,
        stripes_silent: bundle.in_state(StripeState::Silent),
        stripes_closing: closing,
        stripes_wanted: bundle.wanted,
        trend,
        delivery_per_second: bundle.delivery_rate(),
        round_trip_ms: bundle.longest_round_trip().map(milliseconds),
        unacknowledged: bundle.unacknowledged(),
    }
}

fn stripe_report(stripe: StripeInfo, rates: (u64, u64)) -> ForwardStripeReport {
    let (sent_per_second, received_per_second) = rates;
    ForwardStripeReport {
        id: stripe.id,
        session: stripe.session,
        state: stripe.state,
        age_seconds: stripe.age.as_secs(),
        sent: stripe.sent,
        received: stripe.received,
        sent_per_second,
        received_per_second,
        delivery_per_second: stripe.delivery_rate,
        round_trip_ms: stripe.round_trip.map(milliseconds),
        unacknowledged: stripe.unacknowledged,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
