//! A tunnel with one stream, connected to the simulator's agent. What the tunnel does is measured.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::agent::{self, Agent, Job, SendRate};
use crate::proto::{ClientVersion, Event, Options, Read, StreamId, Transmit, Tunnel, Write};
use crate::wire::message::HEADER_LEN;
use crate::workload::measured;

/// Bytes of a message's payload.
pub(crate) const PAYLOAD: usize = 1024;

/// Bytes of a frame's header in a payload.
const FRAME_HEADER: usize = 8;

/// Lengths of a message that is full, but for a frame header.
const NEARLY_FULL: RangeInclusive<usize> = HEADER_LEN + PAYLOAD - 16..=HEADER_LEN + PAYLOAD;

/// Bytes of an upload that fill a message, with the headers of its frames.
const UPLOAD: usize = 1000;

/// The tunnel and the agent.
pub(crate) struct Pair {
    tunnel: Tunnel,
    agent: Agent,
    now: Instant,
    stream: StreamId,
    destination: Option<agent::ConnectionId>,
    chunk: Bytes,
}

impl Pair {
    /// Completes the handshake, and opens the stream.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let options = Options {
            upload_rate: 0,
            upload_payload: PAYLOAD,
            upload_window: 256 * 1024,
            keep_alive: false,
            shared: true,
            client_version: ClientVersion::DEFAULT,
        };
        let agent_options = agent::Options {
            pace: SendRate::Unlimited,
            message_size: PAYLOAD,
            process_start: Duration::ZERO..Duration::ZERO,
            ..agent::Options::default()
        };
        let properties = [("portNumber", "1"), ("type", "LocalPortForwarding")];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let job = Job {
            properties: properties.into(),
            refusal: None,
        };
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut pair = Self {
            tunnel: Tunnel::new(now, wall, 1, options),
            agent: Agent::new(now, wall, 2, agent_options, job),
            now,
            stream: StreamId(0),
            destination: None,
            chunk: vec![7; PAYLOAD - FRAME_HEADER].into(),
        };
        pair.open();
        pair
    }

    fn open(&mut self) {
        self.tunnel.handle_connected(self.now, "token");
        while !matches!(self.tunnel.poll_event(), Some(Event::Ready { .. })) {
            self.pass_time();
        }
        self.stream = self.tunnel.open().expect("a ready tunnel opens streams");
        while self.destination.is_none() {
            self.carry();
        }
    }

    /// One message of the agent: received, read, and acknowledged.
    pub(crate) fn download(&mut self) {
        self.pass_time();
        let destination = self.destination.expect("the stream is open");
        self.agent.handle_read(destination, self.chunk.clone());
        let messages: Vec<_> = std::iter::from_fn(|| self.agent.poll_transmit(self.now)).collect();
        let [message] = <[Bytes; 1]>::try_from(messages).expect("one message");
        let (tunnel, now, stream) = (&mut self.tunnel, self.now, self.stream);
        let (read, sent) = measured(|| {
            tunnel.handle_message(now, message).expect("it is valid");
            while tunnel.poll_event().is_some() {}
            let read = tunnel.read(stream, usize::MAX);
            tunnel.handle_timeout(now);
            let sent = [tunnel.poll_transmit(now), tunnel.poll_transmit(now)];
            let _next = tunnel.poll_timeout();
            (read, sent)
        });
        assert!(matches!(read, Read::Data(_)), "{read:?}");
        assert!(matches!(sent, [Some(_), None]), "one acknowledgement");
        sent.into_iter()
            .flatten()
            .for_each(|transmit| self.deliver(transmit));
        self.carry();
    }

    /// One message of the tunnel: written, sent, and its acknowledgement received.
    pub(crate) fn upload(&mut self) {
        self.pass_time();
        let (tunnel, now, stream) = (&mut self.tunnel, self.now, self.stream);
        let chunk = &self.chunk[..UPLOAD];
        let (written, sent) = measured(|| {
            let written = tunnel.write(stream, chunk);
            tunnel.handle_timeout(now);
            let sent = [tunnel.poll_transmit(now), tunnel.poll_transmit(now)];
            let _next = tunnel.poll_timeout();
            (written, sent)
        });
        assert!(matches!(written, Write::Accepted(len) if len == UPLOAD));
        let is_full =
            matches!(&sent, [Some(Transmit::Message(m)), None] if NEARLY_FULL.contains(&m.len()));
        assert!(is_full, "one full message: {sent:?}");
        sent.into_iter()
            .flatten()
            .for_each(|transmit| self.deliver(transmit));
        self.serve();
        let mut acknowledged = 0;
        while let Some(message) = self.agent.poll_transmit(self.now) {
            let (tunnel, now) = (&mut self.tunnel, self.now);
            measured(|| {
                tunnel.handle_message(now, message).expect("it is valid");
                while tunnel.poll_event().is_some() {}
            });
            acknowledged += 1;
        }
        assert_eq!(acknowledged, 1, "one acknowledgement");
    }

    fn pass_time(&mut self) {
        self.now += Duration::from_millis(1);
        self.agent.handle_timeout(self.now);
        self.tunnel.handle_timeout(self.now);
        self.carry();
    }

    /// Carries all pending messages, both ways; not measured.
    fn carry(&mut self) {
        loop {
            let mut moved = false;
            while let Some(transmit) = self.tunnel.poll_transmit(self.now) {
                moved = true;
                self.deliver(transmit);
            }
            self.serve();
            while let Some(message) = self.agent.poll_transmit(self.now) {
                moved = true;
                let handled = self.tunnel.handle_message(self.now, message);
                handled.expect("it is valid");
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, transmit: Transmit) {
        if let Transmit::Message(message) = transmit {
            self.agent.handle_message(self.now, message);
        }
    }

    /// Does what the agent requests.
    fn serve(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                agent::Event::Dial(id) => {
                    self.agent.handle_dialled(self.now, id);
                    self.destination = Some(id);
                }
                agent::Event::Write(id, data) => {
                    self.agent.handle_written(self.now, id, data.len());
                }
                agent::Event::Close(_) | agent::Event::Ended(_) => panic!("{event:?}"),
            }
        }
    }
}
