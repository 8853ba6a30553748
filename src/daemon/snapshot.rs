//! Everything that an HTTP page shows, at one moment.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::aws_clients::AwsClients;
use super::credentials;
use super::status::{DaemonStats, ForwardInfo, ForwardSnapshot, LastReload};
use crate::session::{ApiCallCount, api_calls};
use crate::telemetry::{ForwardMetrics, StatusReport};

/// Sender of a snapshot; the receiver may have been dropped.
pub(super) type SnapshotSender = oneshot::Sender<Snapshot>;

/// State of the daemon and its forwards at one moment. The metrics of the forwards continue to
/// change.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) report: StatusReport,
    /// In the order of the report.
    pub(super) forwards: Vec<ForwardSample>,
    /// When the daemon was ready.
    pub(super) started: SystemTime,
    pub(super) last_reload: LastReload,
    pub(super) api_calls: Vec<ApiCallCount>,
}

/// What the report of a forward does not contain.
#[derive(Debug)]
pub(super) struct ForwardSample {
    pub(super) metrics: Arc<ForwardMetrics>,
    pub(super) max_connections: usize,
    /// It listens: clients can connect.
    pub(super) listens: bool,
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
    ) -> Self {
        let sample = |info: &Arc<ForwardInfo>| ForwardSample {
            metrics: Arc::clone(&info.metrics),
            max_connections: info.settings.max_connections,
            listens: info.connections.is_some(),
            credentials_expiry: credentials::expiry(aws, &info.settings),
        };
        Self {
            report,
            forwards: forwards.running.iter().map(sample).collect(),
            started: stats.started,
            last_reload: stats.last_reload,
            api_calls: api_calls(),
        }
    }
}
