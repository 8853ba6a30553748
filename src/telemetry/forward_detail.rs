//! Detailed report of one forward: its sessions and connections, serialized as JSON.

use serde::{Deserialize, Serialize};

use super::relay_report::ForwardStripeReport;
use super::status::ForwardReport;
use crate::printable::Printable;

/// One forward with its sessions and connections. The lists have at most
/// [`ForwardDetail::MAX_LISTED`] entries, the oldest ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardDetail {
    /// The forward.
    pub forward: ForwardReport,
    /// Number of its sessions.
    pub sessions_total: usize,
    /// Its sessions, oldest first.
    pub sessions: Vec<SessionReport>,
    /// The stripes to its relay, oldest first; each is one of its sessions.
    #[serde(default)]
    pub stripes: Vec<ForwardStripeReport>,
    /// Number of its connections, with or without a session, also those accepted before a reload.
    pub connections_total: usize,
    /// Its connections, oldest first.
    pub connections: Vec<ConnectionReport>,
}

impl ForwardDetail {
    /// Maximum number of sessions and of connections in a report.
    pub const MAX_LISTED: usize = 1000;
}

/// A session at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Session id.
    pub id: Printable,
    /// The managed node.
    pub node: Printable,
    /// `opening`, `ready`, `disconnected` (its websocket is being replaced) or `ended`.
    pub state: Printable,
    /// Number of its connections; 0: it waits for one.
    pub connections: usize,
    /// Seconds since it was started.
    pub age_seconds: u64,
    /// Version of the agent, once it is ready.
    pub agent_version: Option<Printable>,
    /// Smoothed round trip of messages to the agent, in milliseconds.
    pub round_trip_ms: u64,
    /// How often its websocket was replaced.
    pub resumes: u32,
}

/// A connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// Number of the connection, for the command `close`.
    pub id: u64,
    /// The client.
    pub peer: Printable,
    /// Seconds since it was accepted.
    pub age_seconds: u64,
    /// What it waits for, or `open`, `half_closed` or `flushing`.
    pub phase: Printable,
    /// Bytes of the client that were passed on.
    pub sent: u64,
    /// Bytes of the destination that were written to the client.
    pub received: u64,
    /// Session id, once it has a session.
    pub session: Option<Printable>,
    /// Destination that the client of a proxy has requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Printable>,
}
