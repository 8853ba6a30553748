//! A hostile agent and a random owner against a tunnel.
//!
//! The input controls both: messages that are valid in any order, messages that are not,
//! acknowledgements of anything, and calls for streams, sockets and time between them. The owner
//! keeps its contract: it drains after every call and takes nothing that is not requested. For any
//! input there is no panic, no endless loop, and nothing grows beyond its bound.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ssm_proxyd::proto::{
    ClientVersion, Event, MAX_UNREAD_OF_TUNNEL, Options, Read, Reason, StreamId, Transmit, Tunnel,
};
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType};
use ssm_proxyd::wire::payload::Flag;
use ssm_proxyd::wire::smux::Command;

use super::byte_source::ByteSource;
use crate::support::message_builder;
use crate::support::pair::start_time;

/// Runs the steps of an input on a tunnel with a mux.
pub(super) fn tunnel(data: &[u8]) {
    play(
        data,
        message_builder::handshake_request(0, VERSIONS[0], ""),
        StreamId(3),
    );
}

/// Runs the steps of an input on a tunnel without one.
pub(super) fn single(data: &[u8]) {
    let properties = r#"{"portNumber":"22"}"#;
    let request = message_builder::handshake_request_for(0, VERSIONS[0], properties, "");
    play(data, request, StreamId(0));
}

fn play(data: &[u8], request: Bytes, first: StreamId) {
    let mut source = ByteSource::new(data);
    let mut owner = Owner::new(&mut source, data.len(), request, first);
    while let Some(step) = source.step() {
        owner.step(step, &mut source);
        owner.drain();
    }
    owner.rest();
}

struct Owner {
    tunnel: Tunnel,
    now: Instant,
    options: Options,
    connected: bool,
    streams: Vec<StreamId>,
    /// The number of the agent's next message.
    seq: u64,
    /// The number of the tunnel's next message.
    sent: u64,
    responses: usize,
    /// Bytes that its streams returned or dropped.
    read: u64,
    resets: bool,
    closed: Option<Reason>,
}

impl Owner {
    fn new(source: &mut ByteSource<'_>, data_len: usize, request: Bytes, first: StreamId) -> Self {
        let now = start_time();
        let options = Options {
            upload_rate: source.pick(&[0, 900, 1]),
            upload_payload: source.pick(&[64, 1024, 40_000]),
            upload_window: 64 * 1024,
            keep_alive: data_len % 2 == 1,
            shared: first != StreamId(0),
            client_version: ClientVersion::DEFAULT,
        };
        let mut owner = Self {
            tunnel: Tunnel::new(now, SystemTime::UNIX_EPOCH, 1, options),
            now,
            options,
            connected: false,
            streams: Vec::new(),
            seq: 0,
            sent: 0,
            responses: 0,
            read: 0,
            resets: false,
            closed: None,
        };
        owner.connect();
        if !source.byte().is_multiple_of(4) {
            owner.begin(request, first);
        }
        owner
    }

    /// The handshake of a correct agent, so that inputs need not contain it.
    fn begin(&mut self, request: Bytes, first: StreamId) {
        self.give(request);
        self.give(message_builder::handshake_complete(1, ""));
        self.seq = 2;
        self.drain();
        self.give(message_builder::acknowledge(&MessageType::Input, 0));
        self.give(message_builder::acknowledge(&MessageType::Input, 2));
        self.wait(Duration::from_secs(1));
        self.give(message_builder::acknowledge(&MessageType::Input, 1));
        self.drain();
        assert_eq!(self.tunnel.open(), Ok(first), "the tunnel must be ready");
        self.streams.push(first);
    }

    fn step(&mut self, step: u8, source: &mut ByteSource<'_>) {
        match step % 32 {
            0..16 => self.receive(step, source),
            16..18 => self.open(),
            18..20 => self.write(source),
            20..22 => self.read(source),
            22 => self.with(source, |owner, id| owner.tunnel.finish(id)),
            23 => self.with(source, |owner, id| {
                owner.resets = true;
                owner.tunnel.reset(id);
            }),
            24..27 => self.wait(Duration::from_millis(source.number() as u64)),
            27 => self.disconnect(),
            28..30 => self.connect(),
            30 if source.byte() > 200 => self.tunnel.close(self.now),
            31 if source.byte() > 200 => self.tunnel.abandon("tired".to_owned()),
            _ => {}
        }
    }

    /// The agent, or the service, sends a message.
    fn receive(&mut self, step: u8, source: &mut ByteSource<'_>) {
        let seq = self.seq;
        let frame = match step % 32 {
            0 => {
                message_builder::handshake_request(seq, source.pick(VERSIONS), source.pick(ACTIONS))
            }
            1 => message_builder::handshake_complete(seq, "hello"),
            2..5 => message_builder::output(seq, &self.frames(source)),
            5 => message_builder::output(seq, source.bytes()),
            6 => message_builder::flag(seq, source.pick(FLAGS)),
            7 => {
                let other = seq.wrapping_add(source.number() as u64).wrapping_sub(9);
                let other = other.min(i64::MAX as u64);
                let frame = message_builder::output(other, &self.frames(source));
                return self.give(frame);
            }
            8..10 => return self.acknowledge(source),
            10 if source.byte() > 200 => return self.give(message_builder::channel_closed("over")),
            11 => return self.give(message_builder::publication(source.pick(PUBLICATIONS))),
            12 => {
                let payload_type = source.pick(TYPES);
                message_builder::message(MessageType::Output, seq, payload_type, source.bytes())
            }
            13 => return self.give(Bytes::copy_from_slice(source.bytes())),
            14 => damaged(
                message_builder::output(seq, b"\x01\x03\0\0\0\0\0\0"),
                source,
            ),
            _ => message_builder::output(seq, &self.bulk(source)),
        };
        self.seq += 1;
        self.give(frame);
    }

    fn give(&mut self, frame: Bytes) {
        if !self.connected || !self.tunnel.wants_input() {
            return;
        }
        let outcome = self.tunnel.handle_message(self.now, frame);
        if let Some(reason) = &self.closed {
            assert_eq!(outcome, Err(reason.clone()), "errors must be final");
        } else if let Err(reason) = outcome {
            assert_eq!(self.tunnel.ended(), Some(&reason));
        }
    }

    fn acknowledge(&mut self, source: &mut ByteSource<'_>) {
        let all = source.byte().is_multiple_of(2);
        let at = source.number() as u64;
        for seq in if all { 0..self.sent } else { at..at + 1 } {
            let seq = i64::try_from(seq).unwrap();
            self.give(message_builder::acknowledge(&MessageType::Input, seq));
        }
    }

    fn frames(&self, source: &mut ByteSource<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..source.byte() % 6 {
            let command = source.pick(COMMANDS);
            let data = source.bytes();
            let data = if command == Command::Psh { data } else { b"" };
            bytes.extend(message_builder::frames(&[(
                command,
                self.pick_stream(source),
                data,
            )]));
            if command == Command::Upd {
                bytes.extend([0; 8]);
            }
        }
        bytes
    }

    /// A large buffer for one stream.
    fn bulk(&self, source: &mut ByteSource<'_>) -> Vec<u8> {
        let stream = self.pick_stream(source);
        let frame = message_builder::frames(&[(Command::Psh, stream, &[7; 60_000])]);
        frame.repeat(usize::from(source.byte() % 8))
    }

    fn pick_stream(&self, source: &mut ByteSource<'_>) -> StreamId {
        match self.streams.get(usize::from(source.byte())) {
            Some(id) => *id,
            None => StreamId(u32::from(source.byte())),
        }
    }

    fn open(&mut self) {
        if self.streams.len() < 200 {
            self.streams.extend(self.tunnel.open().ok());
        }
    }

    fn write(&mut self, source: &mut ByteSource<'_>) {
        let data = vec![5; source.number()];
        self.with(source, |owner, id| {
            let _taken = owner.tunnel.write(id, &data);
        });
    }

    fn read(&mut self, source: &mut ByteSource<'_>) {
        let max = source.number() + 1;
        self.with(source, |owner, id| {
            if let Read::Data(data) = owner.tunnel.read(id, max) {
                assert!((1..=max).contains(&data.len()));
                owner.read += data.len() as u64;
            }
        });
    }

    fn with(&mut self, source: &mut ByteSource<'_>, operation: impl FnOnce(&mut Self, StreamId)) {
        let id = self.pick_stream(source);
        operation(self, id);
    }

    fn connect(&mut self) {
        if !self.connected && self.closed.is_none() {
            self.connected = true;
            self.tunnel.handle_connected(self.now, "token");
            let first = self.tunnel.poll_transmit(self.now);
            assert!(matches!(first, Some(Transmit::Opening(_))));
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.tunnel.handle_disconnected(self.now);
    }

    /// Wakes the tunnel at each of its deadlines within `span`.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..MAX_WAKES {
            let Some(at) = self.tunnel.poll_timeout().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.tunnel.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(end);
        self.tunnel.handle_timeout(self.now);
    }

    /// The duties of its driver after every call.
    fn drain(&mut self) {
        self.send();
        if self.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tunnel.handle_timeout(self.now);
            self.send();
        }
        let next = self.tunnel.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "its deadline is in the past"
        );
        let unread = self.tunnel.stats().bytes_received - self.read;
        let bound = MAX_UNREAD_OF_TUNNEL + 8 * 60_000;
        assert!(
            self.resets || unread <= bound as u64,
            "{unread} bytes unread"
        );
    }

    fn send(&mut self) {
        self.drain_events();
        let mut messages = 0;
        while let Some(transmit) = self.tunnel.poll_transmit(self.now) {
            messages += 1;
            assert!(messages < MAX_FRAMES, "it sends without end");
            assert!(self.connected && self.closed.is_none());
            self.watch(transmit);
        }
        self.drain_events();
    }

    fn drain_events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.tunnel.poll_event() {
            count += 1;
            assert!(count < MAX_EVENTS, "it reports events without end");
            assert_eq!(self.closed, None, "nothing may follow the end");
            if let Event::Closed(reason) = event {
                assert!(!reason.to_string().contains(['\n', '\r']), "{reason}");
                self.closed = Some(reason);
            }
        }
    }

    /// No sent message would break an agent (docs/protocol.md section 5.1).
    fn watch(&mut self, transmit: Transmit) {
        let Transmit::Message(frame) = transmit else {
            panic!("expected one OpenDataChannel for each websocket");
        };
        let message = Message::decode(frame).expect("a tunnel must send valid messages");
        assert!(message.payload.len() <= self.options.upload_payload.max(4096));
        if message.header.kind != MessageType::Input || message.header.seq.0 < self.sent {
            return;
        }
        assert_eq!(message.header.seq.0, self.sent, "numbers must have no gap");
        self.sent += 1;
        let payload_type = message.header.payload_type;
        assert_ne!(payload_type, PayloadType::EncChallengeResponse);
        self.responses += usize::from(payload_type == PayloadType::HandshakeResponse);
        assert!(self.responses <= 1, "expected one response");
    }

    /// Everything is read and every stream is closed: the tunnel must end soon.
    fn rest(&mut self) {
        for id in std::mem::take(&mut self.streams) {
            self.tunnel.reset(id);
        }
        self.resets = true;
        self.tunnel.close(self.now);
        self.drain();
        self.wait(Duration::from_secs(2));
        self.drain();
        assert!(self.closed.is_some(), "a closed tunnel must end");
        assert_eq!(self.tunnel.poll_timeout(), None);
        assert!(
            self.tunnel.wants_input(),
            "no bytes may be kept without a stream"
        );
    }
}

/// A valid message with a changed byte in its header.
fn damaged(frame: Bytes, source: &mut ByteSource<'_>) -> Bytes {
    let mut bytes = frame.to_vec();
    let at = usize::from(source.byte()) % bytes.len();
    bytes[at] ^= source.byte();
    bytes.into()
}

const VERSIONS: &[&str] = &["3.3.987.0", "3.1.1374.0", "3.0.196.0", "", "9.9"];
const ACTIONS: &[&str] = &["", r#",{"ActionType":"KMSEncryption"}"#, ",{}"];
const PUBLICATIONS: &[MessageType] =
    &[MessageType::PausePublication, MessageType::StartPublication];
const COMMANDS: &[Command] = &[
    Command::Psh,
    Command::Fin,
    Command::Syn,
    Command::Nop,
    Command::Upd,
];
const FLAGS: &[Flag] = &[
    Flag::ConnectToPortError,
    Flag::TerminateSession,
    Flag::DisconnectToPort,
    Flag::Other(9),
];
const TYPES: &[PayloadType] = &[
    PayloadType::None,
    PayloadType::Size,
    PayloadType::HandshakeRequest,
    PayloadType::HandshakeResponse,
    PayloadType::HandshakeComplete,
    PayloadType::EncChallengeRequest,
    PayloadType::Flag,
    PayloadType::Other(77),
];

/// More than a window of 64 KiB, 200 streams and 400 steps can send at once.
const MAX_FRAMES: usize = 20_000;
const MAX_EVENTS: usize = 1000;
const MAX_WAKES: usize = 2000;
