//! Metrics of the daemon as a whole.

use prometheus_client::metrics::MetricType::{Counter, Gauge, Info};

use super::family::{Family, Sample};
use crate::daemon::http::Rejection;
use crate::daemon::snapshot::Snapshot;
use crate::error_class::ErrorClass;

/// All of them.
pub(super) const ALL: &[Family<Snapshot>] = &[
    Family {
        name: "ssm_proxyd_build_info",
        kind: Info,
        help: "Version of the running program",
        samples: |s| vec![Sample::new([("version", s.report.version.as_str())], 1_u64)],
    },
    Family {
        name: "ssm_proxyd_start_time_seconds",
        kind: Gauge,
        help: "Time at which all addresses were bound, in seconds since 1970",
        samples: |s| Sample::only(s.started),
    },
    Family {
        name: "ssm_proxyd_uptime_seconds",
        kind: Gauge,
        help: "Seconds since all addresses were bound",
        samples: |s| Sample::only(s.report.uptime_seconds),
    },
    Family {
        name: "ssm_proxyd_stopping",
        kind: Gauge,
        help: "1 while the daemon is stopping",
        samples: |s| Sample::only(s.report.stopping),
    },
    Family {
        name: "ssm_proxyd_log_lines_dropped_total",
        kind: Counter,
        help: "Log lines dropped because the log's reader was too slow",
        samples: |s| Sample::only(s.report.log_lines_dropped),
    },
    Family {
        name: "ssm_proxyd_reloads_total",
        kind: Counter,
        help: "Reloads, by outcome",
        samples: |s| {
            vec![
                Sample::new([("outcome", "done")], s.report.reloads),
                Sample::new([("outcome", "failed")], s.report.failed_reloads),
            ]
        },
    },
    Family {
        name: "ssm_proxyd_last_reload_successful",
        kind: Gauge,
        help: "1 if the last reload succeeded, or if there was none",
        samples: |s| Sample::only(s.last_reload.succeeded),
    },
    Family {
        name: "ssm_proxyd_last_reload_success_timestamp_seconds",
        kind: Gauge,
        help: "Time at which the configuration in use was applied, in seconds since 1970",
        samples: |s| Sample::only(s.last_reload.applied),
    },
    Family {
        name: "ssm_proxyd_internal_errors_total",
        kind: Counter,
        help: "Panics, each of which is a bug (please report it)",
        samples: |s| Sample::only(s.report.internal_errors),
    },
    Family {
        name: "ssm_proxyd_server_failing",
        kind: Gauge,
        help: "1 while the server cannot bind its address",
        samples: |s| {
            let fails = |server: &str| {
                let mut failing = s.report.failing_servers.iter();
                failing.any(|failing| failing.server.as_str() == server)
            };
            let servers = ["http", "admin"].into_iter();
            let sample = |server| Sample::new([("server", server)], fails(server));
            servers.map(sample).collect()
        },
    },
    Family {
        name: "ssm_proxyd_http_rejected_total",
        kind: Counter,
        help: "Requests and connections that the HTTP server rejected, by reason",
        samples: |s| {
            let rejections = s.http_rejections.iter();
            let sample =
                |(kind, count): &(Rejection, u64)| Sample::new([("reason", kind.name())], *count);
            rejections.map(sample).collect()
        },
    },
    Family {
        name: "ssm_proxyd_api_calls_total",
        kind: Counter,
        help: "Completed calls of the AWS API and requests for credentials, by operation and outcome: ok or the class of the error",
        samples: |s| {
            let calls = s.api_calls.iter().map(|(operation, class, count)| {
                let outcome = class.map_or("ok", ErrorClass::name);
                Sample::new([("operation", *operation), ("outcome", outcome)], *count)
            });
            calls.collect()
        },
    },
];
