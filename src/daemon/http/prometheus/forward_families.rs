//! Metrics of each forward: of the configuration, and removed ones that still have connections.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::metrics::MetricType::{self, Counter, Gauge, Histogram};

use super::family::{Family, Sample, Value};
use crate::daemon::snapshot::{ConfiguredSample, ForwardSample, Snapshot};
use crate::error_class::ErrorClass;
use crate::telemetry::{EndReason, ForwardTotals, Stage};

/// All of them.
pub(super) const ALL: &[Family<Snapshot>] = &[
    gauge(
        "ssm_proxyd_connections",
        "Connections with a session",
        |s| each(s, |f| f.gauges.connections.into()),
    ),
    gauge(
        "ssm_proxyd_finishing_connections",
        "Those of them that were accepted before a reload that replaced or removed the forward",
        |s| each(s, |f| f.gauges.finishing.into()),
    ),
    gauge(
        "ssm_proxyd_waiting",
        "Connections waiting for a session",
        |s| each(s, |f| f.gauges.waiting.into()),
    ),
    gauge(
        "ssm_proxyd_max_connections",
        "Configured limit of connections with a session",
        |s| configured(s, |f| Some(f.max_connections.into())),
    ),
    counter("ssm_proxyd_accepted_total", "Connections accepted", |s| {
        total(s, |t| &t.accepted)
    }),
    counter(
        "ssm_proxyd_connections_closed_total",
        "Connections that have ended, by reason",
        closed,
    ),
    histogram(
        "ssm_proxyd_connect_duration_seconds",
        "Time from accept until the connection can carry data",
        |s| each(s, |f| (&f.totals().timings.connect).into()),
    ),
    histogram(
        "ssm_proxyd_connect_stage_duration_seconds",
        "Time that connections spent in each stage between accept and the first byte of the destination",
        stages,
    ),
    histogram(
        "ssm_proxyd_connection_duration_seconds",
        "Time from accept to the end of a connection",
        |s| each(s, |f| (&f.totals().timings.connection).into()),
    ),
    gauge(
        "ssm_proxyd_sessions",
        "Established sessions, also while one is resumed",
        |s| each(s, |f| f.gauges.sessions.into()),
    ),
    gauge(
        "ssm_proxyd_sessions_ready",
        "Established sessions that wait for a connection and can carry data now",
        |s| each(s, |f| f.gauges.sessions_ready.into()),
    ),
    counter(
        "ssm_proxyd_sessions_started_total",
        "Sessions started by AWS",
        |s| total(s, |t| &t.started),
    ),
    counter(
        "ssm_proxyd_sessions_failed_total",
        "Failed attempts to start a session",
        |s| total(s, |t| &t.failed),
    ),
    counter(
        "ssm_proxyd_session_failures_total",
        "Failed attempts to start a session, by class",
        |s| by_class(s, |f| f.totals().session_failures()),
    ),
    counter(
        "ssm_proxyd_resumes_total",
        "Sessions resumed over a new websocket",
        |s| total(s, |t| &t.resumed),
    ),
    histogram(
        "ssm_proxyd_resume_stall_seconds",
        "Time from the break of a websocket until another one carries its session",
        |s| each(s, |f| (&f.totals().timings.stall).into()),
    ),
    counter(
        "ssm_proxyd_messages_sent_total",
        "Data messages sent to agents for the first time",
        |s| total(s, |t| &t.messages_sent),
    ),
    counter(
        "ssm_proxyd_messages_retransmitted_total",
        "Data messages sent to agents again",
        |s| total(s, |t| &t.messages_retransmitted),
    ),
    counter(
        "ssm_proxyd_sent_bytes_total",
        "Bytes received from clients and sent to destinations",
        |s| total(s, |t| &t.sent),
    ),
    counter(
        "ssm_proxyd_received_bytes_total",
        "Bytes received from destinations and written to clients",
        |s| total(s, |t| &t.received),
    ),
    gauge(
        "ssm_proxyd_forward_failing",
        "1 while the forward cannot start, its sessions fail to start, or its destination refuses connections",
        |s| configured(s, |f| Some(f.is_failing.into())),
    ),
    counter(
        "ssm_proxyd_failures_total",
        "Failed attempts to start the forward, a session or a connection to the destination, and refused connections, by class",
        |s| by_class(s, |f| f.totals().failures()),
    ),
    gauge(
        "ssm_proxyd_credentials_expiry_timestamp_seconds",
        "Time at which the credentials in use expire, in seconds since 1970; absent if they do not",
        |s| configured(s, |f| f.credentials_expiry.map(Value::from)),
    ),
];

type Samples = for<'a> fn(&'a Snapshot) -> Vec<Sample<'a>>;

const fn gauge(name: &'static str, help: &'static str, samples: Samples) -> Family<Snapshot> {
    family(name, Gauge, help, samples)
}

const fn counter(name: &'static str, help: &'static str, samples: Samples) -> Family<Snapshot> {
    family(name, Counter, help, samples)
}

const fn histogram(name: &'static str, help: &'static str, samples: Samples) -> Family<Snapshot> {
    family(name, Histogram, help, samples)
}

const fn family(
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    samples: Samples,
) -> Family<Snapshot> {
    Family {
        name,
        kind,
        help,
        samples,
    }
}

/// Returns each forward and its name.
fn named(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &ForwardSample)> {
    snapshot.forwards.iter().map(|f| (f.name(), f))
}

/// Returns one sample per forward.
fn each<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&'a ForwardSample) -> Value<'a>,
) -> Vec<Sample<'a>> {
    let sample = |(name, forward)| Sample::new([("forward", name)], value(forward));
    named(snapshot).map(sample).collect()
}

/// Returns one counter per forward.
fn total<'a>(
    snapshot: &'a Snapshot,
    counter: impl Fn(&'a ForwardTotals) -> &'a AtomicU64,
) -> Vec<Sample<'a>> {
    each(snapshot, |f| counter(f.totals()).load(Relaxed).into())
}

/// Returns one sample per forward of the configuration that has the value.
fn configured<'a>(
    snapshot: &'a Snapshot,
    value: impl Fn(&'a ConfiguredSample) -> Option<Value<'a>>,
) -> Vec<Sample<'a>> {
    let samples = named(snapshot).filter_map(|(name, f)| {
        let value = value(f.configured.as_ref()?)?;
        Some(Sample::new([("forward", name)], value))
    });
    samples.collect()
}

/// Returns the failures of each forward. Classes that did not occur are left out.
fn by_class(
    snapshot: &Snapshot,
    counts: impl Fn(&ForwardSample) -> BTreeMap<ErrorClass, u64>,
) -> Vec<Sample<'_>> {
    let samples = named(snapshot).flat_map(|(name, forward)| {
        let counts = counts(forward).into_iter();
        counts.map(move |(class, count)| {
            Sample::new([("forward", name), ("class", class.name())], count)
        })
    });
    samples.collect()
}

/// Returns the ended connections of each forward, by reason. Each reason has a series, so that the
/// first occurrence is an increase.
fn closed(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let samples = named(snapshot).flat_map(|(name, forward)| {
        let ends = forward.totals().ends();
        EndReason::ALL.iter().map(move |reason| {
            let count = ends.get(reason).copied().unwrap_or_default();
            Sample::new([("forward", name), ("reason", reason.name())], count)
        })
    });
    samples.collect()
}

/// Returns the histograms of the stages of each forward.
fn stages(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let samples = named(snapshot).flat_map(|(name, forward)| {
        Stage::ALL.into_iter().map(move |stage| {
            let labels = [("forward", name), ("stage", stage.name())];
            Sample::new(labels, forward.totals().timings.of_stage(stage))
        })
    });
    samples.collect()
}
