//! The state of a relay as metrics (text format of Prometheus) and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::metrics::{BundleReport, RelayReport};
use crate::bundle::report::StripePhase;
use crate::bundle_driver::StripeStatus;

/// Returns the metrics.
pub(super) fn metrics(report: &RelayReport) -> String {
    let bundles = report.bundles.iter();
    let flows = bundles.clone().map(|bundle| bundle.status.flows).sum();
    let stripes = bundles.map(|bundle| bundle.status.stripes.len()).sum();
    let gauges = [
        (
            "bundles",
            report.bundles.len(),
            "Daemons that use the relay.",
        ),
        ("flows", flows, "Open connections."),
        ("stripes", stripes, "Sessions that carry them."),
    ];
    let counters = [
        (
            "bundles",
            report.total_bundles,
            "Daemons that have connected.",
        ),
        ("flows", report.total_flows, "Connections to destinations."),
        (
            "failed_flows",
            report.failed_flows,
            "Connections that failed.",
        ),
        (
            "denied_flows",
            report.denied_flows,
            "Connections that no rule allows.",
        ),
        ("sent_bytes", report.sent, "Bytes sent to destinations."),
        (
            "received_bytes",
            report.received,
            "Bytes received from destinations.",
        ),
        (
            "rejected_streams",
            report.rejected_streams,
            "Streams without a valid HELLO.",
        ),
        (
            "refused_stripes",
            report.refused_stripes,
            "Sessions that were refused.",
        ),
    ];
    let mut out = String::new();
    for (name, value, help) in gauges {
        family(&mut out, name, "gauge", value as u64, help);
    }
    for (name, value, help) in counters {
        family(&mut out, &format!("{name}_total"), "counter", value, help);
    }
    out
}

fn family(out: &mut String, name: &str, kind: &str, value: u64, help: &str) {
    let name = format!("ssm_proxyd_relay_{name}");
    let lines = format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    out.write_fmt(lines).expect("a String takes everything");
}

/// Returns the state as JSON, on one line.
pub(super) fn status(report: &RelayReport) -> String {
    let bundles: Vec<_> = report.bundles.iter().map(bundle).collect();
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "bundles": bundles,
        "totals": {
            "bundles": report.total_bundles,
            "flows": report.total_flows,
            "failed_flows": report.failed_flows,
            "denied_flows": report.denied_flows,
            "sent": report.sent,
            "received": report.received,
            "rejected_streams": report.rejected_streams,
            "refused_stripes": report.refused_stripes,
        },
    });
    format!("{value}\n")
}

fn bundle(report: &BundleReport) -> Value {
    let stripes: Vec<_> = report.status.stripes.iter().map(stripe).collect();
    json!({ "number": report.number, "flows": report.status.flows, "stripes": stripes })
}

fn stripe(stripe: &StripeStatus) -> Value {
    let known = &stripe.report;
    let phase = match known.phase {
        StripePhase::Greeting => "greeting",
        StripePhase::Live => "live",
        StripePhase::Silent => "silent",
        StripePhase::Leaving => "leaving",
    };
    json!({
        "stripe": known.id.0,
        "phase": phase,
        "rate": known.rate,
        "round_trip_seconds": known.round_trip.map(|time| time.as_secs_f64()),
        "unacknowledged": known.unacknowledged,
        "sent": stripe.sent,
        "received": stripe.received,
    })
}
