//! Everything that an HTTP page shows, at one moment.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::aws_clients::AwsClients;
use super::credentials;
use super::gauges::Gauges;
use super::http::Rejection;
use super::status::{DaemonStats, ForwardInfo, ForwardSnapshot, LastReload};
use crate::clock;
use crate::forward::BundleInfo;
use crate::session::{ApiCallCount, api_calls};
use crate::telemetry::{ForwardTotals, StatusReport};

/// Sender of a snapshot; the receiver may have been dropped.
pub(super) type SnapshotSender = oneshot::Sender<Snapshot>;

/// State of the daemon and its forwards at one moment. The metrics of the forwards continue to
/// change.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) report: StatusReport,
    /// In the order of the report; then those that a reload removed and that still finish.
    pub(super) forwards: Vec<ForwardSample>,
    /// When the daemon was ready.
    pub(super) started: SystemTime,
    pub(super) last_reload: LastReload,
    pub(super) api_calls: Vec<ApiCallCount>,
    /// What the HTTP server has rejected.
    pub(super) http_rejections: Vec<(Rejection, u64)>,
}

/// What the metrics of a forward are read from.
#[derive(Debug)]
pub(super) struct ForwardSample {
    info: Arc<ForwardInfo>,
    pub(super) gauges: Gauges,
    /// Its bundle; `None` without a relay, and empty while there is none.
    pub(super) bundle: Option<BundleInfo>,
    /// `None` if a reload removed the forward.
    pub(super) configured: Option<ConfiguredSample>,
}

/// What only a forward of the configuration has.
#[derive(Debug)]
pub(super) struct ConfiguredSample {
    pub(super) max_connections: usize,
    /// It listens: clients can connect.
    pub(super) listens: bool,
    pub(super) is_failing: bool,
    /// When its credentials expire, if they are known and do.
    pub(super) credentials_expiry: Option<SystemTime>,
}

impl Snapshot {
    /// Takes a snapshot. `report` is the report of `forwards`.
    pub(super) fn new(
        report: StatusReport,
        stats: &DaemonStats,
        forwards: &ForwardSnapshot,
        aws: &AwsClients,
        http_rejections: Vec<(Rejection, u64)>,
    ) -> Self {
        let now = clock::now();
        let sample = |info: &Arc<ForwardInfo>, configured| ForwardSample {
            info: Arc::clone(info),
            bundle: info
                .settings
                .relay
                .map(|_| info.bundle(now).unwrap_or_default()),
            gauges: forwards.gauges(info.name()),
            configured,
        };
        let running = forwards.running.iter().map(|info| {
            let configured = ConfiguredSample {
                max_connections: info.settings.max_connections,
                listens: info.connections.is_some(),
                is_failing: info.metrics.failure().is_some(),
                credentials_expiry: credentials::expiry(aws, &info.settings),
            };
            sample(info, Some(configured))
        });
        let removed = forwards.removed().into_iter();
        let removed = removed.map(|info| sample(info, None));
        Self {
            report,
            forwards: running.chain(removed).collect(),
            started: stats.started,
            last_reload: stats.last_reload,
            api_calls: api_calls(),
            http_rejections,
        }
    }
}

impl ForwardSample {
    pub(super) fn name(&self) -> &str {
        self.info.name()
    }

    /// Returns the maximum number of stripes; 0 without a relay.
    pub(super) fn max_stripes(&self) -> usize {
        self.info.settings.relay.map_or(0, |relay| relay.stripes)
    }

    pub(super) fn totals(&self) -> &ForwardTotals {
        &self.info.metrics.totals
    }
}
