//! Prometheus and Grafana: a real Prometheus scrapes the daemon, its alerts fire in an outage, and
//! rules, dashboard and documentation use only metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use ssm_proxyd::sim::{ApiFault, Operation};

use super::{Fixture, forward, until};
use crate::support::daemon_process::{assert_echo, assert_reset, connect};
use crate::support::exposition::Exposition;
use crate::support::prometheus::{Prometheus, promtool};

const RULES: &str = "config/prometheus-rules.yaml";
const DASHBOARD: &str = "config/grafana-dashboard.json";
const DOCUMENTATION: &str = "docs/metrics.md";

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_daemon_and_answers_queries() {
    let fixture = Fixture::new("").await;
    let prometheus = Prometheus::start(fixture.http, "");
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");

    prometheus.until("up", 1.0).await;
    for (query, value) in [
        ("ssm_proxyd_connections{forward=\"f\"}", 1.0),
        ("ssm_proxyd_sent_bytes_total{forward=\"f\"}", 5.0),
        ("count(ssm_proxyd_build_info{version!=\"\"})", 1.0),
        (
            "sum(ssm_proxyd_api_calls_total{operation=\"StartSession\"})",
            1.0,
        ),
        ("time() - process_start_time_seconds < bool 3600", 1.0),
        ("process_open_fds > bool 3", 1.0),
    ] {
        prometheus.until(query, value).await;
    }
    let metadata = prometheus.api("metadata", &[]);
    assert_eq!(
        metadata["ssm_proxyd_resume_stall_seconds"][0]["type"],
        "histogram"
    );
    assert_eq!(
        metadata["ssm_proxyd_resume_stall_seconds"][0]["unit"],
        "seconds"
    );
    for query in dashboard_queries().iter().map(|query| filled(query)) {
        prometheus.query(&query);
    }

    drop(client);
    prometheus.stop();
    fixture.ends();
}

/// The rules without the time that a condition must last.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_in_an_outage_and_end_with_it() {
    let mut fixture = Fixture::new("").await;
    let rules = read(RULES);
    let at_once = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "));
    let at_once = at_once.collect::<Vec<_>>().join("\n");
    assert_ne!(at_once, rules);
    let prometheus = Prometheus::start(fixture.http, &at_once);
    prometheus.until("up", 1.0).await;
    assert_eq!(prometheus.firing(), [""; 0]);

    let healthy = fixture.simulator.faults();
    let denied = ApiFault {
        code: "AccessDeniedException".to_owned(),
        times: None,
    };
    fixture.simulator.fail(Operation::StartSession, denied);
    assert_reset(connect(fixture.forward));
    let http = super::serving(fixture.http);
    fixture.write(&http, "nonsense\n");
    fixture.reload("reload failed");
    let of_outage = ["SsmProxydForwardFailing", "SsmProxydReloadFailed"];
    let fires = |alert: &str| prometheus.firing().iter().any(|firing| firing == alert);
    until("the alerts fire", || {
        assert_reset(connect(fixture.forward));
        of_outage.iter().all(|alert| fires(alert))
    })
    .await;

    fixture.simulator.set_faults(healthy);
    until("connections are served again", || {
        let mut client = connect(fixture.forward);
        let _asked = std::io::Write::write_all(&mut client, b"12345");
        std::io::Read::read_exact(&mut client, &mut [0; 5]).is_ok()
    })
    .await;
    fixture.write(&http, &fixture.forward_with(""));
    fixture.reload("reloaded: ");
    until("the alerts end", || {
        !of_outage.iter().any(|alert| fires(alert))
    })
    .await;
    assert!(!fires("SsmProxydDown"));

    fixture.ends();
    until("the alert fires", || fires("SsmProxydDown")).await;
    prometheus.stop();
}

#[test]
fn the_rules_are_valid_and_each_alert_fires_in_its_outage() {
    let checked = promtool(&["check", "rules"], Path::new(RULES));
    assert!(checked.contains("SUCCESS: "), "{checked}");

    let tested = promtool(&["test", "rules"], Path::new("tests/monitoring/rules.yaml"));

    assert!(tested.contains("SUCCESS"), "{tested}");
    let tests = read("tests/monitoring/rules.yaml");
    let (healthy, outage) = tests.split_once("each alert fires in its outage").unwrap();
    let alerts = read(RULES);
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            healthy.contains(&format!("alertname: {alert} }}")),
            "{alert}"
        );
        assert!(
            outage.contains(&format!("alertname=\"{alert}\"")),
            "{alert}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_use_only_metrics_that_exist() {
    let fixture = Fixture::new("").await;
    let page = Exposition::parse(&fixture.get("/metrics").body);
    let exist = page.series_names();
    let dashboard = dashboard_queries().join("\n");
    assert!(dashboard.contains("ssm_proxyd_connections"));

    for (file, text) in [
        (RULES, read(RULES)),
        (DASHBOARD, dashboard + &read(DASHBOARD)),
        (
            "tests/monitoring/rules.yaml",
            read("tests/monitoring/rules.yaml"),
        ),
        ("README.md", read("README.md")),
    ] {
        for name in metric_names(&text) {
            assert!(
                exist.contains(&name) || page.family(&name).is_some(),
                "{file}: {name}"
            );
        }
    }
    fixture.ends();
}

/// The description of each metric, in the order of the page, with all its labels.
#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_every_metric() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let credentials = r#"{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"x","Expiration":"2099-01-01T00:00:00Z"}"#;
    let process = format!("[default]\ncredential_process = echo '{credentials}'\n");
    fs::write(&file, process).unwrap();
    let relayed = forward("g", "remote = 1\nrelay = 1");
    let fixture = Fixture::with(&relayed, |command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_CONFIG_FILE", &file)
    })
    .await;
    fixture.refuse_next();
    assert_reset(connect(fixture.forward));

    let page = Exposition::parse(&fixture.get("/metrics").body);

    let rows = page.families.iter().map(|family| {
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let (name, kind) = (&family.name, &family.kind);
        format!(
            "| `{name}` | {kind} | {} | {} |",
            labels.join(", "),
            family.help
        )
    });
    let expected: Vec<_> = rows.collect();
    let text = read(DOCUMENTATION);
    let is_row = |line: &&str| {
        ["| `ssm_proxyd_", "| `process_"]
            .iter()
            .any(|p| line.starts_with(p))
    };
    let documented: Vec<_> = text.lines().filter(is_row).collect();
    assert_eq!(
        documented,
        expected,
        "{DOCUMENTATION} must have these rows, in this order:\n{}",
        expected.join("\n")
    );
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_improve() {
    let fixture = Fixture::with(&forward("g", "remote = 1\nrelay = 1"), |command| command).await;
    let mut client = connect(fixture.forward);
    assert_echo(&mut client, b"hello");
    let page = fixture.get("/metrics").body;

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), page.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();

    let output = [checked.stdout, checked.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&output), "");
    assert!(checked.status.success());
    drop(client);
    fixture.ends();
}

/// Returns the queries of all panels.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 20);
    queries
}

fn collect(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str().filter(|_| key == "expr") {
                    Some(query) => queries.push(query.to_owned()),
                    None => collect(value, queries),
                }
            }
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, queries)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces the variables of Grafana.
fn filled(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "1m");
    for variable in ["$job", "$instance", "$forward"] {
        query = query.replace(variable, ".*");
    }
    assert!(!query.contains('$'), "{query}");
    query
}

/// Returns the words that begin like a metric of the daemon or its process.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let prefixes = ["ssm_proxyd_", "process_"];
    let is_metric = |word: &&str| {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}
