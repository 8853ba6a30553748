//! A simulator on loopback: the SSM API, Session Manager's data channels, and agents.
//!
//! It replaces AWS for any client, over real sockets with an endpoint override. It shares the byte
//! layouts of [`wire`](crate::wire) with our client and none of its logic. It implements
//! docs/protocol.md; where that is unsure, appendix B is the default and options select the rest.
//!
//! # What is simulated
//!
//! - [`agent`]: one side of a session as a state machine without I/O, for tests in virtual time.
//! - The API: StartSession, ResumeSession and TerminateSession with their checks and errors,
//!   DescribeSessions, DescribeDocument, and DescribeInstanceInformation for nodes selected by id or
//!   tags.
//! - ECS: services and their tasks, with ListTasks and DescribeTasks at the same endpoint.
//! - The data channel: upgrade, token, replacing a client, holding output without a client.
//! - Destinations: real TCP connections, to loopback addresses only.
//! - Faults: [`Faults`] and [`OneOffFault`]s, including the termination of idle sessions.
//!
//! Not simulated: shells, KMS, the agent's control channel and its pings, quotas.
//!
//! # For tests over sockets
//!
//! ```text
//! let simulator = Simulator::start(Options::default()).await?;
//! simulator.endpoint()           http://127.0.0.1:PORT, for AWS_ENDPOINT_URL_SSM
//! simulator.certificate_pem()    CA certificate for clients, with Options::tls
//! simulator.ledger()             records: sessions, delays, signatures, violations
//! simulator.open_sessions()      0 when no session was leaked
//! simulator.set_faults(…)        replaces the faults, in running sessions too
//! simulator.inject(None, OneOffFault::Break(DisconnectKind::Reset))   one fault now, in all sessions
//! simulator.fail(Operation::ResumeSession, ApiFault { … })    errors of the API
//! simulator.set_offline(target, true)
//! simulator.change_ecs(|ecs| ecs.service("prod", "web").unwrap().replace_tasks())
//! simulator.shutdown().await     stops all tasks
//!
//! Destination::start(ServerKind::Echo) and Source, Sink, Http: test servers as destinations
//! Resolver::insert("db.internal", Some(5432), address): maps a `host` for the agents
//! Options { agent: agent::Options { pace: SendRate::Unlimited, .. }, .. }: no pacing
//! ```
//!
//! # For tests in virtual time
//!
//! [`agent::Agent`] is the simulated agent without sockets; [`link::Link`] simulates one direction
//! of a faulty network path. Both take `now` and a seed.
//!
//! ```text
//! loop {
//!     core   ─ poll_transmit ─▶ up.push      up.pop   ─▶ agent.handle_message, if wants_input
//!     agent  ─ poll_transmit ─▶ down.push    down.pop ─▶ core
//!     agent.poll_event: Dial  ─▶ agent.handle_dialled, or handle_dial_failed
//!                       Write ─▶ the test's destination, then agent.handle_written
//!                       Close, Ended
//!     agent.handle_read, handle_ended: input from the destination, if wants_read
//!     now = the earliest of poll_timeout (both), next_arrival (both)
//!     handle_timeout of both
//! }
//! ```
//!
//! To break a websocket, call `up.cut(0); down.cut(0)` and notify the core. The agent has a
//! websocket of its own and does not notice: Session Manager holds its output up to
//! [`Options::gateway_buffer`] and then discards it. The agent's websocket can break as well; input
//! is then kept up to [`Options::gateway_input_buffer`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

mod action;
pub mod agent;
mod alarm;
mod api;
mod certificate;
mod client_websocket;
mod connection;
mod documents;
mod duration;
mod ecs;
mod fault_rules;
mod faults;
mod history;
mod http_server;
mod instance_connect;
mod json_bounds;
pub mod link;
mod listener;
mod messages;
mod nodes;
mod one_off_fault;
mod options;
mod paging;
mod pushed_keys;
mod queue;
mod records;
mod resolver;
mod service;
mod session;
mod session_spec;
mod signature;
mod target_id;
mod test_servers;
mod throttle;
mod tls_stream;

use alarm::Alarm;
pub use one_off_fault::{DisconnectKind, OneOffFault, ScheduledFault};

use certificate::Certificate;
pub use documents::{Document, is_document_name};
pub use duration::parse_duration;
pub use ecs::{Ecs, EcsAgent, EcsChange, EcsContainer, EcsHealth, EcsService, EcsTask};
pub use faults::{
    Action, ApiFault, BreakEvery, Direction, DroppedResponses, Faults, Join, MessageFault,
    Operation, RefusedUpgrades, SecondWebsocket, Subject, TokenLife,
};
pub use http_server::MANUAL;
use listener::Listener;
pub use nodes::Nodes;
pub use options::Options;
pub use pushed_keys::PushedKey;
pub use records::{EndedBy, SessionRecord, Snapshot, Traffic};
pub use resolver::{NotLoopback, Resolver};
use service::Service;
pub use signature::{Credentials, Signature, SignatureError};
pub use target_id::is_target;
pub use test_servers::{Destination, ReceivedData, ServerKind, seeded_bytes};
pub use throttle::Throttle;

use crate::clock;

/// A running simulator. Dropping it aborts its tasks.
#[derive(Debug)]
pub struct Simulator {
    service: Arc<Service>,
    certificate_pem: Option<String>,
    listener: JoinSet<()>,
}

impl Simulator {
    /// Starts the simulator and listens on `options.listen`.
    ///
    /// # Errors
    ///
    /// Fails if the address is not loopback or cannot be bound, or if a certificate or the timer
    /// thread cannot be created.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let address = options.listen;
        if !address.ip().is_loopback() {
            return Err(NotLoopback(address).into());
        }
        let names = certificate::names(options.public_names.then_some(&options.region));
        let certificate = options.tls.then(|| Certificate::generate(names));
        let certificate = certificate.transpose();
        let certificate = certificate.map_err(StartError::Certificate)?;
        let (tls, certificate_pem) = certificate
            .map(|made| (made.acceptor, made.authority_pem))
            .unzip();
        let cannot_listen = |source| StartError::Listen { address, source };
        let listener = Listener::bind(address).await.map_err(cannot_listen)?;
        let bound = listener.address().map_err(cannot_listen)?;
        let alarm = Alarm::start().map_err(StartError::Thread)?;
        let service = Service::new(options, bound, clock::now(), alarm);
        let service = Arc::new(service);
        let mut tasks = JoinSet::new();
        tasks.spawn(http_server::listen(Arc::clone(&service), listener, tls));
        Ok(Self {
            service,
            certificate_pem,
            listener: tasks,
        })
    }

    /// Returns the bound address.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Returns the value for `AWS_ENDPOINT_URL_SSM`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.service.options.tls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.service.advertised())
    }

    /// Returns the options; for the bound address see [`address`](Self::address).
    pub fn options(&self) -> &Options {
        &self.service.options
    }

    /// Returns the CA certificate that clients must trust, if `tls` is enabled.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Returns a snapshot of the records.
    pub fn ledger(&self) -> Snapshot {
        self.service.ledger.snapshot()
    }

    /// Returns the number of sessions that have not ended.
    pub fn open_sessions(&self) -> usize {
        self.ledger().open_sessions()
    }

    /// Returns the current faults.
    pub fn faults(&self) -> Faults {
        self.service.faults()
    }

    /// Replaces the faults; running sessions apply them immediately.
    pub fn set_faults(&self, faults: Faults) {
        let changed: Result<(), Infallible> = self.service.change(|_| Ok(faults));
        let Ok(()) = changed;
    }

    /// Makes API calls fail from now on. Replaces the previous fault of the operation.
    pub fn fail(&self, operation: Operation, fault: ApiFault) {
        let mut faults = self.faults();
        let _former: Option<ApiFault> = faults.api.insert(operation, fault);
        self.set_faults(faults);
    }

    /// Injects a fault into one session or, with `None`, into all. Returns the number of sessions.
    pub fn inject(&self, session_id: Option<&str>, fault: OneOffFault) -> usize {
        self.service.apply_fault(session_id, fault)
    }

    /// Sets whether the agent of a target is offline, for new sessions.
    pub fn set_offline(&self, target: &str, offline: bool) {
        self.service.set_offline(target, offline);
    }

    /// Replaces the nodes for lookups by tags.
    pub fn set_nodes(&self, nodes: Nodes) {
        self.service.set_nodes(nodes);
    }

    /// Changes the services of ECS. The agents of tasks that have stopped crash.
    pub fn change_ecs<T>(&self, change: impl FnOnce(&mut Ecs) -> T) -> T {
        self.service.change_ecs(change)
    }

    /// Stops all tasks and waits for them.
    pub async fn shutdown(mut self) {
        self.listener.shutdown().await;
        self.service.shutdown().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.service.abort();
    }
}

/// Error of starting a simulator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not loopback.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// The certificate cannot be generated.
    #[error("cannot generate a certificate")]
    Certificate(#[source] io::Error),
    /// The timer thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address to bind.
        address: SocketAddr,
        /// Error from the operating system.
        #[source]
        source: io::Error,
    },
}
