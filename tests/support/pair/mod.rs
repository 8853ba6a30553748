//! A `proto::Tunnel` and a `sim::agent::Agent` connected to each other, in virtual time.
//!
//! ```text
//!   Client ── Tunnel ── up ──▶ (service) ──▶ Agent ── Destination
//!                      ◀──── down ◀───────
//! ```
//!
//! The pair is the driver of both, and keeps both contracts: it drains events and messages after
//! every call, wakes each at its own deadline and at no other time, and holds messages back while
//! their receiver accepts none. It does nothing that a contract does not require, so a missing
//! deadline or wake-up is a failed test. Between the two is the service: it keeps or loses what is
//! sent to a disconnected side, and reports the end of the session.

mod drive;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::proto::{Event, Reason, StreamId, Tunnel};
use ssm_proxyd::sim::agent::{Agent, ConnectionId, Violation};
use ssm_proxyd::sim::link::{Link, LinkConditions};
use ssm_proxyd::wire::payload::OpenDataChannel;

use super::agent_destination::Destination;
use super::client::Client;
use super::pair_options::PairOptions;
use super::trace::Traces;

/// Two cores, two links and one clock.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) tunnel: Tunnel,
    pub(crate) agent: Agent,
    pub(crate) up: Link,
    pub(crate) down: Link,
    pub(crate) journal: Traces,
    /// The OpenDataChannel message of each websocket, in order.
    pub(crate) openings: Vec<OpenDataChannel>,
    pub(crate) notices: Vec<String>,
    /// The network events that the driver was given.
    pub(crate) output: Vec<Event>,
    /// The agent's version, once the tunnel is ready.
    pub(crate) ready: Option<String>,
    /// The reason of the tunnel's end, once it has ended.
    pub(crate) closed: Option<Reason>,
    /// The number of sent messages at which the pair stops.
    pub(crate) stop_at: Option<usize>,
    locals: BTreeMap<StreamId, Client>,
    destinations: BTreeMap<StreamId, Destination>,
    connections: BTreeMap<StreamId, ConnectionId>,
    dials: Vec<(Instant, ConnectionId, bool)>,
    client: Service,
    agents: Service,
    sent: usize,
    moved: bool,
}

impl Pair {
    /// An agent that waits for a client, and a tunnel that waits for its websocket.
    pub(crate) fn new(setup: PairOptions) -> Self {
        let start = start_time();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let PairOptions { seed, .. } = setup;
        Self {
            now: start,
            start,
            tunnel: Tunnel::new(start, wall, seed, setup.options),
            agent: Agent::new(start, wall, !seed, setup.agent, setup.job),
            up: link(seed ^ 1, setup.up, setup.capacity),
            down: link(seed ^ 2, setup.down, setup.capacity),
            journal: Traces::new(setup.records),
            openings: Vec::new(),
            notices: Vec::new(),
            output: Vec::new(),
            ready: None,
            closed: None,
            stop_at: None,
            locals: BTreeMap::new(),
            destinations: BTreeMap::new(),
            connections: BTreeMap::new(),
            dials: Vec::new(),
            client: Service::Down,
            agents: Service::Up,
            sent: 0,
            moved: false,
        }
    }

    /// A pair that is ready for streams, on a path without faults of 10 ms each way.
    pub(crate) fn established() -> Self {
        PairOptions::default().established()
    }

    /// The client's websocket opens.
    pub(crate) fn connect(&mut self, token: &str) {
        self.client = Service::Opening;
        self.down.set_discards(false);
        self.tunnel.handle_connected(self.now, token);
        self.wake();
    }

    /// The client's websocket breaks. In each direction, this number of the oldest messages in
    /// flight arrive; the service keeps messages for the client, or loses them.
    pub(crate) fn disconnect(&mut self, delivered: usize, kept: Delivery) {
        self.client = Service::Down;
        self.up.cut(delivered);
        if kept == Delivery::No {
            self.down.cut(0);
            self.down.set_discards(true);
        }
        self.tunnel.handle_disconnected(self.now);
        self.wake();
    }

    /// The agent's websocket breaks; as [`Pair::disconnect`].
    pub(crate) fn disconnect_agent(&mut self, delivered: usize, kept: Delivery) {
        self.agents = Service::Down;
        self.down.cut(delivered);
        if kept == Delivery::No {
            self.up.cut(0);
            self.up.set_discards(true);
        }
        self.agent.handle_disconnected(self.now);
        self.wake();
    }

    /// The agent's websocket breaks while it reads: it processes the next message and cannot
    /// acknowledge it. The other messages are lost.
    pub(crate) fn disconnect_agent_during_message(&mut self) {
        self.agent.handle_disconnected(self.now);
        if let Some(frame) = self.up.pop_first() {
            self.agent.handle_message(self.now, frame);
        }
        self.disconnect_agent(0, Delivery::No);
    }

    /// The agent's websocket is connected again.
    pub(crate) fn reconnect_agent(&mut self) {
        self.agents = Service::Up;
        self.up.set_discards(false);
        self.agent.handle_connected(self.now);
        self.wake();
    }

    /// The service sends a message to the client.
    pub(crate) fn notify_client(&mut self, frame: Bytes) {
        self.down.push_reliably(self.now, frame);
    }

    /// The service sends a message to the agent.
    pub(crate) fn notify_agent(&mut self, frame: Bytes) {
        self.up.push_reliably(self.now, frame);
    }

    /// The destination that an agent without a mux dials, before any stream is opened.
    pub(crate) fn set_destination(&mut self, destination: Destination) {
        self.destinations.insert(SINGLE, destination);
    }

    /// The destination that an agent dials for a stream that no client has opened.
    pub(crate) fn expect_stream(&mut self, id: StreamId, destination: Destination) {
        self.destinations.insert(id, destination);
    }

    /// A client opens the only stream of a session without a mux.
    pub(crate) fn open_single(&mut self) -> StreamId {
        let id = self.tunnel.open().expect("the tunnel must be ready");
        assert_eq!(id, SINGLE);
        self.locals.insert(id, Client::new(id));
        self.wake();
        id
    }

    /// A client opens a stream to `destination`.
    pub(crate) fn open(&mut self, destination: Destination) -> StreamId {
        let id = self.tunnel.open().expect("the tunnel must be ready");
        self.locals.insert(id, Client::new(id));
        self.destinations.insert(id, destination);
        self.wake();
        id
    }

    /// A client writes.
    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) {
        self.local(id).write(data);
        self.wake();
    }

    /// A client closes its writing side.
    pub(crate) fn finish(&mut self, id: StreamId) {
        self.local(id).finish();
        self.wake();
    }

    /// The client of a stream closes it, and the outcome of its upload is asked for later.
    pub(crate) fn abandon(&mut self, id: StreamId) {
        if let Some(local) = self.locals.get_mut(&id) {
            local.abandon(&mut self.tunnel);
        }
        self.wake();
    }

    /// A client closes its stream.
    pub(crate) fn reset(&mut self, id: StreamId) {
        if let Some(local) = self.locals.get_mut(&id) {
            local.reset(&mut self.tunnel);
        }
        self.wake();
    }

    /// A client stops or resumes reading.
    pub(crate) fn set_reads(&mut self, id: StreamId, reads: bool) {
        self.local(id).set_reads(reads);
        self.wake();
    }

    /// The session is closed by the client.
    pub(crate) fn close(&mut self) {
        self.tunnel.close(self.now);
        self.wake();
    }

    pub(crate) fn local(&mut self, id: StreamId) -> &mut Client {
        self.locals
            .get_mut(&id)
            .expect("the stream was opened by this pair")
    }

    pub(crate) fn local_of(&self, id: StreamId) -> &Client {
        &self.locals[&id]
    }

    pub(crate) fn destination(&mut self, id: StreamId) -> &mut Destination {
        self.destinations
            .get_mut(&id)
            .expect("the stream was opened by this pair")
    }

    pub(crate) fn destination_of(&self, id: StreamId) -> &Destination {
        &self.destinations[&id]
    }

    /// The elapsed time.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The number of messages sent, both ways.
    pub(crate) fn messages(&self) -> usize {
        self.sent
    }

    /// The protocol violations of the client.
    pub(crate) fn violations(&self) -> &BTreeMap<Violation, u64> {
        &self.agent.stats().violations
    }

    /// Runs for `span`.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run(end, |_| false);
        self.now = end;
        self.wake();
    }

    /// Runs until this number of messages was sent, and stops with messages in flight. Nothing is
    /// sent any more until `stop_at` is changed.
    pub(crate) fn run_until_sent(&mut self, messages: usize) {
        self.stop_at = Some(messages);
        self.run(self.now + HOUR, |_| false);
    }

    /// Runs until a condition is true, which must be within an hour.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now + HOUR;
        let over = self.run(end, &done);
        assert!(over || done(self), "timeout after {:?}", self.elapsed());
    }

    /// Runs until there is no work left. All protocol violations of the client are reported here.
    pub(crate) fn settle(&mut self) {
        let end = self.now + HOUR;
        self.run(end, |_| false);
        let next = self.next();
        assert!(next.is_none(), "not idle after {:?}", self.elapsed());
        assert!(self.violations().is_empty(), "{:?}", self.violations());
    }

    fn run(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        self.wake();
        while !done(self) && !self.has_stopped() {
            match self.next().filter(|next| *next <= end) {
                Some(next) => self.now = next,
                None => return false,
            }
            self.wake();
        }
        true
    }
}

fn link(seed: u64, conditions: LinkConditions, capacity: usize) -> Link {
    let mut link = Link::new(seed, conditions);
    link.set_capacity(capacity);
    link
}

/// The one connection of a session without a mux.
const SINGLE: StreamId = StreamId(0);

/// The state of a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Down,
    /// No message was sent on it yet.
    Opening,
    Up,
}

/// Selects if the service keeps messages for a disconnected side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Yes,
    No,
}

/// The start of virtual time.
#[expect(clippy::disallowed_methods, reason = "virtual time needs a start")]
pub(crate) fn start_time() -> Instant {
    Instant::now()
}

const HOUR: Duration = Duration::from_secs(3600);
