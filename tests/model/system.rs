//! The tunnel, an agent, and two queues of frames between them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::proto::{
    ClientVersion, Event, OpenError, Options, Read, Reason, StreamId, Transmit, Tunnel,
};
use ssm_proxyd::sim::agent::{self, Agent, ConnectionId, Retransmission, SendRate};

use super::reference::Reference;
use super::{DestinationKind, Operation};
use crate::support::agent_destination::{Destination, Dial, State};
use crate::support::pair::start_time;
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

/// The system under test.
pub(super) struct Harness {
    now: Instant,
    tunnel: Tunnel,
    agent: Agent,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    connected: bool,
    reference: Reference,
    streams: Vec<StreamId>,
    destinations: BTreeMap<StreamId, Destination>,
    connections: BTreeMap<StreamId, ConnectionId>,
    ready: bool,
}

impl Harness {
    pub(super) fn new() -> Self {
        let now = start_time();
        let wall = SystemTime::UNIX_EPOCH;
        let options = Options {
            upload_rate: 0,
            upload_payload: 2048,
            upload_window: 8192,
            keep_alive: false,
            shared: true,
            client_version: ClientVersion::DEFAULT,
        };
        let agent_options = agent::Options {
            message_size: 300,
            pace: SendRate::Unlimited,
            retransmission: Retransmission::All,
            process_start: Duration::ZERO..Duration::ZERO,
            ..agent::Options::default()
        };
        let job = PairOptions::default().job;
        let mut harness = Self {
            now,
            tunnel: Tunnel::new(now, wall, 1, options),
            agent: Agent::new(now, wall, 2, agent_options, job),
            up: VecDeque::new(),
            down: VecDeque::new(),
            connected: false,
            reference: Reference::new(options.upload_window),
            streams: Vec::new(),
            destinations: BTreeMap::new(),
            connections: BTreeMap::new(),
            ready: false,
        };
        harness.run(Operation::Connect);
        harness
    }

    /// Does one operation, and then all that follows from it immediately.
    pub(super) fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Open(kind) => self.open(kind),
            Operation::Write(which, len) => self.with(which, |harness, id| harness.write(id, len)),
            Operation::Read(which, max) => self.with(which, |harness, id| {
                let answer = harness.tunnel.read(id, max);
                let is_refused = matches!(harness.destination(id).dial(), Dial::Refuses(_));
                assert!(
                    !is_refused || answer != Read::End,
                    "a refused dial ended cleanly"
                );
                assert!(
                    answer != Read::Lost(Reason::Refused)
                        || harness.destination(id).received().is_empty(),
                    "bytes have reached a destination that is called refused for certain"
                );
                harness.reference.read(id, max, &answer);
            }),
            Operation::Finish(which) => self.with(which, |harness, id| {
                harness.tunnel.finish(id);
                harness.reference.finish(id);
            }),
            Operation::Reset(which) => self.with(which, Self::reset),
            Operation::DeliverUp(count) => (0..count).for_each(|_| self.deliver_up()),
            Operation::DeliverDown(count) => (0..count).for_each(|_| self.deliver_down()),
            Operation::LoseUp => drop(self.up.pop_front()),
            Operation::LoseDown => drop(self.down.pop_front()),
            Operation::DoubleUp => self.up.extend(self.up.front().cloned()),
            Operation::DoubleDown => self.down.extend(self.down.front().cloned()),
            Operation::DelayUp => self.up.rotate_left(usize::from(!self.up.is_empty())),
            Operation::DelayDown => self.down.rotate_left(usize::from(!self.down.is_empty())),
            Operation::Connect => self.connect(),
            Operation::Disconnect => self.disconnect(),
            Operation::Tick(millis) => self.tick(Duration::from_millis(millis)),
        }
        self.attend();
    }

    fn open(&mut self, kind: DestinationKind) {
        let destination = match kind {
            DestinationKind::Echo => Destination::echo(),
            DestinationKind::Sink => Destination::sink(),
            DestinationKind::Source(len) => Destination::source(pattern(9, len)),
            DestinationKind::Answer(after, len) => Destination::answering(after, pattern(8, len)),
            DestinationKind::Unreachable => Destination::refusing(),
        };
        match self.tunnel.open() {
            Ok(id) => {
                assert!(self.reference.may_be_ready());
                self.reference.open(id);
                self.destinations.insert(id, destination);
                self.streams.push(id);
            }
            Err(error) => {
                assert_eq!(error, OpenError::NotReady);
                assert!(!self.ready);
            }
        }
    }

    fn write(&mut self, id: StreamId, len: usize) {
        let data = pattern(u64::from(id.0) + len as u64, len);
        let answer = self.tunnel.write(id, &data);
        self.reference.write(id, &data, answer);
    }

    fn reset(&mut self, id: StreamId) {
        self.tunnel.reset(id);
        self.reference.reset(id);
    }

    fn with(&mut self, which: usize, operation: impl FnOnce(&mut Self, StreamId)) {
        if !self.streams.is_empty() {
            operation(self, self.streams[which % self.streams.len()]);
        }
    }

    fn deliver_up(&mut self) {
        if let Some(frame) = self.up.pop_front_if(|_| self.agent.wants_input()) {
            self.agent.handle_message(self.now, frame);
        }
    }

    fn deliver_down(&mut self) {
        let wants = self.connected && self.tunnel.wants_input();
        if let Some(frame) = self.down.pop_front_if(|_| wants) {
            self.reference.receive(&frame);
            let outcome = self.tunnel.handle_message(self.now, frame);
            assert_eq!(outcome, Ok(()));
        }
    }

    fn connect(&mut self) {
        if !self.connected {
            self.connected = true;
            self.tunnel.handle_connected(self.now, "token");
            let first = self.tunnel.poll_transmit(self.now);
            assert!(matches!(first, Some(Transmit::Opening(_))), "{first:?}");
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.up.clear();
        self.down.clear();
        self.tunnel.handle_disconnected(self.now);
    }

    fn tick(&mut self, span: Duration) {
        self.now += span;
        if self.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tunnel.handle_timeout(self.now);
        }
        if self.agent.poll_timeout().is_some_and(|at| at <= self.now) {
            self.agent.handle_timeout(self.now);
        }
    }

    fn attend(&mut self) {
        self.drive_destinations();
        while let Some(transmit) = self.tunnel.poll_transmit(self.now) {
            let Transmit::Message(frame) = transmit else {
                panic!("expected one OpenDataChannel for each websocket");
            };
            assert!(self.connected, "without a websocket");
            self.reference.send(&frame);
            self.up.push_back(frame);
        }
        while let Some(frame) = self.agent.poll_transmit(self.now) {
            if self.connected {
                self.down.push_back(frame);
            }
        }
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::Ready { .. } => {
                    assert!(!self.ready && self.reference.may_be_ready());
                    self.ready = true;
                }
                Event::Readable(id) => self.reference.handle_readable(id),
                Event::Writable(id) => self.reference.handle_writable(id),
                // Time and network events are reported, and change nothing for a stream.
                Event::RateLowered { .. }
                | Event::AckTimeout { .. }
                | Event::WebsocketStale { .. } => {}
                Event::Notice(_) | Event::Closed(_) => panic!("{event:?}"),
            }
        }
        assert!(!self.ready || self.reference.may_be_ready());
        self.reference.check(self.connected);
    }

    fn drive_destinations(&mut self) {
        self.drive_agent();
        for (id, destination) in &mut self.destinations {
            let Some(connection) = self.connections.get(id).copied() else {
                continue;
            };
            let taken = destination.poll_read();
            self.agent.handle_written(self.now, connection, taken);
            while self.agent.wants_read(connection)
                && let Some(data) = destination.poll_send()
            {
                self.agent.handle_read(connection, data);
            }
            if let Some(how) = destination.poll_end() {
                self.agent.handle_ended(self.now, connection, how);
            }
        }
        self.drive_agent();
    }

    fn drive_agent(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                agent::Event::Dial(id) => self.dial(id),
                agent::Event::Write(id, data) => {
                    self.destination(id.stream()).handle_write(data);
                }
                agent::Event::Close(id) => self.destination(id.stream()).handle_closed(),
                agent::Event::Ended(end) => panic!("{end:?}"),
            }
        }
    }

    fn dial(&mut self, id: ConnectionId) {
        self.connections.insert(id.stream(), id);
        let destination = self.destination(id.stream());
        if matches!(destination.dial(), Dial::Refuses(_)) {
            return self.agent.handle_dial_failed(self.now, id);
        }
        destination.handle_dialled();
        self.agent.handle_dialled(self.now, id);
    }

    fn destination(&mut self, id: StreamId) -> &mut Destination {
        self.destinations
            .get_mut(&id)
            .expect("the stream was opened here")
    }

    /// Runs until there is no work left, and checks the result.
    pub(super) fn settle(&mut self) {
        self.run(Operation::Connect);
        let mut rounds = 0;
        while !(self.is_quiet() && self.ready) {
            rounds += 1;
            assert!(rounds < 20_000, "it does not become idle");
            self.run(Operation::DeliverUp(50));
            self.run(Operation::DeliverDown(50));
            self.run(Operation::Tick(20));
        }
        self.reference.check_end();
        for id in self.streams.clone() {
            let destination = &self.destinations[&id];
            if matches!(destination.state(), State::Open | State::Closed) {
                assert_whole(destination.received(), self.reference.written(id));
            }
        }
    }

    /// True if nothing is in flight, queued or unacknowledged.
    fn is_quiet(&self) -> bool {
        let waits = self.tunnel.poll_timeout().is_some() || self.agent.unacknowledged() > 0;
        self.up.is_empty() && self.down.is_empty() && !waits
    }
}
