//! Status report of a daemon, serialized as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::relay_report::ForwardRelayReport;
use crate::printable::Printable;

/// Status of a daemon and its forwards at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the running program.
    pub version: Printable,
    /// Process id.
    pub pid: u32,
    /// Seconds since it was ready.
    pub uptime_seconds: u64,
    /// True while it shuts down: it accepts no connections and waits for open ones.
    pub stopping: bool,
    /// True if the accept loops respond.
    pub alive: bool,
    /// Number of reloads applied.
    pub reloads: u64,
    /// Number of reloads that failed and changed nothing.
    pub failed_reloads: u64,
    /// Number of panics, each of which is a bug.
    #[serde(default)]
    pub internal_errors: u64,
    /// Current log filter.
    pub log: Printable,
    /// Number of log lines dropped because their reader was too slow or absent.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// Connections that have a session, including those of removed forwards.
    pub connections: usize,
    /// The servers of `[http]` and `[admin]` that cannot be bound and are retried.
    #[serde(default)]
    pub failing_servers: Vec<FailingServer>,
    /// The forwards of the configuration, in the order of the file.
    pub forwards: Vec<ForwardReport>,
    /// Forwards that were removed or replaced and still have connections.
    pub finishing: Vec<DrainingForward>,
}

/// A server of the daemon that cannot be bound now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingServer {
    /// Table of the configuration: `http` or `admin`.
    pub server: Printable,
    /// Name of the class of the error.
    #[serde(default)]
    pub code: Printable,
    /// Error of the last attempt.
    pub error: Printable,
    /// Suggested action.
    pub hint: Printable,
}

/// Status of a forward at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardReport {
    /// Name of the forward.
    pub name: Printable,
    /// Addresses on which it listens, or will listen.
    pub listen: Vec<Listening>,
    /// The managed node.
    pub target: Printable,
    /// Destination that the agent connects to, as configured; else `document` and its name.
    pub remote: Printable,
    /// Destination according to the agent of the last session, if `remote` does not say it.
    #[serde(default)]
    pub destination: Option<Printable>,
    /// State of the forward.
    pub state: ForwardState,
    /// Seconds since it is in this state.
    #[serde(default)]
    pub state_seconds: u64,
    /// Connections that have a session, including those from before a reload that changed it.
    pub connections: usize,
    /// Connections that wait for a session.
    pub waiting: usize,
    /// Connections accepted; this and the totals below continue when a reload changes the forward.
    pub accepted: u64,
    /// Bytes read from clients.
    pub sent: u64,
    /// Bytes written to clients.
    pub received: u64,
    /// Bytes per second read from clients, on average over the last seconds.
    #[serde(default)]
    pub sent_per_second: u64,
    /// Bytes per second written to clients, on average over the last seconds.
    #[serde(default)]
    pub received_per_second: u64,
    /// Established sessions, including those whose websocket is being replaced.
    pub sessions: usize,
    /// Of these, sessions that wait for a connection and can carry data now.
    pub sessions_ready: usize,
    /// Sessions started by AWS.
    pub sessions_started: u64,
    /// Failed attempts to establish a session.
    pub sessions_failed: u64,
    /// Sessions resumed over another websocket after theirs broke.
    pub resumes: u64,
    /// Number of failures, by class.
    #[serde(default)]
    pub failures: BTreeMap<Printable, u64>,
    /// Credentials of its sessions, once AWS was called.
    #[serde(default)]
    pub credentials: Option<CredentialsReport>,
    /// The relay that its connections go through, if any.
    #[serde(default)]
    pub relay: Option<ForwardRelayReport>,
    /// The current failure, if any.
    #[serde(alias = "trouble")]
    pub failure: Option<FailureReport>,
}

/// The AWS credentials that a forward uses. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsReport {
    /// Profile, if one is configured.
    pub profile: Option<Printable>,
    /// Role that is assumed, if one is configured.
    pub role_arn: Option<Printable>,
    /// AWS account, if the source of the credentials reports it.
    pub account: Option<Printable>,
    /// Seconds until they expire; absent if they do not.
    pub expires_seconds: Option<u64>,
}

/// An address on which a forward listens, as a client would write it.
pub type Listening = Printable;

/// State of a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardState {
    /// It listens, and no failure is known.
    Ready,
    /// It listens, and the first of its warm sessions is being established.
    Warming,
    /// It cannot start and is retried, or its last session or destination connection failed.
    Failing,
    /// The daemon is shutting down; it accepts no connections.
    Stopping,
    /// It is disabled by the configuration.
    Disabled,
}

impl ForwardState {
    /// Returns the name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Warming => "warming",
            Self::Failing => "failing",
            Self::Stopping => "stopping",
            Self::Disabled => "disabled",
        }
    }
}

/// The reason why a forward cannot start, or its sessions or connections fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// Name of its class.
    #[serde(alias = "word")]
    pub code: Printable,
    /// Error message.
    pub error: Printable,
    /// Suggested action; empty if there is none.
    pub hint: Printable,
    /// Seconds since it began.
    pub since_seconds: u64,
    /// Seconds since it was last observed.
    pub seen_seconds: u64,
    /// True while the daemon itself tries again: it lasts until an attempt succeeds. Otherwise only
    /// the next connection shows whether it still exists.
    #[serde(default)]
    pub retried: bool,
}

impl FailureReport {
    /// Returns true if it may be over: it was not observed for `seconds`, in which nothing was tried.
    pub fn may_be_over(&self, seconds: u64) -> bool {
        !self.retried && self.seen_seconds >= seconds
    }
}

/// A forward that only finishes its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingForward {
    /// Name of the forward.
    pub name: Printable,
    /// Number of its open connections.
    pub connections: usize,
}
