//! Metrics of the bundles of forwards with a relay. Without a bundle the gauges are 0.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::metrics::MetricType::{Counter, Gauge};

use super::family::{Family, Sample, Value};
use crate::daemon::snapshot::{ForwardSample, Snapshot};
use crate::forward::BundleInfo;
use crate::telemetry::StripeState;

/// All of them.
pub(super) const ALL: &[Family<Snapshot>] = &[
    gauge(
        "ssm_proxyd_bundle_stripes",
        "Sessions to the relay, by state",
        stripes,
    ),
    gauge(
        "ssm_proxyd_bundle_stripes_wanted",
        "Sessions that the bundle wants to have now",
        |s| each(s, |bundle| bundle.wanted.into()),
    ),
    gauge(
        "ssm_proxyd_bundle_max_stripes",
        "Configured limit of sessions to the relay",
        |s| of_relays(s, |f, _| f.max_stripes().into()),
    ),
    gauge(
        "ssm_proxyd_bundle_flows",
        "Connections in the bundle, also while their end is not confirmed",
        |s| each(s, |bundle| bundle.flows.into()),
    ),
    gauge(
        "ssm_proxyd_bundle_delivery_bytes_per_second",
        "Bytes per second that the relay has received at most in the last seconds; 0 before a measurement",
        |s| {
            each(s, |bundle| {
                bundle.delivery_rate().unwrap_or_default().into()
            })
        },
    ),
    gauge(
        "ssm_proxyd_bundle_unacknowledged_bytes",
        "Bytes for the relay that it has not acknowledged",
        |s| each(s, |bundle| bundle.unacknowledged().into()),
    ),
    gauge(
        "ssm_proxyd_bundle_round_trip_seconds",
        "Longest smoothed round trip of the connected sessions; 0 before a measurement",
        |s| {
            each(s, |bundle| {
                bundle
                    .longest_round_trip()
                    .unwrap_or_default()
                    .as_secs_f64()
                    .into()
            })
        },
    ),
    Family {
        name: "ssm_proxyd_bundle_stripe_failures_total",
        kind: Counter,
        help: "Sessions to the relay that could not be started or were lost",
        samples: |s| of_relays(s, |f, _| f.totals().stripe_failures.load(Relaxed).into()),
    },
];

const fn gauge(
    name: &'static str,
    help: &'static str,
    samples: for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>,
) -> Family<Snapshot> {
    let kind = Gauge;
    Family {
        name,
        kind,
        help,
        samples,
    }
}

/// Returns one sample per forward with a relay.
fn of_relays<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&'a ForwardSample, &'a BundleInfo) -> Value<'a>,
) -> Vec<Sample<'a>> {
    let relays = snapshot.forwards.iter().filter_map(|forward| {
        let value = value(forward, forward.bundle.as_ref()?);
        Some(Sample::new([("forward", forward.name())], value))
    });
    relays.collect()
}

/// Returns one sample per bundle.
fn each<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&'a BundleInfo) -> Value<'a>,
) -> Vec<Sample<'a>> {
    of_relays(snapshot, |_, bundle| value(bundle))
}

/// Returns the stripes of each bundle in each state.
fn stripes(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let bundles = snapshot.forwards.iter();
    let bundles = bundles.filter_map(|forward| Some((forward.name(), forward.bundle.as_ref()?)));
    let samples = bundles.flat_map(|(name, bundle)| {
        StripeState::ALL.into_iter().map(move |state| {
            let labels = [("forward", name), ("state", state.as_str())];
            Sample::new(labels, bundle.in_state(state))
        })
    });
    samples.collect()
}
