//! Formats the report in the Prometheus text format 0.0.4.
//!
//! Label values are the names of configured forwards and constants of this program, so their number
//! is bounded. The counters of a forward restart at zero when a reload changes it, which Prometheus
//! treats as a restart.

use std::fmt::{self, Display, Write as _};

use crate::telemetry::{ForwardReport, StatusReport};

/// Content type of the text.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics of a report.
pub(super) fn text(report: &StatusReport) -> String {
    let mut text = String::new();
    let version = [("version", report.version.as_str())];
    head(
        &mut text,
        "build_info",
        GAUGE,
        "Version of the running program",
    );
    sample(&mut text, "build_info", &version, 1);
    for (name, kind, help, value) in [
        (
            "uptime_seconds",
            GAUGE,
            "Seconds since all addresses were bound",
            report.uptime_seconds,
        ),
        (
            "stopping",
            GAUGE,
            "1 while the daemon is stopping",
            report.stopping.into(),
        ),
        ("finishing_connections", GAUGE, FINISHING, finishing(report)),
    ] {
        head(&mut text, name, kind, help);
        sample(&mut text, name, &[], value);
    }
    let dropped = "log_lines_dropped_total";
    head(
        &mut text,
        dropped,
        COUNTER,
        "Log lines dropped because the log's reader was too slow",
    );
    sample(&mut text, dropped, &[], report.log_lines_dropped);
    head(&mut text, "reloads_total", COUNTER, "Reloads, by outcome");
    for (outcome, value) in [("done", report.reloads), ("failed", report.failed_reloads)] {
        sample(&mut text, "reloads_total", &[("outcome", outcome)], value);
    }
    head(
        &mut text,
        "internal_errors_total",
        COUNTER,
        "Panics, each of which is a bug (please report it)",
    );
    sample(
        &mut text,
        "internal_errors_total",
        &[],
        report.internal_errors,
    );
    let failing = "server_failing";
    head(
        &mut text,
        failing,
        GAUGE,
        "1 while the server cannot bind its address",
    );
    for server in ["http", "admin"] {
        let mut servers = report.failing_servers.iter();
        let fails = servers.any(|failing| failing.server.as_str() == server);
        sample(&mut text, failing, &[("server", server)], fails.into());
    }
    for (name, kind, help, value) in FORWARD {
        head(&mut text, name, kind, help);
        for forward in &report.forwards {
            sample(
                &mut text,
                name,
                &[("forward", &forward.name)],
                value(forward),
            );
        }
    }
    failures(&mut text, report);
    text
}

/// Adds the failures of each forward, by class. Classes that did not occur are left out.
fn failures(text: &mut String, report: &StatusReport) {
    let name = "failures_total";
    let help = "Failed attempts to start the forward, a session or a connection to the destination, by class";
    head(text, name, COUNTER, help);
    for forward in &report.forwards {
        for (class, count) in &forward.failures {
            let labels = [("forward", &*forward.name), ("class", &**class)];
            sample(text, name, &labels, *count);
        }
    }
}

fn finishing(report: &StatusReport) -> u64 {
    let connections = report.finishing.iter().map(|f| f.connections as u64);
    connections.sum()
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    add(text, format_args!("# HELP {PREFIX}{name} {help}\n"));
    add(text, format_args!("# TYPE {PREFIX}{name} {kind}\n"));
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{}\"", Escaped(value)))
        .collect();
    let labels = match labels.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", labels.join(",")),
    };
    add(text, format_args!("{PREFIX}{name}{labels} {value}\n"));
}

fn add(text: &mut String, line: fmt::Arguments<'_>) {
    text.write_fmt(line)
        .expect("writing to a String does not fail");
}

/// A label value, escaped when displayed.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A metric of each forward: name, kind, help and value.
type ForwardMetric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ForwardReport) -> u64,
);

const FORWARD: [ForwardMetric; 11] = [
    ("connections", GAUGE, "Connections with a session", |f| {
        f.connections as u64
    }),
    ("waiting", GAUGE, "Connections waiting for a session", |f| {
        f.waiting as u64
    }),
    ("accepted_total", COUNTER, "Connections accepted", |f| {
        f.accepted
    }),
    ("sessions", GAUGE, "Sessions ready to carry data", |f| {
        f.sessions as u64
    }),
    (
        "sessions_ready",
        GAUGE,
        "Ready sessions that carry no connection",
        |f| f.sessions_ready as u64,
    ),
    (
        "sessions_started_total",
        COUNTER,
        "Sessions started by AWS",
        |f| f.sessions_started,
    ),
    (
        "sessions_failed_total",
        COUNTER,
        "Failed attempts to start a session",
        |f| f.sessions_failed,
    ),
    (
        "resumes_total",
        COUNTER,
        "Sessions resumed over a new websocket",
        |f| f.resumes,
    ),
    (
        "sent_bytes_total",
        COUNTER,
        "Bytes received from clients and sent to destinations",
        |f| f.sent,
    ),
    (
        "received_bytes_total",
        COUNTER,
        "Bytes received from destinations and written to clients",
        |f| f.received,
    ),
    (
        "forward_failing",
        GAUGE,
        "1 while the forward cannot start, its sessions fail to start, or its destination refuses connections",
        |f| f.failure.is_some().into(),
    ),
];

const PREFIX: &str = "ssm_proxyd_";
const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";
const FINISHING: &str = "Connections of forwards removed or replaced by a reload";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut text = String::new();

        sample(&mut text, "x", &[("a", "1"), ("b", "q\"b\\n\nä")], 7);

        assert_eq!(text, "ssm_proxyd_x{a=\"1\",b=\"q\\\"b\\\\n\\nä\"} 7\n");
    }
}
