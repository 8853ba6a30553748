//! Metrics: valid format, correct values.

use std::collections::BTreeMap;

use ssm_proxyd::sim::{DisconnectKind, OneOffFault};

use super::{Fixture, curl, until};
use crate::support::daemon_process::{assert_echo, assert_reset, connect, forward};
use crate::support::exposition::Exposition;

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_a_help_text_and_an_idle_daemon_counts_nothing() {
    let fixture = Fixture::new("").await;

    let page = Exposition::parse(&fixture.get("/metrics").body);

    let all = &page.samples;
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("ssm_proxyd_build_info{{version=\"{version}\"}}");
    for (name, value) in [
        (build.as_str(), 1.0),
        ("ssm_proxyd_stopping", 0.0),
        ("ssm_proxyd_finishing_connections{forward=\"f\"}", 0.0),
        ("ssm_proxyd_internal_errors_total", 0.0),
        ("ssm_proxyd_reloads_total{outcome=\"done\"}", 0.0),
        ("ssm_proxyd_reloads_total{outcome=\"failed\"}", 0.0),
        ("ssm_proxyd_last_reload_successful", 1.0),
        ("ssm_proxyd_max_connections{forward=\"f\"}", 64.0),
    ] {
        assert_eq!(all.get(name), Some(&value), "{name}");
    }
    assert!(all.contains_key("ssm_proxyd_uptime_seconds"));
    let families = page.families.iter();
    let of_forward = families.filter(|family| family.labels.contains(&"forward".to_owned()));
    assert_eq!(of_forward.count(), 20);
    let mut counts = all.iter().filter(|(name, _)| name.contains("forward="));
    let counted = counts.find(|(name, value)| **value != 0.0 && !name.contains("max_connections"));
    assert_eq!(counted, None);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted() {
    let fixture = Fixture::new("").await;
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));
    assert_eq!(fixture.of_f("forward_failing"), 1);
    // An offline target is not tried again immediately.
    until("connections are served again", || {
        let mut client = connect(fixture.forward);
        let _asked = std::io::Write::write_all(&mut client, b"12345");
        std::io::Read::read_exact(&mut client, &mut [0; 5]).is_ok()
    })
    .await;
    until("no connection is open", || fixture.of_f("connections") == 0).await;
    let [accepted, failed, started, sent, received] = fixture.counters();

    let mut clients = [(); 2].map(|()| connect(fixture.forward));
    for client in &mut clients {
        assert_echo(client, b"hello");
    }

    assert_eq!(fixture.of_f("forward_failing"), 0);
    assert_eq!(fixture.of_f("connections"), 2);
    assert_eq!(fixture.of_f("waiting"), 0);
    assert_eq!(
        (fixture.of_f("sessions"), fixture.of_f("sessions_ready")),
        (2, 0)
    );
    let expected = [accepted + 2, failed, started + 2, sent + 10, received + 10];
    until("everything is counted", || fixture.counters() == expected).await;
    assert!(failed >= 1 && started >= 1, "{failed} {started}");

    assert_eq!(fixture.of_f("resumes_total"), 0);
    assert_eq!(
        fixture
            .simulator
            .inject(None, OneOffFault::Break(DisconnectKind::Reset)),
        2
    );
    until("both sessions are resumed", || {
        fixture.of_f("resumes_total") == 2
    })
    .await;
    assert_echo(&mut clients[0], b"still here");
    until("more bytes are counted", || {
        fixture.of_f("sent_bytes_total") == sent + 20
    })
    .await;

    drop(clients);
    until("no connection is open", || fixture.of_f("connections") == 0).await;
    fixture.ends();
}

/// Series of the forward `f`, without its prefix.
pub(super) const CLOSED_BY_OPERATOR: &str =
    "connections_closed_total{forward=\"f\",reason=\"closed_by_operator\"}";

#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_counted_and_keep_the_counters_of_a_forward() {
    let mut fixture = Fixture::new("").await;
    let http = super::serving(fixture.http);
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");
    until("the failure is counted", || {
        fixture.of_f("received_bytes_total") == 5
    })
    .await;

    fixture.write(
        &http,
        &(fixture.forward_with("") + &forward("g", "remote = 1")),
    );
    fixture.reload("reloaded: ");
    fixture.write(&http, "nonsense\n");
    fixture.reload("reload failed");

    assert_eq!(fixture.of_f("received_bytes_total"), 5);
    let all = fixture.metrics();
    assert_eq!(all["ssm_proxyd_accepted_total{forward=\"g\"}"], 0);
    assert_eq!(all["ssm_proxyd_reloads_total{outcome=\"done\"}"], 1);
    assert_eq!(all["ssm_proxyd_reloads_total{outcome=\"failed\"}"], 1);

    fixture.write(&http, &fixture.forward_with("max_connections = 2"));
    fixture.reload("reloaded: ");

    let all = fixture.metrics();
    assert_eq!(all["ssm_proxyd_finishing_connections{forward=\"f\"}"], 1);
    assert_eq!(all["ssm_proxyd_received_bytes_total{forward=\"f\"}"], 5);
    assert!(!all.keys().any(|name| name.contains("\"g\"")), "{all:#?}");
    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

impl Fixture {
    pub(super) fn metrics(&self) -> BTreeMap<String, u64> {
        let page = Exposition::parse(&self.get("/metrics").body);
        let integer = |(name, value): (String, f64)| {
            let number = format!("{value}").parse().ok()?;
            Some((name, number))
        };
        page.samples.into_iter().filter_map(integer).collect()
    }

    /// One metric of the forward `f`; with all labels, or with no other.
    pub(super) fn of_f(&self, name: &str) -> u64 {
        let series = match name.contains('{') {
            true => format!("ssm_proxyd_{name}"),
            false => format!("ssm_proxyd_{name}{{forward=\"f\"}}"),
        };
        let all = self.metrics();
        *all.get(&series)
            .unwrap_or_else(|| panic!("no {series}: {all:#?}"))
    }

    fn counters(&self) -> [u64; 5] {
        [
            "accepted_total",
            "sessions_failed_total",
            "sessions_started_total",
            "sent_bytes_total",
            "received_bytes_total",
        ]
        .map(|name| self.of_f(name))
    }
}

/// Both formats have the same families.
#[tokio::test(flavor = "multi_thread")]
async fn open_metrics_is_sent_where_it_is_asked_for() {
    let fixture = Fixture::new("").await;
    let accepted = |accept: &str| {
        let header = format!("Accept: {accept}");
        curl(&["-i", "-H", &header, &fixture.url("/metrics")])
    };
    let preferred =
        accepted("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0");
    let refused = accepted("application/openmetrics-text;q=0.1, text/plain");

    assert_eq!(
        preferred.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(preferred.body.ends_with("\n# EOF\n"), "{}", preferred.body);
    assert_eq!(
        refused.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = Exposition::parse(&refused.body);
    let types = preferred.body.lines();
    let types = types.filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: Vec<_> = text.families.iter().map(|f| f.name.as_str()).collect();
    let base = |name: &&str| {
        name.trim_end_matches("_total")
            .trim_end_matches("_info")
            .to_owned()
    };
    assert_eq!(
        types.map(str::to_owned).collect::<Vec<_>>(),
        names.iter().map(base).collect::<Vec<_>>()
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_calls_failed_sessions_and_messages_are_counted() {
    let fixture = Fixture::new("").await;
    let of = |series: &str| {
        fixture
            .metrics()
            .get(&format!("ssm_proxyd_{series}"))
            .copied()
    };
    let started = "api_calls_total{operation=\"StartSession\",outcome=\"ok\"}";
    assert_eq!(of(started), Some(0));
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));
    assert_eq!(
        of("api_calls_total{operation=\"StartSession\",outcome=\"TargetNotConnected\"}"),
        Some(1)
    );
    assert_eq!(
        of("session_failures_total{forward=\"f\",class=\"TargetNotConnected\"}"),
        Some(1)
    );

    until("connections are served again", || {
        let mut client = connect(fixture.forward);
        let _asked = std::io::Write::write_all(&mut client, b"12345");
        std::io::Read::read_exact(&mut client, &mut [0; 5]).is_ok()
    })
    .await;

    assert!(of(started) >= Some(1));
    assert!(of("messages_sent_total{forward=\"f\"}") >= Some(1));
    assert_eq!(
        of("api_calls_total{operation=\"credentials\",outcome=\"ok\"}"),
        Some(1)
    );
    until("the sessions are terminated", || {
        of("api_calls_total{operation=\"TerminateSession\",outcome=\"ok\"}") == of(started)
    })
    .await;
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_is_one_stall() {
    let fixture = Fixture::new("").await;
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");
    let fault = OneOffFault::Break(DisconnectKind::Reset);
    assert_eq!(fixture.simulator.inject(None, fault), 1);

    until("the stall is recorded", || {
        fixture.of_f("resume_stall_seconds_count") == 1
    })
    .await;

    assert_eq!(fixture.of_f("resumes_total"), 1);
    drop(client);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_measured_when_it_opens_and_counted_when_it_ends() {
    let fixture = Fixture::new("").await;
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");

    let page = Exposition::parse(&fixture.get("/metrics").body);
    let stage = |name: &str, part: &str| {
        let labels = format!("{{forward=\"f\",stage=\"{name}\"}}");
        page.samples[&format!("ssm_proxyd_connect_stage_duration_seconds_{part}{labels}")]
    };
    let before = [
        "queued",
        "credentials",
        "start_session",
        "websocket",
        "handshake",
        "ready",
    ];
    for name in before.into_iter().chain(["first_byte"]) {
        assert_eq!(stage(name, "count"), 1.0, "{name}");
    }
    let sum: f64 = before.iter().map(|name| stage(name, "sum")).sum();
    let connect = page.samples["ssm_proxyd_connect_duration_seconds_sum{forward=\"f\"}"];
    assert!(
        connect > 0.0 && (sum - connect).abs() < 1e-6,
        "{sum} {connect}"
    );
    assert_eq!(fixture.of_f("connect_duration_seconds_count"), 1);
    assert_eq!(fixture.of_f("connection_duration_seconds_count"), 0);

    drop(client);
    until("the end is counted", || {
        fixture.of_f("connection_duration_seconds_count") == 1
    })
    .await;

    let closed = "ssm_proxyd_connections_closed_total{forward=\"f\",reason=\"client_closed\"}";
    assert_eq!(fixture.metrics()[closed], 1);
    fixture.ends();
}

/// It has its stages up to the one that failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_session_is_counted_by_its_reason() {
    let fixture = Fixture::new("").await;
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));
    let of = |series: &str| fixture.metrics()[&format!("ssm_proxyd_{series}")];

    let reason = "connections_closed_total{forward=\"f\",reason=\"session_not_started\"}";
    until("the end is counted", || of(reason) == 1).await;

    assert_eq!(fixture.of_f("connect_duration_seconds_count"), 0);
    assert_eq!(fixture.of_f("connection_duration_seconds_count"), 1);
    for (stage, count) in [("queued", 1), ("start_session", 1), ("websocket", 0)] {
        let labels = format!("{{forward=\"f\",stage=\"{stage}\"}}");
        let series = format!("connect_stage_duration_seconds_count{labels}");
        assert_eq!(of(&series), count, "{stage}");
    }
    fixture.ends();
}
