//! The protocol alone: the core of the daemon connected to the simulator's agent.
//!
//! No sockets, no tasks, and virtual time only. Both compute the digest of each payload, as they do
//! on the wire; the last column is the speed that the digests alone would permit.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use ssm_proxyd::proto::{ClientVersion, Event, Options, Read, StreamId, Transmit, Tunnel, Write};
use ssm_proxyd::sim::agent::{self, Agent, Job, SendRate};

use crate::stats::{Samples, mib_per_second, title};

pub(crate) fn run() {
    title(&format!(
        "core: no sockets, medians of {RUNS} (messages and their acknowledgements)"
    ));
    println!("message  way    messages/s      MiB/s   digests alone");
    for payload in [1024, 32 * 1024] {
        let digests = median(|| digests(payload));
        for (name, way) in [("up", Pair::up as fn(&mut Pair)), ("down", Pair::down)] {
            let speed = median(|| Pair::new(payload).measure(way));
            let messages = speed * f64::from(1 << 20) / payload as f64;
            println!(
                "{:>4} KiB  {name:4} {messages:12.0} {speed:10.1} {digests:15.1}",
                payload / 1024
            );
        }
    }
}

fn median(measure: impl FnMut() -> f64) -> f64 {
    let samples = std::iter::repeat_with(measure).take(RUNS);
    Samples::new(samples.collect()).median()
}

/// The speed that two digests of each payload permit.
fn digests(payload: usize) -> f64 {
    let payload = vec![7; payload];
    timed(|| {
        for _ in 0..2 {
            std::hint::black_box(Sha256::digest(std::hint::black_box(&payload)));
        }
        payload.len()
    })
}

/// MiB/s of a function that moves this number of bytes per call.
fn timed(mut step: impl FnMut() -> usize) -> f64 {
    let begin = Instant::now();
    let mut moved = 0;
    while begin.elapsed() < SPAN {
        for _ in 0..100 {
            moved += step();
        }
    }
    mib_per_second(moved as u64, begin.elapsed())
}

/// A tunnel with one stream, and the agent at its other end.
struct Pair {
    tunnel: Tunnel,
    agent: Agent,
    now: Instant,
    stream: StreamId,
    destination: Option<agent::ConnectionId>,
    chunk: Bytes,
    /// Bytes that arrived at their end.
    arrived: usize,
}

impl Pair {
    fn new(payload: usize) -> Self {
        let now = Instant::now();
        let options = Options {
            upload_rate: 0,
            upload_payload: payload,
            upload_window: 256 * 1024,
            keep_alive: false,
            shared: true,
            client_version: ClientVersion::DEFAULT,
        };
        let agent_options = agent::Options {
            pace: SendRate::Unlimited,
            message_size: payload,
            process_start: Duration::ZERO..Duration::ZERO,
            ..agent::Options::default()
        };
        let properties = [("portNumber", "1"), ("type", "LocalPortForwarding")];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let job = Job {
            properties: properties.into(),
            refusal: None,
        };
        let wall = SystemTime::now();
        let mut pair = Self {
            tunnel: Tunnel::new(now, wall, 1, options),
            agent: Agent::new(now, wall, 2, agent_options, job),
            now,
            stream: StreamId(0),
            destination: None,
            chunk: vec![7; 64 * 1024].into(),
            arrived: 0,
        };
        pair.open();
        pair
    }

    /// Completes the handshake, and opens the stream.
    fn open(&mut self) {
        self.tunnel.handle_connected(self.now, "token");
        while !matches!(self.tunnel.poll_event(), Some(Event::Ready { .. })) {
            self.now += Duration::from_millis(1);
            self.agent.handle_timeout(self.now);
            self.tunnel.handle_timeout(self.now);
            self.carry();
        }
        self.stream = self.tunnel.open().unwrap();
        while self.destination.is_none() {
            self.carry();
        }
    }

    fn measure(mut self, way: fn(&mut Self)) -> f64 {
        timed(|| {
            let before = self.arrived;
            self.now += Duration::from_micros(10);
            way(&mut self);
            self.arrived - before
        })
    }

    fn up(&mut self) {
        let written = self.tunnel.write(self.stream, &self.chunk);
        assert!(matches!(written, Write::Accepted(_)), "{written:?}");
        self.carry();
    }

    fn down(&mut self) {
        let destination = self.destination.unwrap();
        self.agent.handle_read(destination, self.chunk.clone());
        self.carry();
        while let Read::Data(chunk) = self.tunnel.read(self.stream, usize::MAX) {
            self.arrived += chunk.len();
        }
    }

    /// Carries all pending messages, both ways.
    fn carry(&mut self) {
        loop {
            let mut moved = false;
            while let Some(transmit) = self.tunnel.poll_transmit(self.now) {
                moved = true;
                if let Transmit::Message(message) = transmit {
                    self.agent.handle_message(self.now, message);
                }
            }
            self.serve_command();
            while let Some(message) = self.agent.poll_transmit(self.now) {
                moved = true;
                self.tunnel.handle_message(self.now, message).unwrap();
            }
            if !moved {
                return;
            }
        }
    }

    /// Does what the agent requests.
    fn serve_command(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                agent::Event::Dial(id) => {
                    self.agent.handle_dialled(self.now, id);
                    self.destination = Some(id);
                }
                agent::Event::Write(id, data) => {
                    self.arrived += data.len();
                    self.agent.handle_written(self.now, id, data.len());
                }
                agent::Event::Close(_) | agent::Event::Ended(_) => panic!("{event:?}"),
            }
        }
    }
}

const RUNS: usize = 5;
const SPAN: Duration = Duration::from_millis(300);
