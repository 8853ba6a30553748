//! A real Prometheus that scrapes one daemon.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon_process::free_address;
use super::in_process::until;
use super::process::Process;
use crate::cli::ended;

/// A running Prometheus. Job and instance of the daemon are `ssm-proxyd` and `a`.
#[derive(Debug)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    process: Process,
    _files: TempDir,
}

impl Prometheus {
    /// Starts it with these rules.
    pub(crate) fn start(daemon: SocketAddr, rules: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        fs::write(path("rules.yaml"), rules).unwrap();
        let text = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - job_name: ssm-proxyd\n  \
               static_configs: [{{ targets: ['{daemon}'], labels: {{ instance: a }} }}]\n"
        );
        fs::write(path("prometheus.yaml"), text).unwrap();
        let address = free_address();
        let mut command = Command::new("prometheus");
        let option = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        command
            .arg(option("config.file", path("prometheus.yaml")))
            .arg(option("storage.tsdb.path", path("data")))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(files.path());
        let mut process = Process::start(&mut command);
        process.stderr.wait_for("ready to receive web requests");
        Self {
            address,
            process,
            _files: files,
        }
    }

    /// Returns the result of a query: labels and value of each sample.
    pub(crate) fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let data = self.api("query", &["--data-urlencode", &format!("query={query}")]);
        let samples = data["result"].as_array().unwrap().iter();
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().unwrap().parse().unwrap();
            (sample["metric"].clone(), value)
        };
        samples.map(sample).collect()
    }

    /// Waits until a query has exactly one sample, of this value.
    pub(crate) async fn until(&self, query: &str, value: f64) {
        until(query, || {
            let samples = self.query(query);
            samples.len() == 1 && samples[0].1 == value
        })
        .await;
    }

    /// Returns the names of the firing alerts, sorted.
    pub(crate) fn firing(&self) -> Vec<String> {
        let alerts = self.api("alerts", &[]);
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = firing.map(name).collect();
        names.sort();
        names
    }

    /// Calls the API; fails if the response is not a success.
    pub(crate) fn api(&self, path: &str, arguments: &[&str]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "60", "-G"]);
        let (code, out, output) = ended(command.args(arguments).arg(url));
        assert_eq!(code, 0, "{output}");
        let mut answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["status"], "success", "{arguments:?}: {answer}");
        answer["data"].take()
    }

    /// Stops it.
    pub(crate) fn stop(mut self) {
        self.process.end("TERM");
    }
}

/// Runs promtool; returns its output, which fails the test unless it succeeds.
pub(crate) fn promtool(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new("promtool");
    let (code, out, err) = ended(command.args(arguments).arg(file));
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out + &err
}
