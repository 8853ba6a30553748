//! What a forward needs from the process.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::first_tunnel::FirstTunnel;
use super::listener::ActivatedSockets;
use crate::network::Network;
use crate::proto::{ClientVersion, ReorderBudget};
use crate::session::{PushedKey, Sessions, SsmClient};
use crate::tunnel::TriggerReceiver;

/// Shared services of the process that a forward needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// API client that starts sessions, for targets without one of their own.
    pub ssm: SsmClient,
    /// API client of each target of the forward, in their order.
    pub target_clients: Vec<SsmClient>,
    /// Task that terminates sessions.
    pub sessions: Sessions,
    /// Connects the websockets.
    pub network: Network,
    /// Memory budget for messages received out of order, shared by all tunnels.
    pub reorder_budget: ReorderBudget,
    /// Makes tunnels retry now.
    pub triggered: TriggerReceiver,
    /// Listeners bound by the service manager (socket activation).
    pub passed: ActivatedSockets,
    /// Makes every connection log one line (dump of open connections).
    pub dump_connections: TriggerReceiver,
    /// Limits the open connections of the whole daemon.
    pub permits: Arc<Semaphore>,
    /// Connections of a forward that may be accepted and pending; further ones stay in the
    /// backlog.
    pub max_waiting: usize,
    /// Seed of the random number generators of all pools.
    pub seed: u64,
    /// Client version reported to the agent.
    pub client_version: ClientVersion,
    /// Program, version and host, for the `Reason` of a session.
    pub origin: String,
    /// Public key that is pushed to the target when a session is ready, before it carries data.
    pub pushed_key: Option<Arc<PushedKey>>,
    /// Tunnel that the first connection uses; empty for all forwards but that of a session which
    /// another program has started.
    pub first_tunnel: FirstTunnel,
}
