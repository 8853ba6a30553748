//! A `proto::Tunnel` and a `sim::agent::Agent` face to face, in virtual time.
//!
//! ```text
//!   Client ── Tunnel ── up ──▶ (service) ──▶ Agent ── Destination
//!                      ◀──── down ◀───────
//! ```
//!
//! The pair is the driver of both, and keeps both contracts: it drains events and messages after
//! every verb, wakes each at its own deadline and at no other time, and holds messages back while
//! their reader wants none. What a contract does not promise it does not do, so a forgotten
//! deadline or wake is a test that fails. Between the two stands the service: it keeps what is
//! sent to a leg that is down, or loses it, and says when the session is over.

mod drive;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::proto::{Event, Reason, StreamId, Tunnel};
use ssm_proxyd::sim::agent::{Agent, ConnectionId, Violation};
use ssm_proxyd::wire::payload::OpenDataChannel;

use super::agent_destination::Destination;
use super::client::Client;
use super::link::Link;
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
    /// What opened each websocket, in order.
    pub(crate) openings: Vec<OpenDataChannel>,
    pub(crate) notices: Vec<String>,
    /// What the driver was told of the weather.
    pub(crate) output: Vec<Event>,
    /// The agent's version, once the tunnel is ready.
    pub(crate) ready: Option<String>,
    /// Why the tunnel ended, once it has.
    pub(crate) closed: Option<Reason>,
    /// Where the pair stops, in messages that left.
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
        let start = beginning();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let PairOptions { seed, .. } = setup;
        Self {
            now: start,
            start,
            tunnel: Tunnel::new(start, wall, seed, setup.options),
            agent: Agent::new(start, wall, !seed, setup.agent, setup.job),
            up: Link::new(seed ^ 1, setup.up),
            down: Link::new(seed ^ 2, setup.down),
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

    /// A pair that is ready for streams, on a fair path of 10 ms each way.
    pub(crate) fn established() -> Self {
        PairOptions::default().established()
    }

    /// The client's websocket opens.
    pub(crate) fn connect(&mut self, token: &str) {
        self.client = Service::Opening;
        self.down.set_deaf(false);
        self.tunnel.handle_connected(self.now, token);
        self.wake();
    }

    /// The client's websocket breaks. Of what is in flight the oldest messages get through, so
    /// many in each direction; the service keeps what comes for the client, or not.
    pub(crate) fn disconnect(&mut self, spared: usize, kept: Delivery) {
        self.client = Service::Down;
        self.up.cut_off(spared);
        if kept == Delivery::No {
            self.down.cut_off(0);
            self.down.set_deaf(true);
        }
        self.tunnel.handle_disconnected(self.now);
        self.wake();
    }

    /// The agent's websocket breaks; as [`Pair::disconnect`].
    pub(crate) fn disconnect_agent(&mut self, spared: usize, kept: Delivery) {
        self.agents = Service::Down;
        self.down.cut_off(spared);
        if kept == Delivery::No {
            self.up.cut_off(0);
            self.up.set_deaf(true);
        }
        self.agent.handle_disconnected(self.now);
        self.wake();
    }

    /// The agent's websocket breaks while it reads: it processes the message that would arrive
    /// next, and cannot acknowledge it. The others are lost.
    pub(crate) fn disconnect_agent_amid_message(&mut self) {
        self.agent.handle_disconnected(self.now);
        if let Some(frame) = self.up.take_first() {
            self.agent.handle_message(self.now, frame);
        }
        self.disconnect_agent(0, Delivery::No);
    }

    /// The agent's websocket is up again.
    pub(crate) fn reconnect_agent(&mut self) {
        self.agents = Service::Up;
        self.up.set_deaf(false);
        self.agent.handle_connected(self.now);
        self.wake();
    }

    /// The service says something to the client.
    pub(crate) fn notify_client(&mut self, frame: Bytes) {
        self.down.send_surely(self.now, frame);
    }

    /// The service says something to the agent.
    pub(crate) fn notify_agent(&mut self, frame: Bytes) {
        self.up.send_surely(self.now, frame);
    }

    /// What an agent dials that has no mux, and does so before anybody asks.
    pub(crate) fn lead_to(&mut self, destination: Destination) {
        self.destinations.insert(SINGLE, destination);
    }

    /// What an agent dials for a stream that no local program has opened.
    pub(crate) fn expect_stream(&mut self, id: StreamId, destination: Destination) {
        self.destinations.insert(id, destination);
    }

    /// A local program opens the only stream of a session without a mux.
    pub(crate) fn open_single(&mut self) -> StreamId {
        let id = self.tunnel.open().expect("the tunnel is ready");
        assert_eq!(id, SINGLE);
        self.locals.insert(id, Client::new(id));
        self.wake();
        id
    }

    /// A local program opens a stream to `destination`.
    pub(crate) fn open(&mut self, destination: Destination) -> StreamId {
        let id = self.tunnel.open().expect("the tunnel is ready");
        self.locals.insert(id, Client::new(id));
        self.destinations.insert(id, destination);
        self.wake();
        id
    }

    /// A local program writes.
    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) {
        self.local(id).write(data);
        self.wake();
    }

    /// A local program closes its writing side.
    pub(crate) fn finish(&mut self, id: StreamId) {
        self.local(id).finish();
        self.wake();
    }

    /// The local program of a stream leaves, and its upload is asked for later.
    pub(crate) fn leave(&mut self, id: StreamId) {
        if let Some(local) = self.locals.get_mut(&id) {
            local.abandon(&mut self.tunnel);
        }
        self.wake();
    }

    /// A local program leaves.
    pub(crate) fn reset(&mut self, id: StreamId) {
        if let Some(local) = self.locals.get_mut(&id) {
            local.reset(&mut self.tunnel);
        }
        self.wake();
    }

    /// A local program stops or begins to read.
    pub(crate) fn set_reads(&mut self, id: StreamId, reads: bool) {
        self.local(id).set_reads(reads);
        self.wake();
    }

    /// The session is ended on purpose.
    pub(crate) fn close(&mut self) {
        self.tunnel.close(self.now);
        self.wake();
    }

    pub(crate) fn local(&mut self, id: StreamId) -> &mut Client {
        self.locals.get_mut(&id).expect("it was opened here")
    }

    pub(crate) fn local_of(&self, id: StreamId) -> &Client {
        &self.locals[&id]
    }

    pub(crate) fn destination(&mut self, id: StreamId) -> &mut Destination {
        self.destinations.get_mut(&id).expect("it was opened here")
    }

    pub(crate) fn destination_of(&self, id: StreamId) -> &Destination {
        &self.destinations[&id]
    }

    /// How long it runs.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Messages that left, both ways.
    pub(crate) fn messages(&self) -> usize {
        self.sent
    }

    /// What the client did that it must not.
    pub(crate) fn violations(&self) -> &BTreeMap<Violation, u64> {
        &self.agent.stats().violations
    }

    /// Goes on until `span` is over.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run(end, |_| false);
        self.now = end;
        self.wake();
    }

    /// Goes on until so many messages have left, and stops there with what is in flight. Nothing
    /// leaves any more until `stop_at` is changed.
    pub(crate) fn run_until_sent(&mut self, messages: usize) {
        self.stop_at = Some(messages);
        self.run(self.now + HOUR, |_| false);
    }

    /// Goes on until something is true, which must be within an hour.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now + HOUR;
        let over = self.run(end, &done);
        assert!(over || done(self), "in vain after {:?}", self.elapsed());
    }

    /// Goes on until nothing is left to happen. All that a client must not do is found here.
    pub(crate) fn settle(&mut self) {
        let end = self.now + HOUR;
        self.run(end, |_| false);
        let next = self.next();
        assert!(next.is_none(), "restless after {:?}", self.elapsed());
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

/// The one connection of a session without a mux.
const SINGLE: StreamId = StreamId(0);

/// The state of a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Down,
    /// Nothing was said on it yet.
    Opening,
    Up,
}

/// Whether the service keeps what comes for a leg that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Yes,
    No,
}

/// Where virtual time begins.
#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
pub(crate) fn beginning() -> Instant {
    Instant::now()
}

const HOUR: Duration = Duration::from_secs(3600);
