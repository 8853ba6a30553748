//! What a session is started with, and the commands to it.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::agent::Job;
use super::client_websocket::Client;
use super::one_off_fault::OneOffFault;
use super::records::SharedRecord;

/// Command to a session. TerminateSession is the end of the queue, so that it has an effect
/// even if the queue is full.
pub(super) enum Command {
    /// Attaches a client's websocket with a valid token; replaces the current one.
    Attach(Box<Client>),
    /// Wakes the session, which loads the changed faults. Not needed if the queue is full.
    ReloadFaults,
    /// Injects a fault once.
    Inject(OneOffFault),
}

/// Specification of a session.
#[derive(Debug)]
pub(super) struct SessionSpec {
    pub(super) session_id: String,
    /// Job of the agent.
    pub(super) job: Job,
    /// Addresses of the destination.
    pub(super) addresses: Vec<SocketAddr>,
    /// Random seed of the session.
    pub(super) seed: u64,
}

/// Parts of a session that the service has opened.
pub(super) struct StartedSession {
    pub(super) spec: SessionSpec,
    pub(super) record: SharedRecord,
    pub(super) commands: mpsc::Receiver<Command>,
}
