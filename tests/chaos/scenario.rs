//! The scenario of a seed: connections, their operations, and the faults of the path.

use std::time::Duration;

use fastrand::Rng;
use ssm_proxyd::proto::{ClientVersion, Options};
use ssm_proxyd::sim::agent::{Race, Retransmission, SendRate, Version};
use ssm_proxyd::sim::link::LinkConditions;

use crate::support::agent_destination::Destination;
use crate::support::pair::Delivery;
use crate::support::pair_options::PairOptions;
use crate::support::payload::pattern;

/// A scenario.
pub(super) struct Scenario {
    pub(super) setup: PairOptions,
    pub(super) connections: Vec<Connection>,
    /// In order of time, from the moment when the tunnel is ready. After the last one the faults
    /// end.
    pub(super) actions: Vec<(Duration, Action)>,
}

impl Scenario {
    /// Makes the scenario of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut actions = Vec::new();
        let count = rng.usize(1..=4);
        let connections = (0..count)
            .map(|which| connection(&mut rng, which, &mut actions))
            .collect();
        for _ in 0..rng.usize(1..=6) {
            actions.push((moment(&mut rng), fault(&mut rng)));
        }
        actions.sort_by_key(|(at, _)| *at);
        Self {
            setup: setup(&mut rng, seed),
            connections,
            actions,
        }
    }
}

/// A connection and its destination.
pub(super) struct Connection {
    pub(super) destination: Option<Destination>,
    /// All data that its client may write.
    pub(super) data: Vec<u8>,
    /// The maximum number of bytes per read.
    pub(super) read_size: usize,
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Open(usize),
    /// Writes this number of further bytes.
    Write(usize, usize),
    Finish(usize),
    Reset(usize),
    Reads(usize, bool),
    /// The destination reads this number of further bytes, or stops.
    Allow(usize, usize),
    Stall(usize),
    /// A websocket breaks for a while.
    BreakClient(usize, Delivery, Duration),
    BreakAgent(usize, Delivery, Duration),
    /// The path holds all messages back.
    HoldUp(Duration),
    HoldDown(Duration),
    /// The service pauses publication, to the client or to the agent.
    PauseClient,
    PauseAgent,
}

fn setup(rng: &mut Rng, seed: u64) -> PairOptions {
    let mut setup = PairOptions {
        seed,
        options: Options {
            upload_rate: pick(rng, &[0, 50, 900, 900]),
            upload_payload: pick(rng, &[64, 256, 1024, 1024]),
            upload_window: pick(rng, &[1024, 8 * 1024, 256 * 1024]),
            keep_alive: false,
            shared: true,
            client_version: ClientVersion::DEFAULT,
        },
        up: conditions(rng),
        down: conditions(rng),
        capacity: pick(rng, &[8 * 1024, 1 << 20]),
        records: false,
        ..PairOptions::default()
    };
    setup.agent.version = Version::parse(pick(rng, &["3.3.987.0", "3.2.1041.0"]));
    setup.agent.message_size = pick(rng, &[100, 700, 1024, 1024]);
    setup.agent.pace = pick(rng, &[setup.agent.pace, SendRate::Unlimited]);
    setup.agent.retransmission = pick(rng, &[Retransmission::OldestOnly, Retransmission::All]);
    setup.agent.readiness = Duration::ZERO..Duration::from_millis(rng.u64(1..500));
    setup.agent.acknowledgement_race = Race {
        probability: pick(rng, &[0.0, 0.003, 0.1]),
        delay: Duration::ZERO..Duration::from_millis(100),
    };
    // A path that keeps its messages and their order, as every websocket does: on another one a
    // refused message cannot be distinguished from a lost one.
    if setup.up.loss + setup.up.reordering == 0 {
        setup.agent.handshake_race = Race {
            probability: 0.5,
            delay: Duration::ZERO..Duration::from_millis(8),
        };
    }
    setup
}

fn conditions(rng: &mut Rng) -> LinkConditions {
    let mut per_mille = |max: u16| if rng.bool() { rng.u16(..max) } else { 0 };
    LinkConditions {
        loss: per_mille(300),
        duplication: per_mille(300),
        reordering: per_mille(400),
        jitter: Duration::from_micros(rng.u64(0..40_000)),
        ..LinkConditions::delayed(Duration::from_micros(rng.u64(100..60_000)))
    }
}

fn connection(rng: &mut Rng, which: usize, actions: &mut Vec<(Duration, Action)>) -> Connection {
    let opened = moment(rng) / 3;
    actions.push((opened, Action::Open(which)));
    let mut at = opened;
    let mut len = 0;
    for _ in 0..rng.usize(0..5) {
        at += moment(rng) / 6;
        let more = pick(rng, &[1, 700, 3000, 7000]);
        let more = rng.usize(1..=more);
        actions.push((at, Action::Write(which, more)));
        len += more;
    }
    let fault_count = rng.usize(0..3);
    for _ in 0..fault_count {
        actions.push((opened + moment(rng), obstacle(rng, which)));
    }
    let ends = (at + moment(rng) / 4).min(opened + FAULTS_END);
    match rng.u8(..4) {
        0 => actions.push((ends, Action::Finish(which))),
        1 => actions.push((ends, Action::Reset(which))),
        _ => {}
    }
    Connection {
        destination: Some(destination(rng, which, len)),
        data: pattern(which as u64 + 1, len),
        read_size: pick(rng, &[3, 500, 1 << 20]),
    }
}

fn obstacle(rng: &mut Rng, which: usize) -> Action {
    match rng.u8(..4) {
        0 => Action::Reads(which, false),
        1 => Action::Reads(which, true),
        2 => Action::Stall(which),
        _ => Action::Allow(which, rng.usize(..5000)),
    }
}

fn destination(rng: &mut Rng, which: usize, received: usize) -> Destination {
    let len = pick(rng, &[0, 40, 3000, 12_000]);
    let data = pattern(which as u64 + 100, rng.usize(0..=len));
    let chunk = pick(rng, &[7, 1000, 32_768]);
    let destination = match rng.u8(..16) {
        0..4 => Destination::echo(),
        4..6 => Destination::sink(),
        6..9 => Destination::source(data),
        9..12 => Destination::answering(received, data),
        12 => Destination::greeting(data),
        13 => Destination::abrupt(rng.usize(0..=received), data),
        14 => Destination::stalled(),
        _ => Destination::refusing(),
    };
    let pause = pick(rng, &[0, 0, 5, 400]);
    destination
        .dialled_in(Duration::from_millis(pause))
        .in_chunks_of(chunk)
}

fn fault(rng: &mut Rng) -> Action {
    let delivered = pick(rng, &[0, 0, 1, 5, 100]);
    let kept = pick(rng, &[Delivery::Yes, Delivery::No]);
    let span = Duration::from_millis(pick(rng, &[0, 30, 400, 3000]));
    match rng.u8(..12) {
        0..6 => Action::BreakClient(delivered, kept, span),
        6..8 => Action::BreakAgent(delivered, kept, span),
        8 => Action::HoldUp(span),
        9 => Action::HoldDown(span),
        10 => Action::PauseClient,
        _ => Action::PauseAgent,
    }
}

fn moment(rng: &mut Rng) -> Duration {
    FAULTS_END.mul_f64(rng.f64())
}

fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.usize(..items.len())]
}

/// The duration of the faults.
const FAULTS_END: Duration = Duration::from_millis(2500);
