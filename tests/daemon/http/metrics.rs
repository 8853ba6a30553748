//! Metrics: valid format, correct values.

use std::collections::BTreeMap;

use ssm_proxyd::sim::{DisconnectKind, OneOffFault};

use super::{Fixture, until};
use crate::support::daemon_process::{assert_echo, assert_reset, connect, forward};

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_a_help_text_and_an_idle_daemon_counts_nothing() {
    let fixture = Fixture::new("").await;

    let all = read(&fixture.get("/metrics").body);

    let version = env!("CARGO_PKG_VERSION");
    let build = format!("ssm_proxyd_build_info{{version=\"{version}\"}}");
    for (name, value) in [
        (build.as_str(), 1),
        ("ssm_proxyd_stopping", 0),
        ("ssm_proxyd_finishing_connections", 0),
        ("ssm_proxyd_internal_errors_total", 0),
        ("ssm_proxyd_reloads_total{outcome=\"done\"}", 0),
        ("ssm_proxyd_reloads_total{outcome=\"failed\"}", 0),
    ] {
        assert_eq!(all.get(name), Some(&value), "{name}");
    }
    assert!(all.contains_key("ssm_proxyd_uptime_seconds"));
    let of_forward: Vec<_> = all
        .iter()
        .filter(|(name, _)| name.contains("forward="))
        .collect();
    assert_eq!(of_forward.len(), 11);
    assert!(
        of_forward.iter().all(|(_, value)| **value == 0),
        "{of_forward:?}"
    );
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

/// The counters of an unchanged forward continue; those of a changed forward restart.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_counted_and_keep_the_counters_of_unchanged_forwards() {
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
    assert_eq!(all["ssm_proxyd_finishing_connections"], 1);
    assert_eq!(all["ssm_proxyd_received_bytes_total{forward=\"f\"}"], 0);
    assert!(!all.keys().any(|name| name.contains("\"g\"")), "{all:#?}");
    assert_echo(&mut client, b"still here");
    drop(client);
    fixture.ends();
}

impl Fixture {
    fn metrics(&self) -> BTreeMap<String, u64> {
        read(&self.get("/metrics").body)
    }

    /// One metric of the forward `f`.
    fn of_f(&self, name: &str) -> u64 {
        self.metrics()[&format!("ssm_proxyd_{name}{{forward=\"f\"}}")]
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

/// Parses the text format strictly: each family exists once and is not interrupted; its help and
/// its type are before it.
fn read(text: &str) -> BTreeMap<String, u64> {
    assert!(text.ends_with('\n'));
    let mut lines = text.lines().peekable();
    let mut families = Vec::new();
    let mut all = BTreeMap::new();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").expect(line);
        let (name, text) = help.split_once(' ').expect(line);
        assert!(is_name(name) && name.starts_with("ssm_proxyd_"), "{line}");
        assert!(!text.is_empty() && !text.contains('\\'), "{line}");
        assert!(!families.contains(&name), "{name} appears twice");
        families.push(name);
        let kind = lines.next().unwrap();
        let kind = kind.strip_prefix(&format!("# TYPE {name} ")).expect(kind);
        assert!(["counter", "gauge"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').expect(sample);
            let labels = series.strip_prefix(name).expect(sample);
            assert!(are_labels(labels), "{sample}");
            let before = all.insert(series.to_owned(), value.parse().expect(sample));
            assert_eq!(before, None, "{series} appears twice");
        }
    }
    all
}

/// Nothing, or `{name="value",…}`, where no value needs an escape: names of forwards need none.
fn are_labels(text: &str) -> bool {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let is_label = |label: &str| {
        label.split_once('=').is_some_and(|(name, value)| {
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            is_name(name) && value.is_some_and(|value| !value.contains(['"', '\\', ',']))
        })
    };
    text.is_empty() || inner.is_some_and(|inner| inner.split(',').all(is_label))
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_';
    !text.is_empty() && text.chars().all(fits)
}
