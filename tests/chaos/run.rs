//! Runs a scenario, ends the faults, and checks the bytes of every connection.

use std::time::{Duration, Instant};

use ssm_proxyd::proto::{Reason, StreamId};
use ssm_proxyd::sim::link::LinkConditions;
use ssm_proxyd::wire::message::MessageType;

use super::Totals;
use super::scenario::{Action, Connection, Scenario};
use crate::support::agent_destination::{Dial, State};
use crate::support::client::End;
use crate::support::message_builder;
use crate::support::pair::Pair;
use crate::support::payload::{assert_prefix, assert_whole};

/// Runs a scenario to its end.
pub(super) fn run_scenario(scenario: Scenario) -> Totals {
    let mut run = Run::begin(scenario);
    if let Some(reason) = &run.pair.closed {
        // The agent waits for fifteen seconds, and our response was lost each time.
        assert!(
            reason.to_string().contains("Handshake timed out"),
            "{reason}"
        );
        return run.totals;
    }
    run.run_actions();
    run.end_faults();
    run.check();
    run.close_all();
    run.totals
}

struct Run {
    pair: Pair,
    actions: Vec<(Duration, Action)>,
    connections: Vec<Connection>,
    streams: Vec<Option<StreamId>>,
    /// Streams that their client closed before they ended.
    abandoned: Vec<bool>,
    /// The time at which each websocket is connected again.
    client: Option<Instant>,
    agent: Option<Instant>,
    totals: Totals,
}

impl Run {
    fn begin(scenario: Scenario) -> Self {
        let count = scenario.connections.len();
        let mut pair = Pair::new(scenario.setup);
        pair.connect("token");
        pair.run_until(|pair| pair.ready.is_some() || pair.closed.is_some());
        Self {
            pair,
            actions: scenario.actions,
            connections: scenario.connections,
            streams: vec![None; count],
            abandoned: vec![false; count],
            client: None,
            agent: None,
            totals: Totals::default(),
        }
    }

    fn run_actions(&mut self) {
        let start = self.pair.now;
        for (at, action) in std::mem::take(&mut self.actions) {
            self.run_to(start + at);
            self.apply(action);
        }
    }

    /// Advances to a time; on the way, websockets that are due are opened again.
    fn run_to(&mut self, end: Instant) {
        while let Some(at) = [self.client, self.agent].into_iter().flatten().min() {
            if at > end {
                break;
            }
            self.pair
                .run_for(at.saturating_duration_since(self.pair.now));
            if self.client.take_if(|due| *due <= at).is_some() {
                self.pair.connect("another");
            }
            if self.agent.take_if(|due| *due <= at).is_some() {
                self.pair.reconnect_agent();
            }
        }
        self.pair
            .run_for(end.saturating_duration_since(self.pair.now));
    }

    fn apply(&mut self, action: Action) {
        let now = self.pair.now;
        match action {
            Action::Open(which) => self.open(which),
            Action::Write(which, len) => self.write(which, len),
            Action::Finish(which) => self.with(which, |pair, stream| pair.finish(stream)),
            Action::Reset(which) => self.reset(which),
            Action::Reads(which, reads) => {
                self.with(which, |pair, stream| pair.set_reads(stream, reads));
            }
            Action::Allow(which, more) => {
                self.with(which, |pair, stream| pair.destination(stream).allow(more));
            }
            Action::Stall(which) => {
                self.with(which, |pair, stream| pair.destination(stream).stall());
            }
            Action::BreakClient(delivered, kept, span) => {
                self.totals.breaks += 1;
                self.client = Some(now + span);
                self.pair.disconnect(delivered, kept);
            }
            Action::BreakAgent(delivered, kept, span) => {
                self.totals.breaks += 1;
                self.agent = Some(now + span);
                self.pair.disconnect_agent(delivered, kept);
            }
            Action::HoldUp(span) => self.pair.up.hold_until(now + span),
            Action::HoldDown(span) => self.pair.down.hold_until(now + span),
            Action::PauseClient => {
                let pause = message_builder::publication(MessageType::PausePublication);
                self.pair.notify_client(pause);
            }
            Action::PauseAgent => {
                let pause = message_builder::publication(MessageType::PausePublication);
                self.pair.notify_agent(pause);
            }
        }
        self.pair.wake();
    }

    fn open(&mut self, which: usize) {
        let connection = &mut self.connections[which];
        let destination = connection
            .destination
            .take()
            .expect("a stream is opened once");
        let stream = self.pair.open(destination);
        self.pair.local(stream).read_by(connection.read_size);
        self.streams[which] = Some(stream);
    }

    fn write(&mut self, which: usize, len: usize) {
        let data: Vec<_> = self.connections[which].data.drain(..len).collect();
        self.with(which, |pair, stream| pair.write(stream, &data));
    }

    fn reset(&mut self, which: usize) {
        let stream = self.streams[which].expect("the stream was opened before");
        if self.pair.local(stream).end().is_none() {
            self.abandoned[which] = true;
            self.pair.reset(stream);
        }
    }

    fn with(&mut self, which: usize, operation: impl FnOnce(&mut Pair, StreamId)) {
        let stream = self.streams[which].expect("the stream was opened before");
        operation(&mut self.pair, stream);
    }

    /// Ends the faults, resumes all readers, and runs until there is no work left.
    fn end_faults(&mut self) {
        let last = [self.client, self.agent].into_iter().flatten().max();
        self.run_to(last.unwrap_or(self.pair.now));
        let path = LinkConditions::delayed(Duration::from_millis(10));
        self.pair.up.set_conditions(path);
        self.pair.down.set_conditions(path);
        self.pair
            .notify_agent(message_builder::publication(MessageType::StartPublication));
        for stream in self.streams.iter().flatten() {
            self.pair.destination(*stream).allow(usize::MAX);
            self.pair.local(*stream).set_reads(true);
        }
        self.pair.settle();
        assert_eq!(self.pair.closed, None, "a bad path must not end the tunnel");
    }

    fn check(&mut self) {
        let streams = self.streams.clone();
        let has_refusal = streams.iter().flatten().any(|stream| self.refuses(*stream));
        for (stream, abandoned) in streams.into_iter().zip(self.abandoned.clone()) {
            let stream = stream.expect("every step was run");
            self.check_bytes(stream);
            let sent_nothing = self.pair.destination(stream).sent().is_empty();
            let end = self.pair.local(stream).end().cloned();
            if end == Some(End::Lost(Reason::Refused)) {
                let reached = self.pair.destination(stream).received();
                assert_eq!(
                    reached, b"",
                    "stream {stream} is called refused for certain"
                );
            }
            match end {
                // The flag of a failed dial names no stream: of two that end without a byte at the
                // same time, either may be the refused one.
                Some(_) if has_refusal && sent_nothing => self.totals.refused += 1,
                Some(End::Lost(reason)) => panic!("stream {stream} was lost: {reason:?}"),
                Some(End::Clean) => self.check_end(stream),
                None if abandoned => self.check_abandoned(stream),
                None => self.check_open(stream),
            }
        }
    }

    /// Nothing is duplicated or reordered, in whatever way the stream ended.
    fn check_bytes(&mut self, stream: StreamId) {
        let written = self.pair.local(stream).written().to_vec();
        assert_prefix(&written, self.pair.destination(stream).received());
        let sent = self.pair.destination(stream).sent().to_vec();
        assert_prefix(&sent, self.pair.local(stream).received());
    }

    /// A clean end: the destination has ended, and every byte of it has arrived.
    fn check_end(&mut self, stream: StreamId) {
        self.totals.ended += 1;
        assert_eq!(self.pair.destination(stream).state(), State::Ended);
        let sent = self.pair.destination(stream).sent().to_vec();
        assert_whole(self.pair.local(stream).received(), &sent);
    }

    /// The client closed the stream: all of its data arrived, unless the destination ended first.
    fn check_abandoned(&mut self, stream: StreamId) {
        self.totals.abandoned += 1;
        match self.pair.destination(stream).state() {
            State::Closed => self.check_upload(stream),
            State::Waiting => {
                // Closed before its SYN, or refused.
                assert_eq!(self.pair.destination(stream).received(), b"");
            }
            State::Ended => {}
            State::Open => panic!("stream {stream} was closed, and its destination waits"),
        }
    }

    /// Neither side has ended: everything sent is received.
    fn check_open(&mut self, stream: StreamId) {
        assert_eq!(self.pair.destination(stream).state(), State::Open);
        self.check_upload(stream);
        let sent = self.pair.destination(stream).sent().to_vec();
        assert_whole(self.pair.local(stream).received(), &sent);
    }

    fn check_upload(&mut self, stream: StreamId) {
        let written = self.pair.local(stream).written().to_vec();
        assert_whole(self.pair.destination(stream).received(), &written);
    }

    fn refuses(&mut self, stream: StreamId) -> bool {
        matches!(self.pair.destination(stream).dial(), Dial::Refuses(_))
    }

    /// All clients close, the session ends, and nothing is left.
    fn close_all(&mut self) {
        for stream in self.streams.clone().into_iter().flatten() {
            self.pair.reset(stream);
        }
        self.pair.settle();
        assert!(self.pair.tunnel.is_quiet(), "a stream was not removed");
        assert_eq!(self.pair.agent.unacknowledged(), 0);
        assert!(self.pair.up.is_empty() && self.pair.down.is_empty());
        let sent_again = self.pair.tunnel.stats().retransmitted;
        let lost = sent_again + self.pair.agent.stats().retransmitted;
        self.totals.lost += usize::try_from(lost).unwrap();
        self.totals.messages += self.pair.messages();

        self.pair.close();
        self.pair.settle();

        assert_eq!(self.pair.closed, Some(Reason::Finished));
        assert!(self.pair.agent.is_terminated_by_flag());
    }
}
