//! The far side on loopback: the SSM API, the service between client and agent, and agents.
//!
//! It stands in for AWS towards any client, ours or not: over real sockets, reached as AWS is,
//! with an endpoint override. It shares the bytes of [`wire`](crate::wire) with our client and
//! not a line of its logic. What it does is what protocol.md describes; where nothing is known
//! it does what appendix B says, and knobs do the other thing.
//!
//! # What is imitated
//!
//! - [`agent`]: one side of a session as a pure value, for tests in virtual time.
//! - The API: StartSession, ResumeSession, TerminateSession, their checks and errors, and
//!   DescribeInstanceInformation of nodes by their tags.
//! - The data channel: upgrade, token, replacing a client, holding output while none is there.
//! - Destinations: real TCP connections, to loopback addresses and nowhere else.
//! - What goes wrong, and when: [`Faults`] and [`OneOffFault`]s, idle sessions that are ended among them.
//!
//! Not imitated: shells, KMS, the agent's control channel, its pings, quotas.
//!
//! # For tests over sockets
//!
//! ```text
//! let simulator = Simulator::start(Options::default()).await?;
//! simulator.endpoint()           http://127.0.0.1:PORT: AWS_ENDPOINT_URL_SSM
//! simulator.certificate_pem()    what to trust, with Options::tls
//! simulator.ledger()             what was seen: sessions, waits, signatures, violations
//! simulator.open_sessions()      0 when no session was forgotten
//! simulator.set_faults(…)        what goes wrong from now on, in running sessions too
//! simulator.strike(None, Blow::Break(Manner::Reset))       what happens now, to every session
//! simulator.fail(Operation::ResumeSession, ApiFault { … }) errors of the API
//! simulator.set_offline(target, true)
//! simulator.shutdown().await     ends every task
//!
//! Destination::start(Role::Echo) and Source, Sink, Http: servers to forward to
//! Resolver::insert("db.internal", Some(5432), address): what `host` means to the agents
//! Options { agent: agent::Options { pace: Pace::Unlimited, .. }, .. }: no waiting for a pace
//! ```
//!
//! # For tests in virtual time
//!
//! [`agent::Agent`] is the far side without sockets; [`link::Link`] is a bad path for each
//! direction, [`link::Breaks`] says when a websocket breaks. All take `now` and a seed.
//!
//! ```text
//! loop {
//!     core   ─ poll_transmit ─▶ up.push      up.pop   ─▶ agent.handle_message, if wants_input
//!     agent  ─ poll_transmit ─▶ down.push    down.pop ─▶ core
//!     agent.poll_event: Dial  ─▶ agent.handle_dialled, or handle_dial_failed
//!                       Write ─▶ the test's destination, then agent.handle_written
//!                       Close, Ended
//!     agent.handle_read, handle_ended: what the destination says, if wants_read
//!     now = the earliest of poll_timeout (both), next_arrival (both), Breaks::next
//!     handle_timeout of both
//! }
//! ```
//!
//! A websocket that breaks is `up.cut(); down.cut()` and a word to the core; the agent has a
//! websocket of its own, so it notices nothing, and what it says meanwhile is held by the
//! service up to [`Options::gateway_buffer`] and then discarded. Its own may break as well, and what
//! is said to it meanwhile is kept up to [`Options::gateway_input_buffer`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub mod agent;
mod alarm;
mod api;
mod certificate;
mod client_websocket;
mod clock;
mod connection;
mod documents;
mod duration;
mod fault_rules;
mod faults;
mod history;
mod http_server;
mod json_bounds;
pub mod link;
mod messages;
mod nodes;
mod one_off_fault;
mod options;
mod paging;
mod queue;
mod records;
mod resolver;
mod service;
mod session;
mod signature;
mod test_servers;
mod throttle;
mod tls_stream;

use alarm::Alarm;
pub use api::is_target;
pub use one_off_fault::{Manner, OneOffFault, ScheduledFault};

use certificate::Certificate;
pub use documents::{documents, is_document_name};
pub use duration::parse_duration;
pub use faults::{
    Action, ApiFault, BreakEvery, Direction, Faults, Join, LostAnswers, MessageFault, Operation,
    RefusedUpgrades, SecondWebsocket, Subject, TokenLife,
};
pub use http_server::MANUAL;
pub use nodes::Nodes;
pub use options::Options;
pub use records::{EndedBy, Record, Snapshot, Traffic};
pub use resolver::{NotLoopback, Resolver};
use service::Service;
pub use signature::{Credentials, Fault, Signature};
pub use test_servers::{Destination, Received, Role, seeded};
pub use throttle::Throttle;

/// A running simulator. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Simulator {
    service: Arc<Service>,
    certificate_pem: Option<String>,
    listener: JoinSet<()>,
}

impl Simulator {
    /// Listens and serves.
    ///
    /// # Errors
    ///
    /// If the address is not loopback or cannot be bound, or no certificate can be made.
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
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        let bound = listener.local_addr().map_err(cannot_listen)?;
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// What `AWS_ENDPOINT_URL_SSM` must be.
    pub fn endpoint(&self) -> String {
        let scheme = if self.service.options.tls {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.service.advertised())
    }

    /// What it was started with; `listen` is as asked for, see [`address`](Self::address).
    pub fn options(&self) -> &Options {
        &self.service.options
    }

    /// The authority that clients must trust, with `tls`.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// What was seen so far.
    pub fn ledger(&self) -> Snapshot {
        self.service.ledger.snapshot()
    }

    /// How many sessions have not ended.
    pub fn open_sessions(&self) -> usize {
        self.ledger().open_sessions()
    }

    /// What is switched on to go wrong.
    pub fn faults(&self) -> Faults {
        self.service.faults()
    }

    /// Switches faults on and off; sessions that run notice at once.
    pub fn set_faults(&self, faults: Faults) {
        let changed: Result<(), Infallible> = self.service.change(|_| Ok(faults));
        let Ok(()) = changed;
    }

    /// Lets API calls fail from now on; a former fault of the operation is replaced.
    pub fn fail(&self, operation: Operation, fault: ApiFault) {
        let mut faults = self.faults();
        let _former: Option<ApiFault> = faults.api.insert(operation, fault);
        self.set_faults(faults);
    }

    /// Lets something happen to one session, or to every one; how many that were.
    pub fn inject(&self, session_id: Option<&str>, blow: OneOffFault) -> usize {
        self.service.apply_fault(session_id, blow)
    }

    /// Connects or disconnects the agent of a target, for sessions to come.
    pub fn set_offline(&self, target: &str, offline: bool) {
        self.service.set_offline(target, offline);
    }

    /// Ends every task and waits for it.
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

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It listens on nothing but loopback.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// There is no certificate to serve with.
    #[error("cannot make a certificate")]
    Certificate(#[source] io::Error),
    /// There is no thread for its timers.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
