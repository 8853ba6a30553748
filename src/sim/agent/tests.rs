//! An agent and a client's bare messages, in virtual time.

use std::collections::BTreeMap;

use super::*;
use crate::wire::message::Message;
use crate::wire::payload::{self, Acknowledge};
use crate::wire::smux::{self, Command};

/// An agent, a clock, and the least that a client can do.
struct Bench {
    agent: Agent,
    now: Instant,
    next: u64,
    received: Vec<Message>,
    events: Vec<Event>,
    acknowledges: bool,
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as an origin"
    )]
    fn new(options: Options, properties: &[(&str, &str)]) -> Self {
        let now = Instant::now();
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

    /// An agent whose mux is ready.
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
        self.say(PayloadType::HandshakeResponse, body.as_bytes());
    }

    /// Sends the next number.
    fn say(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let seq = self.next;
        self.next += 1;
        self.say_as(seq, payload_type, payload);
    }

    fn say_as(&mut self, seq: u64, payload_type: PayloadType, payload: &[u8]) {
        let frame = message(Kind::Input, seq, payload_type, payload).encode();
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
        self.say(PayloadType::Output, &bytes);
    }

    /// Lets `span` pass, a millisecond at a time.
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
            if self.acknowledges && received.header.kind == Kind::Output {
                let body = payload::encode(&Acknowledge {
                    kind: received.header.kind.to_string(),
                    id: received.header.id.to_string(),
                    seq: i64::try_from(received.header.seq.0).unwrap(),
                    sequential: true,
                });
                let frame = message(Kind::Acknowledge, 0, PayloadType::None, &body).encode();
                self.agent.handle_message(self.now, frame);
            }
            self.received.push(received);
        }
        while let Some(event) = self.agent.poll_event() {
            self.events.push(event);
        }
    }

    /// The dial of the last `Dial` event.
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

    /// The numbers that were acknowledged, in order.
    fn acknowledged(&self) -> Vec<i64> {
        let bodies = self
            .received
            .iter()
            .filter(|m| m.header.kind == Kind::Acknowledge);
        bodies
            .map(|m| payload::decode_acknowledge(&m.payload).unwrap().seq)
            .collect()
    }

    fn output(&self, payload_type: PayloadType) -> Vec<u8> {
        let output = self
            .received
            .iter()
            .filter(|m| m.header.kind == Kind::Output && m.header.payload_type == payload_type);
        output.flat_map(|m| m.payload.to_vec()).collect()
    }
}

fn message(kind: Kind, seq: u64, payload_type: PayloadType, payload: &[u8]) -> Message {
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
    smux::Header::bare(Command::Finish, smux::StreamId(stream)).encode()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_message_is_the_request_with_a_syn() {
    let mut bench = Bench::port(Options::default());

    bench.settle();

    let first = &bench.received[0];
    assert_eq!((first.header.seq, first.header.flags), (Seq(0), SYN));
    assert_eq!(first.header.payload_type, PayloadType::HandshakeRequest);
    let request: payload::HandshakeRequest = payload::decode(&first.payload).unwrap();
    assert_eq!(request.agent_version, "3.3.987.0");
}

#[test]
fn an_unanswered_handshake_fails_after_fifteen_seconds() {
    let mut bench = Bench::port(Options::default());

    bench.wait(Duration::from_millis(14_990));
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    assert_eq!(bench.end().unwrap().outcome, Outcome::Failed);
}

#[test]
fn a_failed_action_ends_the_session_with_its_error() {
    let mut bench = Bench::port(Options::default());

    let body = br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":2,"Error":"no"}]}"#;
    bench.say(PayloadType::HandshakeResponse, body);

    let output = &bench.end().unwrap().output;
    assert!(
        output.ends_with("SessionType failed on client with status 2 error: no"),
        "{output}"
    );
}

#[test]
fn data_before_the_handshake_is_acknowledged_and_lost() {
    let mut bench = Bench::port(Options::default());

    bench.frames(&[(Command::Open, 3, b"")]);
    let mut bench = bench.after_handshake("1.2.764.0");
    bench.frames(&[(Command::Push, 3, b"x")]);

    assert!(bench.events.is_empty());
    assert_eq!(
        bench.agent.stats().violations[&Violation::DataBeforeHandshake],
        1
    );
}

#[test]
fn nothing_is_acknowledged_until_the_plugin_is_ready() {
    let mut bench = Bench::port(Options::default());
    bench.answer("1.2.764.0");

    bench.say_as(1, PayloadType::Size, b"probe");
    assert_eq!(bench.acknowledged(), [0]);
    bench.wait(Duration::from_millis(10));
    bench.say_as(1, PayloadType::Size, b"probe");

    assert_eq!(bench.acknowledged(), [0, 1]);
}

#[test]
fn early_messages_are_acknowledged_at_once_and_processed_in_order() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    let push = |byte: u8| [1, 2, 1, 0, 3, 0, 0, 0, byte];

    bench.say_as(3, PayloadType::Output, &push(b'b'));
    assert!(bench.written(id).is_empty());
    bench.say_as(2, PayloadType::Output, &push(b'a'));

    assert_eq!(bench.acknowledged(), [1, 3, 2]);
    assert_eq!(bench.written(id), b"ab");
}

#[test]
fn a_duplicate_is_acknowledged_again_but_by_old_agents() {
    for (version, expected) in [("3.3.987.0", 2), ("3.2.1040.0", 1)] {
        let options = Options {
            version: Version::parse(version),
            ..Options::default()
        };
        let mut bench = Bench::port(options).after_handshake("1.2.764.0");

        bench.say_as(1, PayloadType::Size, b"probe");
        bench.say_as(1, PayloadType::Size, b"probe");

        assert_eq!(bench.acknowledged().len(), expected, "{version}");
    }
}

#[test]
fn a_second_response_silences_the_agent_for_good() {
    let mut bench = Bench::ready();

    bench.answer("1.2.764.0");
    bench.say_as(2, PayloadType::Size, b"probe");
    bench.wait(60 * SECOND);

    assert!(bench.acknowledged().is_empty());
    assert!(!bench.agent.wants_input());
    bench.agent.handle_channel_closed(bench.now);
    bench.settle();
    assert!(bench.end().is_some());
}

#[test]
fn the_clients_fin_closes_after_all_is_written() {
    let mut bench = Bench::ready();
    bench.frames(&[
        (Command::Open, 3, b""),
        (Command::Push, 3, b"hello"),
        (Command::Finish, 3, b""),
    ]);
    let id = bench.connect();
    assert_eq!(bench.written(id), b"hello");

    bench.agent.handle_written(bench.now, id, 4);
    assert!(!bench.events.contains(&Event::Close(id)));
    bench.agent.handle_written(bench.now, id, 1);
    bench.wait(SECOND);

    assert!(bench.events.contains(&Event::Close(id)));
    assert_eq!(bench.output(PayloadType::Output), fin(3));
}

#[test]
fn the_destinations_end_follows_all_it_said_and_what_comes_later_is_swallowed() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();

    bench.agent.handle_read(id, Bytes::from_static(b"bye"));
    bench
        .agent
        .handle_ended(bench.now, id, DestinationEnd::Finished);
    bench.wait(SECOND);
    bench.frames(&[(Command::Push, 3, b"late"), (Command::Finish, 3, b"")]);
    bench.wait(SECOND);

    let mut expected = vec![1, 2, 3, 0, 3, 0, 0, 0];
    expected.extend_from_slice(b"bye");
    expected.extend_from_slice(&fin(3));
    assert_eq!(bench.output(PayloadType::Output), expected);
    assert!(bench.written(id).is_empty());
}

#[test]
fn a_refused_dial_is_a_flag_and_then_a_fin() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b""), (Command::Push, 3, b"lost")]);

    bench.agent.handle_dial_failed(bench.now, bench.dial());
    bench.wait(SECOND);

    let output = bench
        .received
        .iter()
        .filter(|m| m.header.kind == Kind::Output);
    let output: Vec<_> = output
        .map(|m| (m.header.payload_type, m.payload.to_vec()))
        .collect();
    let flag = (PayloadType::Flag, vec![0, 0, 0, 3]);
    assert_eq!(output, [flag, (PayloadType::Output, fin(3).to_vec())]);
}

#[test]
fn dials_are_made_one_after_the_other() {
    let mut bench = Bench::ready();

    bench.frames(&[(Command::Open, 3, b""), (Command::Open, 5, b"")]);
    assert_eq!(bench.events.len(), 1, "one dial");
    let first = bench.connect();

    assert_ne!(bench.dial(), first);
}

#[test]
fn a_full_budget_stops_all_reading_until_the_destination_takes_some() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    let data = vec![0; 60_000];

    let mut sent = 0;
    while bench.agent.wants_input() {
        bench.frames(&[(Command::Push, 3, &data)]);
        sent += data.len();
    }

    assert!(
        (4 << 20..(4 << 20) + data.len()).contains(&sent),
        "{sent} bytes"
    );
    bench.agent.handle_written(bench.now, id, data.len());
    assert!(bench.agent.wants_input());
}

#[test]
fn a_bad_frame_ends_the_session_if_a_stream_is_open() {
    for open in [true, false] {
        let mut bench = Bench::ready();
        if open {
            bench.frames(&[(Command::Open, 3, b"")]);
        }

        bench.say(PayloadType::Output, &[2, 0, 0, 0, 3, 0, 0, 0]);
        bench.frames(&[(Command::Open, 5, b"")]);

        let ended = bench.end().map(|end| end.outcome);
        assert_eq!(ended, open.then_some(Outcome::Failed));
        assert_eq!(bench.acknowledged(), [1, 2]);
    }
}

#[test]
fn the_terminate_flag_is_acknowledged_and_ends_the_session() {
    let mut bench = Bench::ready();

    bench.say(PayloadType::Flag, &[0, 0, 0, 2]);

    assert_eq!(bench.acknowledged(), [1]);
    assert_eq!(bench.end(), Some(&End::success()));
}

#[test]
fn the_end_waits_two_seconds_for_acknowledgements() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    bench.acknowledges = false;
    bench.agent.handle_read(id, Bytes::from_static(b"x"));
    bench.wait(SECOND);

    bench.say(PayloadType::Flag, &[0, 0, 0, 2]);
    bench.wait(Duration::from_millis(1_990));
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    assert!(bench.end().is_some());
}

#[test]
fn a_host_that_cannot_be_dialled_ends_the_session_after_the_handshake() {
    let mut bench = Bench::port(Options::default());
    bench.agent.job.refusal = Some("lookup db: no such host".to_owned());

    bench.answer("1.2.764.0");

    assert_eq!(bench.end(), Some(&End::failed("lookup db: no such host")));
    assert!(!bench.output(PayloadType::HandshakeComplete).is_empty());
}

#[test]
fn the_pace_is_kept_in_messages_of_1024_bytes() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();

    let start = bench.now;
    while bench.now < start + 10 * SECOND {
        while bench.agent.wants_read(id) {
            bench
                .agent
                .handle_read(id, Bytes::from_static(&[0; 16_384]));
        }
        bench.wait(Duration::from_millis(10));
    }

    let sizes = bench.received.iter().map(|m| m.payload.len());
    assert_eq!(sizes.max(), Some(1024));
    let bytes = bench.output(PayloadType::Output).len();
    let rate = f64::from(u32::try_from(bytes).unwrap()) / 10.0 / 1_048_576.0;
    assert!((0.60..=0.69).contains(&rate), "{rate} MiB/s");
}

#[test]
fn a_lost_message_goes_again_and_only_the_front() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    bench.acknowledges = false;
    bench.agent.handle_read(id, Bytes::from_static(&[0; 4096]));

    bench.wait(2 * SECOND);

    let data = bench
        .received
        .iter()
        .filter(|m| m.header.kind == Kind::Output);
    let front = data.clone().map(|m| m.header.seq).min().unwrap();
    let again = data.clone().filter(|m| m.header.seq == front).count();
    assert!(again > 3, "{again} times");
    assert_eq!(data.count(), again + 4, "all others went once");
}

#[test]
fn a_pause_rests_data_until_anything_comes() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    bench.received.clear();

    let pause = message(Kind::PausePublication, 0, PayloadType::None, b"").encode();
    bench.agent.handle_message(bench.now, pause);
    bench.agent.handle_read(id, Bytes::from_static(b"x"));
    bench.wait(SECOND);
    assert!(bench.received.is_empty());
    bench.say(PayloadType::Size, b"probe");
    bench.wait(SECOND);

    assert!(!bench.output(PayloadType::Output).is_empty());
}

#[test]
fn an_old_client_is_kept_alive_and_ended_when_silent() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.2.0.0");

    bench.wait(29 * SECOND);
    assert!(
        bench.output(PayloadType::Output).starts_with(&[1, 3, 0, 0]),
        "NOPs"
    );
    assert!(bench.end().is_none());
    bench.wait(2 * SECOND);

    assert_eq!(bench.end().unwrap().outcome, Outcome::Failed);
}

#[test]
fn basic_mode_writes_before_it_acknowledges_and_dials_again_after_an_end() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.1.69");
    let first = bench.connect();
    bench.say(PayloadType::Output, b"one");
    assert!(bench.acknowledged().is_empty());
    bench.agent.handle_written(bench.now, first, 3);
    bench.settle();
    assert_eq!(bench.acknowledged(), [1]);

    bench
        .agent
        .handle_ended(bench.now, first, DestinationEnd::Finished);
    bench.settle();
    bench.say(PayloadType::Output, b"two");
    let second = bench.connect();

    assert_ne!(first, second);
    assert_eq!(bench.written(second), b"two");
    assert!(bench.end().is_none());
}

#[test]
fn a_refused_dial_in_basic_mode_is_silence_and_then_the_end() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.1.69");

    bench.agent.handle_dial_failed(bench.now, bench.dial());
    bench.say(PayloadType::Output, b"anyone?");
    bench.wait(59 * SECOND);
    assert!(bench.received.is_empty() && bench.end().is_none());
    bench.wait(2 * SECOND);

    assert_eq!(bench.end(), Some(&End::failed(CRASHED)));
}

#[test]
fn sshds_end_ends_the_session_after_all_it_said() {
    let mut bench =
        Bench::new(Options::default(), &[("portNumber", "22")]).after_handshake("1.2.764.0");
    let id = bench.connect();

    bench
        .agent
        .handle_read(id, Bytes::from_static(&[b'x'; 5000]));
    bench
        .agent
        .handle_ended(bench.now, id, DestinationEnd::Finished);
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    assert_eq!(bench.output(PayloadType::Output), [b'x'; 5000]);
    assert_eq!(bench.end(), Some(&End::success()));
}

#[test]
fn a_wrong_digest_is_taken_unless_it_is_demanded() {
    for (digests, expected) in [
        (Digests::Ignored, 1),
        (Digests::Noted, 1),
        (Digests::Demanded, 0),
    ] {
        let options = Options {
            digests,
            ..Options::default()
        };
        let mut bench = Bench::port(options).after_handshake("1.2.764.0");
        let mut frame = message(Kind::Input, 1, PayloadType::Size, b"probe")
            .encode()
            .to_vec();
        frame[120] ^= 1;

        bench.agent.handle_message(bench.now, frame.into());
        bench.settle();

        assert_eq!(bench.acknowledged().len(), expected, "{digests:?}");
        let noted = bench
            .agent
            .stats()
            .violations
            .contains_key(&Violation::BadDigest);
        assert_eq!(noted, digests != Digests::Ignored);
    }
}

#[test]
fn a_disconnected_agent_reads_on_and_loses_what_it_sends() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Open, 3, b"")]);
    let id = bench.connect();
    bench.received.clear();

    bench.agent.handle_disconnected(bench.now);
    bench.agent.handle_read(id, Bytes::from_static(&[0; 3000]));
    bench.wait(SECOND);
    assert!(bench.received.is_empty());
    bench.agent.handle_connected(bench.now);
    bench.wait(2 * SECOND);

    assert_eq!(bench.output(PayloadType::Output).len(), 3008);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut bench = Bench::ready();
        bench.frames(&[(Command::Open, 3, b"")]);
        bench.received.pop().unwrap().header.id
    };

    assert_eq!(run(), run());
}
