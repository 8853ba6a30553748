//! The relay of a forward in words, for `status` and `top`.

use crate::quantity::{milliseconds, rate, size, time};
use crate::telemetry::{BundleReport, RelayReport, StripeFailureReport, Trend};

/// Returns one line about the relay.
pub(super) fn relay(relay: &RelayReport) -> String {
    let port = relay.port;
    match &relay.bundle {
        None => format!("relay on port {port}: not in use"),
        Some(bundle) => format!(
            "relay on port {port}: {}; {}, for {}",
            stripes(bundle, relay.max_stripes),
            counted(bundle.flows, "connection"),
            time(bundle.age_seconds),
        ),
    }
}

/// Returns one line about the last failure of a stripe.
pub(super) fn failure(failure: &StripeFailureReport) -> String {
    let StripeFailureReport {
        code,
        error,
        seconds_ago,
        ..
    } = failure;
    format!(
        "last failure of a stripe {} ago: [{code}] {error}",
        time(*seconds_ago)
    )
}

/// Returns one line about the traffic to the relay.
pub(super) fn traffic(bundle: &BundleReport) -> String {
    format!(
        "to the relay: {} at most, longest round trip {}, {} unacknowledged",
        rate(bundle.delivery_per_second),
        milliseconds(bundle.round_trip_ms),
        size(bundle.unacknowledged),
    )
}

fn stripes(bundle: &BundleReport, max: usize) -> String {
    let (connected, wanted) = (bundle.stripes_connected, bundle.stripes_wanted);
    let trend = match bundle.trend {
        Trend::Steady => String::new(),
        Trend::Growing => format!(", growing to {wanted}"),
        Trend::Shrinking => format!(", shrinking to {wanted}"),
    };
    let others = [
        (bundle.stripes_connecting, "connecting"),
        (bundle.stripes_silent, "silent"),
        (bundle.stripes_closing, "closing"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others: String = others
        .map(|(count, state)| format!(", {count} {state}"))
        .collect();
    format!("{connected} of at most {max} stripes connected{others}{trend}")
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
