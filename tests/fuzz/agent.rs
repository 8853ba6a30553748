//! A hostile client and unusual destinations against the simulated agent.
//!
//! Like `tunnel.rs`, from the other side: clients are tested with the simulator, so no client may
//! make it panic, loop without end or use unbounded memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::sim::agent::{
    self, Agent, ConnectionId, DestinationEnd, Digests, Event, Retransmission, SendRate, Version,
};
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType};
use ssm_proxyd::wire::payload::Flag;
use ssm_proxyd::wire::smux::{Command, StreamId};

use super::byte_source::ByteSource;
use crate::support::message_builder;
use crate::support::pair::start_time;
use crate::support::pair_options::PairOptions;

/// Runs the steps of an input.
pub(super) fn agent(data: &[u8]) {
    let mut source = ByteSource::new(data);
    let mut client = Client::new(&mut source);
    while let Some(step) = source.step() {
        client.step(step, &mut source);
        client.drain();
    }
    client.rest();
}

struct Client {
    agent: Agent,
    now: Instant,
    /// The number of the client's next message.
    seq: u64,
    dialled: Vec<ConnectionId>,
    /// Bytes that each destination was given and has not taken.
    unwritten: BTreeMap<ConnectionId, usize>,
    ended: bool,
}

impl Client {
    fn new(source: &mut ByteSource<'_>) -> Self {
        let now = start_time();
        let options = agent::Options {
            version: Version::parse(source.pick(VERSIONS)),
            pace: source.pick(&[SendRate::Unlimited, agent::Options::default().pace]),
            digests: source.pick(&[Digests::Ignored, Digests::Recorded, Digests::Required]),
            retransmission: source.pick(&[Retransmission::OldestOnly, Retransmission::All]),
            process_start: Duration::ZERO..Duration::ZERO,
            ..agent::Options::default()
        };
        let mut job = PairOptions::default().job;
        if source.byte() > 200 {
            job.properties.clear();
        }
        let mut client = Self {
            agent: Agent::new(now, SystemTime::UNIX_EPOCH, 1, options, job),
            now,
            seq: 0,
            dialled: Vec::new(),
            unwritten: BTreeMap::new(),
            ended: false,
        };
        if !source.byte().is_multiple_of(4) {
            client.begin();
        }
        client
    }

    /// The handshake of a correct client, so that inputs need not contain it.
    fn begin(&mut self) {
        let response = input(0, PayloadType::HandshakeResponse, RESPONSES[0]);
        self.agent.handle_message(self.now, response);
        self.seq = 1;
        self.drain();
        self.wait(Duration::from_millis(20));
        self.drain();
    }

    fn step(&mut self, step: u8, source: &mut ByteSource<'_>) {
        match step % 32 {
            0..16 => self.send_step(step, source),
            16..18 => self.with(source, |client, id| {
                client.agent.handle_dialled(client.now, id);
            }),
            18 => self.with(source, |client, id| {
                client.agent.handle_dial_failed(client.now, id);
            }),
            19..22 => self.write(source),
            22..24 => self.send_data(source),
            24 => {
                let how = source.pick(&[DestinationEnd::Finished, DestinationEnd::Broken]);
                self.with(source, |client, id| {
                    client.agent.handle_ended(client.now, id, how);
                });
            }
            25..28 => self.wait(Duration::from_millis(source.number() as u64)),
            28 => self.agent.handle_disconnected(self.now),
            29 => self.agent.handle_connected(self.now),
            30 if source.byte() > 220 => self.agent.handle_channel_closed(self.now),
            31 if source.byte() > 220 => self.agent.handle_crash(self.now),
            _ => {}
        }
    }

    /// The client sends a message.
    fn send_step(&mut self, step: u8, source: &mut ByteSource<'_>) {
        let seq = self.seq;
        let frame = match step % 32 {
            0 => input(seq, PayloadType::HandshakeResponse, source.pick(RESPONSES)),
            1..6 => input(seq, PayloadType::Output, &frames(source)),
            6 => input(seq, PayloadType::Output, source.bytes()),
            7 => input(seq, PayloadType::Flag, &source.pick(FLAGS).encode()),
            8 => {
                let other = seq.wrapping_add(source.number() as u64).wrapping_sub(9);
                let other = other.min(i64::MAX as u64);
                let frame = input(other, PayloadType::Output, &frames(source));
                return self.agent.handle_message(self.now, frame);
            }
            9..11 => return self.acknowledge(source),
            11 => {
                let kind = source.pick(KINDS);
                let frame = message_builder::message(kind, seq, PayloadType::None, source.bytes());
                return self.agent.handle_message(self.now, frame);
            }
            12 => input(seq, source.pick(TYPES), source.bytes()),
            13 => {
                let frame = Bytes::copy_from_slice(source.bytes());
                return self.agent.handle_message(self.now, frame);
            }
            14 => {
                let mut frame = input(seq, PayloadType::Output, b"x").to_vec();
                let at = usize::from(source.byte()) % frame.len();
                frame[at] ^= source.byte();
                frame.into()
            }
            _ => input(seq, PayloadType::Output, &bulk(source)),
        };
        if self.agent.wants_input() {
            self.seq += 1;
            self.agent.handle_message(self.now, frame);
        }
    }

    fn acknowledge(&mut self, source: &mut ByteSource<'_>) {
        let all = source.byte().is_multiple_of(2);
        let at = source.number() as u64;
        let sent = self.agent.stats().messages_out;
        for seq in if all { 0..sent } else { at..at + 1 } {
            let frame =
                message_builder::acknowledge(&MessageType::Output, i64::try_from(seq).unwrap());
            self.agent.handle_message(self.now, frame);
        }
    }

    fn with(
        &mut self,
        source: &mut ByteSource<'_>,
        operation: impl FnOnce(&mut Self, ConnectionId),
    ) {
        if let Some(id) = self.dialled.get(usize::from(source.byte()) % 8).copied() {
            operation(self, id);
        }
    }

    /// A destination takes a part of its bytes.
    fn write(&mut self, source: &mut ByteSource<'_>) {
        let len = source.number() * 64;
        self.with(source, |client, id| {
            let unwritten = client.unwritten.entry(id).or_default();
            let taken = len.min(*unwritten);
            *unwritten -= taken;
            client.agent.handle_written(client.now, id, taken);
        });
    }

    fn send_data(&mut self, source: &mut ByteSource<'_>) {
        let data = Bytes::from(vec![3; source.number()]);
        self.with(source, |client, id| {
            if client.agent.wants_read(id) {
                client.agent.handle_read(id, data);
            }
        });
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..MAX_WAKES {
            let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(end);
        self.agent.handle_timeout(self.now);
    }

    /// The duties of its driver after every call.
    fn drain(&mut self) {
        self.send();
        if self.agent.poll_timeout().is_some_and(|at| at <= self.now) {
            self.agent.handle_timeout(self.now);
            self.send();
        }
        let next = self.agent.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "its deadline is in the past"
        );
        let unwritten: usize = self.unwritten.values().sum();
        assert!(unwritten <= MAX_UNWRITTEN, "{unwritten} bytes unwritten");
    }

    fn send(&mut self) {
        self.drain_events();
        let mut messages = 0;
        while let Some(frame) = self.agent.poll_transmit(self.now) {
            messages += 1;
            assert!(messages < MAX_FRAMES, "it sends without end");
            Message::decode(frame).expect("an agent must send valid messages");
        }
        self.drain_events();
    }

    fn drain_events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.agent.poll_event() {
            count += 1;
            assert!(count < MAX_EVENTS, "it requests without end");
            assert!(!self.ended, "nothing may follow the end");
            match event {
                Event::Dial(id) => self.dialled.push(id),
                Event::Write(id, data) => *self.unwritten.entry(id).or_default() += data.len(),
                Event::Close(id) => drop(self.unwritten.remove(&id)),
                Event::Ended(_) => self.ended = true,
            }
        }
    }

    /// The service ends the session, which must be over soon.
    fn rest(&mut self) {
        self.agent.handle_channel_closed(self.now);
        self.drain();
        self.wait(Duration::from_secs(90));
        self.drain();
        assert!(self.agent.has_ended() && self.ended);
        assert_eq!(self.agent.poll_timeout(), None);
    }
}

fn input(seq: u64, payload_type: PayloadType, payload: &[u8]) -> Bytes {
    message_builder::message(MessageType::Input, seq, payload_type, payload)
}

fn frames(source: &mut ByteSource<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..source.byte() % 6 {
        let command = source.pick(COMMANDS);
        let data = source.bytes();
        let data = if command == Command::Psh { data } else { b"" };
        let stream = StreamId(3 + 2 * u32::from(source.byte() % 16));
        bytes.extend(message_builder::frames(&[(command, stream, data)]));
        if command == Command::Upd {
            bytes.extend([0; 8]);
        }
    }
    bytes
}

/// A large buffer for one stream.
fn bulk(source: &mut ByteSource<'_>) -> Vec<u8> {
    let stream = StreamId(3 + 2 * u32::from(source.byte() % 4));
    let frame = message_builder::frames(&[(Command::Psh, stream, &[7; 60_000])]);
    frame.repeat(usize::from(source.byte() % 8))
}

const VERSIONS: &[&str] = &[
    "3.3.987.0",
    "3.1.1374.0",
    "3.0.222.0",
    "3.0.196.0",
    "2.3.722.0",
];
const RESPONSES: &[&[u8]] = &[
    br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1}]}"#,
    br#"{"ClientVersion":"1.1.69","ProcessedClientActions":null}"#,
    br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":2}]}"#,
    br#"{"ClientVersion":7}"#,
];
const COMMANDS: &[Command] = &[
    Command::Psh,
    Command::Syn,
    Command::Fin,
    Command::Nop,
    Command::Upd,
];
const FLAGS: &[Flag] = &[
    Flag::DisconnectToPort,
    Flag::ConnectToPortError,
    Flag::Other(9),
    Flag::TerminateSession,
];
const KINDS: &[MessageType] = &[
    MessageType::PausePublication,
    MessageType::StartPublication,
    MessageType::Output,
    MessageType::AgentSessionState,
    MessageType::ChannelClosed,
];
const TYPES: &[PayloadType] = &[
    PayloadType::None,
    PayloadType::Size,
    PayloadType::HandshakeRequest,
    PayloadType::HandshakeResponse,
    PayloadType::HandshakeComplete,
    PayloadType::EncChallengeResponse,
    PayloadType::Other(77),
];

/// The buffer limit of a mux, and one message beyond it.
const MAX_UNWRITTEN: usize = (4 << 20) + 8 * 60_008;

/// More rounds than 400 steps can cause.
const MAX_FRAMES: usize = 20_000;
const MAX_EVENTS: usize = 20_000;
const MAX_WAKES: usize = 5000;
