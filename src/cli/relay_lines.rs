//! The relay of a forward in words, for `status` and `top`.

use crate::quantity::{milliseconds, rate, size, time};
use crate::telemetry::{ForwardBundleReport, ForwardRelayReport, StripeFailureReport, Trend};

/// Returns one line about the relay.
pub(super) fn relay(relay: &ForwardRelayReport) -> String {
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
pub(super) fn traffic(bundle: &ForwardBundleReport) -> String {
    format!(
        "to the relay: {} at most, longest round trip {}, {} unacknowledged",
        measured(bundle.delivery_per_second, rate),
        measured(bundle.round_trip_ms, milliseconds),
        size(bundle.unacknowledged),
    )
}

/// Returns a value in words, or a dash before it was measured.
pub(super) fn measured(value: Option<u64>, words: fn(u64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), words)
}

fn stripes(bundle: &ForwardBundleReport, max: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> ForwardBundleReport {
        ForwardBundleReport {
            age_seconds: 75,
            flows: 1,
            stripes_connected: 3,
            stripes_connecting: 1,
            stripes_silent: 0,
            stripes_closing: 0,
            stripes_wanted: 4,
            trend: Trend::Growing,
            delivery_per_second: None,
            round_trip_ms: Some(23),
            unacknowledged: 2048,
        }
    }

    fn about(bundle: Option<ForwardBundleReport>) -> String {
        relay(&ForwardRelayReport {
            port: 7400,
            max_stripes: 8,
            bundle,
            last_failure: None,
        })
    }

    #[test]
    fn a_relay_is_one_line() {
        assert_eq!(about(None), "relay on port 7400: not in use");
        assert_eq!(
            about(Some(bundle())),
            "relay on port 7400: 3 of at most 8 stripes connected, 1 connecting, growing to 4; \
             1 connection, for 1m 15s"
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(
            traffic(&bundle()),
            "to the relay: - at most, longest round trip 23ms, 2.0 KiB unacknowledged"
        );
    }
}
