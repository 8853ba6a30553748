//! Tests of an agent with raw client messages, in virtual time.

use std::collections::BTreeMap;

use super::*;
use crate::clock;
use crate::wire::message::{Header, Message, MessageId, MessageType, SYN, Seq};
use crate::wire::payload::{self, Acknowledge};
use crate::wire::smux::{self, Command};

mod channel;
mod chaos;
mod handshake;
mod mux;
mod session_end;

/// An agent, a clock, and a minimal client.
struct Bench {
    agent: Agent,
    now: Instant,
    next: u64,
    received: Vec<Message>,
    events: Vec<Event>,
    acknowledges: bool,
}

impl Bench {
    fn new(mut options: Options, properties: &[(&str, &str)]) -> Self {
        options.process_start = Duration::ZERO..Duration::ZERO;
        let now = clock::now();
        let properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let job = Job {
            properties: properties.collect::<BTreeMap<_, _>>(),
            refusal: None,
        };
        Self {
            agent: Agent::new(now, SystemTime::UNIX_EPOCH, 7, options, job),
            now,
            next: 0,
            received: Vec::new(),
            events: Vec::new(),
            acknowledges: true,
        }
    }

    fn port(options: Options) -> Self {
        Self::new(
            options,
            &[("portNumber", "80"), ("type", "LocalPortForwarding")],
        )
    }

    /// Creates an agent whose mux is ready.
    fn ready() -> Self {
        Self::port(Options::default()).after_handshake("1.2.764.0")
    }

    fn after_handshake(mut self, version: &str) -> Self {
        self.answer(version);
        self.wait(Duration::from_millis(20));
        self.received.clear();
        self
    }

    fn answer(&mut self, version: &str) {
        let body = format!(
            r#"{{"ClientVersion":"{version}","ProcessedClientActions":[{{"ActionType":"SessionType","ActionStatus":1}}]}}"#
        );
        self.send(PayloadType::HandshakeResponse, body.as_bytes());
    }

    /// Sends a message with the next number.
    fn send(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let seq = self.next;
        self.next += 1;
        self.send_as(seq, payload_type, payload);
    }

    fn send_as(&mut self, seq: u64, payload_type: PayloadType, payload: &[u8]) {
        let frame = message(MessageType::Input, seq, payload_type, payload).encode();
        self.agent.handle_message(self.now, frame);
        self.settle();
    }

    fn frames(&mut self, frames: &[(Command, u32, &[u8])]) {
        let mut bytes = Vec::new();
        for (command, stream, data) in frames {
            let mut header = smux::Header::bare(*command, smux::StreamId(*stream));
            header.length = u16::try_from(data.len()).unwrap();
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(data);
        }
        self.send(PayloadType::Output, &bytes);
    }

    /// Advances the clock by `span`, one millisecond at a time.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::from_millis(1);
            if self.agent.poll_timeout().is_some_and(|at| at <= self.now) {
                self.agent.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            self.events.push(event);
        }
        while let Some(frame) = self.agent.poll_transmit(self.now) {
            let received = Message::decode(frame).unwrap();
            if self.acknowledges && received.header.kind == MessageType::Output {
                let body = payload::encode(&Acknowledge {
                    kind: received.header.kind.to_string(),
                    id: received.header.id.to_string(),
                    seq: i64::try_from(received.header.seq.0).unwrap(),
                    sequential: true,
                });
                let frame = message(MessageType::Acknowledge, 0, PayloadType::None, &body).encode();
                self.agent.handle_message(self.now, frame);
            }
            self.received.push(received);
        }
        while let Some(event) = self.agent.poll_event() {
            self.events.push(event);
        }
    }

    /// Returns the id of the last `Dial` event.
    fn dial(&self) -> ConnectionId {
        let dials = self.events.iter().rev().find_map(|event| match event {
            Event::Dial(id) => Some(*id),
            Event::Write(..) | Event::Close(_) | Event::Ended(_) => None,
        });
        dials.unwrap()
    }

    fn connect(&mut self) -> ConnectionId {
        let id = self.dial();
        self.agent.handle_dialled(self.now, id);
        self.settle();
        id
    }

    fn written(&self, id: ConnectionId) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in &self.events {
            if let Event::Write(to, data) = event
                && *to == id
            {
                bytes.extend_from_slice(data);
            }
        }
        bytes
    }

    fn end(&self) -> Option<&End> {
        self.events.iter().find_map(|event| match event {
            Event::Ended(end) => Some(end),
            Event::Dial(_) | Event::Write(..) | Event::Close(_) => None,
        })
    }

    /// Returns the acknowledged numbers, in order.
    fn acknowledged(&self) -> Vec<i64> {
        let bodies = self
            .received
            .iter()
            .filter(|m| m.header.kind == MessageType::Acknowledge);
        bodies
            .map(|m| payload::decode_acknowledge(&m.payload).unwrap().seq)
            .collect()
    }

    fn output(&self, payload_type: PayloadType) -> Vec<u8> {
        let output = self.received.iter().filter(|m| {
            m.header.kind == MessageType::Output && m.header.payload_type == payload_type
        });
        output.flat_map(|m| m.payload.to_vec()).collect()
    }
}

fn message(kind: MessageType, seq: u64, payload_type: PayloadType, payload: &[u8]) -> Message {
    Message {
        header: Header {
            kind,
            created: 1,
            seq: Seq(seq),
            flags: 0,
            id: MessageId::from_random([5; 16]),
            payload_type,
        },
        payload: Bytes::copy_from_slice(payload),
    }
}

fn fin(stream: u32) -> [u8; 8] {
    smux::Header::bare(Command::Fin, smux::StreamId(stream)).encode()
}

const SECOND: Duration = Duration::from_secs(1);
