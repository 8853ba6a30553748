//! A hostile peer: whatever it sends, nothing panics and memory stays bounded.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::invariants;
use crate::bundle::event::{End, Event, Read};
use crate::bundle::handshake::{Handshake, Hello, VERSION, Welcome};
use crate::bundle::ids::{BundleId, FlowId, StripeId};
use crate::bundle::limits::MAX_DATA;
use crate::bundle::record::{Ack, Destination, FailureClass, GoodbyeClass, Record, encode};
use crate::bundle::{Bundle, Options};
use crate::clock;
use crate::printable::Printable;

/// A bundle, and what its peer knows.
struct Victim {
    bundle: Bundle,
    now: Instant,
    stripes: Vec<StripeId>,
    flows: Vec<FlowId>,
    next_number: u64,
    ended: Option<End>,
}

fn hello(complete: u64) -> Hello {
    Hello {
        version: VERSION,
        features: 0,
        bundle: BundleId::new([1; 16]),
        stripe: 0,
        complete,
    }
}

fn destination() -> Destination {
    Destination {
        host: "db".into(),
        port: 5432,
    }
}

impl Victim {
    fn relay() -> Self {
        let now = clock::now();
        Self::with(Bundle::relay(now, Options::DEFAULT), now)
    }

    fn daemon() -> Self {
        let now = clock::now();
        let id = BundleId::new([1; 16]);
        Self::with(Bundle::daemon(now, id, Options::DEFAULT), now)
    }

    fn with(bundle: Bundle, now: Instant) -> Self {
        let mut victim = Self {
            bundle,
            now,
            stripes: Vec::new(),
            flows: Vec::new(),
            next_number: 1,
            ended: None,
        };
        victim.add_stripe();
        victim
    }

    fn add_stripe(&mut self) {
        if let Some(id) = self.bundle.connect_stripe(self.now) {
            let welcome = Handshake::Welcome(Welcome {
                version: VERSION,
                features: 0,
                complete: 0,
            });
            self.bundle.poll_transmit(self.now, id);
            self.bundle.handle_bytes(self.now, id, &welcome.encode());
            self.stripes.push(id);
        } else if let Ok(id) = self.bundle.accept_stripe(self.now, &hello(0)) {
            self.stripes.push(id);
        }
    }

    fn send(&mut self, flow: u32, record: &Record) {
        let mut bytes = BytesMut::new();
        let number = self.next_number;
        self.next_number += 1;
        encode(FlowId(flow), number, record, &mut bytes);
        self.bundle.handle_bytes(self.now, self.stripes[0], &bytes);
        self.handle_events();
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.bundle.poll_event() {
            assert!(self.ended.is_none(), "{event:?} after the end");
            match event {
                Event::Open(id, _) | Event::Opened(id) => self.flows.push(id),
                Event::Ended(end) => self.ended = Some(end),
                Event::StripeClosed(id, _) => self.stripes.retain(|stripe| *stripe != id),
                Event::Failed(id, ..) | Event::Reset(id) => self.flows.retain(|flow| *flow != id),
                Event::Readable(_) | Event::Writable(_) | Event::StripesWanted(_) => {}
            }
        }
        invariants::check(&self.bundle);
    }
}

#[test]
fn random_records_neither_panic_nor_fill_the_memory() {
    let mut endings = std::collections::BTreeSet::new();
    for seed in 0..4000 {
        let run = std::panic::catch_unwind(|| attack(seed));
        match run {
            Ok(end) => endings.extend(end),
            Err(_) => panic!("seed {seed}"),
        }
    }
    assert!(endings.len() >= 10, "{endings:?}");
}

/// Attacks a bundle. Returns how it ended.
fn attack(seed: u64) -> Option<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut victim = if random.bool() {
        Victim::relay()
    } else {
        Victim::daemon()
    };
    // Most records are plausible, so that the bundle lives for a while.
    let carelessness = random.u32(2..300);
    for _ in 0..300 {
        step(&mut victim, &mut random, carelessness);
        if victim.ended.is_some() {
            break;
        }
    }
    let text = victim.ended.map(|end| end.to_string());
    text.map(|text| text.chars().filter(|c| !c.is_ascii_digit()).collect())
}

fn step(victim: &mut Victim, random: &mut fastrand::Rng, carelessness: u32) {
    match random.u32(0..20) {
        0 => victim.now += Duration::from_millis(random.u64(0..20_000)),
        1 => victim.add_stripe(),
        2 => {
            if let Some(id) = random.choice(&victim.stripes).copied() {
                victim.bundle.handle_stripe_lost(victim.now, id);
                victim.stripes.retain(|stripe| *stripe != id);
            }
        }
        3 => victim.flows.extend(victim.bundle.open(victim.now, "db", 1)),
        4..7 => use_flow(victim, random),
        7..10 => {
            for id in victim.stripes.clone() {
                while victim.bundle.poll_transmit(victim.now, id).is_some() {}
            }
        }
        _ => send_any(victim, random, carelessness),
    }
    let due = victim.bundle.poll_timeout();
    if due.is_some_and(|at| at <= victim.now) {
        victim.bundle.handle_timeout(victim.now);
    }
    victim.handle_events();
}

fn use_flow(victim: &mut Victim, random: &mut fastrand::Rng) {
    let Some(id) = random.choice(&victim.flows).copied() else {
        return;
    };
    let bundle = &mut victim.bundle;
    match random.u32(0..7) {
        0 => bundle.reset(id),
        1 => bundle.finish(id),
        2 => bundle.handle_dial_failed(id, FailureClass::Other, "no".into()),
        3 => while let Read::Data(_) = bundle.read(victim.now, id, 5000) {},
        4 => assert!(bundle.write(id, &[0; 70_000]) <= 70_000),
        _ => bundle.handle_dialled(id),
    }
}

fn send_any(victim: &mut Victim, random: &mut fastrand::Rng, carelessness: u32) {
    let Some(stripe) = random.choice(&victim.stripes).copied() else {
        return;
    };
    let record = any_record(victim, random);
    let is_numbered = !matches!(
        record,
        Record::Ack(_) | Record::Ping(_) | Record::Pong(_) | Record::Goodbye(..)
    );
    let flow = random.choice(&victim.flows).copied().unwrap_or(FlowId(1));
    let flow = match (&record, is_numbered) {
        (Record::Open(..), _) => FlowId(random.u32(1..40)),
        (_, true) => flow,
        (_, false) => FlowId::NONE,
    };
    let number = if is_numbered { victim.next_number } else { 0 };
    victim.next_number += u64::from(is_numbered);
    let mut bytes = BytesMut::new();
    encode(flow, number, &record, &mut bytes);
    if random.u32(0..carelessness) == 0 {
        let at = random.usize(..bytes.len());
        bytes[at] = random.u8(..);
    }
    let cut = random.usize(..=bytes.len());
    victim
        .bundle
        .handle_bytes(victim.now, stripe, &bytes[..cut]);
    victim
        .bundle
        .handle_bytes(victim.now, stripe, &bytes[cut..]);
}

fn any_record(victim: &Victim, random: &mut fastrand::Rng) -> Record {
    let near = |random: &mut fastrand::Rng| random.u64(0..1 << 13) >> random.u32(0..13);
    match random.u32(0..40) {
        0..8 => Record::Open(destination(), random.u32(..)),
        8..10 => Record::Opened(random.u32(..)),
        10 => Record::Failed(FailureClass::Other, "no".into()),
        11..20 => {
            let flow = random.choice(&victim.flows);
            let flow = flow.and_then(|id| victim.bundle.flows.get(id));
            let next = flow.map_or(0, |flow| flow.inbound.next());
            Record::Data {
                offset: next + random.u64(0..2) * near(random),
                bytes: vec![1; random.usize(1..MAX_DATA)].into(),
            }
        }
        20 => Record::Fin(near(random)),
        21 => Record::Reset,
        22..25 => Record::Credit(near(random) << random.u32(0..40)),
        25..30 => Record::Ack(Ack {
            count: near(random) >> 8,
            complete: near(random) >> 10,
            is_saturated: random.bool(),
        }),
        30..36 => Record::Ping(random.u64(..)),
        36..39 => Record::Pong(near(random)),
        _ => Record::Goodbye(GoodbyeClass::of(random.u8(0..8)), Printable::default()),
    }
}

#[test]
fn pieces_beyond_gaps_are_bounded() {
    let mut victim = Victim::relay();
    victim.send(1, &Record::Open(destination(), 0));
    victim.bundle.handle_dialled(FlowId(1));

    for i in 0..40_000 {
        let bytes = Bytes::from_static(b"x");
        victim.send(
            1,
            &Record::Data {
                offset: 2 * i + 1,
                bytes,
            },
        );
        if victim.ended.is_some() {
            break;
        }
    }

    let end = victim.ended.unwrap().to_string();
    assert_eq!(end, "protocol error: too much data out of order");
}

#[test]
fn conflicting_bytes_end_the_bundle_and_the_peer_is_told_why() {
    let mut victim = Victim::relay();
    let stripe = victim.stripes[0];
    victim.bundle.poll_transmit(victim.now, stripe).unwrap();
    victim.send(1, &Record::Open(destination(), 0));
    victim.bundle.handle_dialled(FlowId(1));
    let data = |offset, bytes: &'static [u8]| {
        let bytes = Bytes::from_static(bytes);
        Record::Data { offset, bytes }
    };

    victim.send(1, &data(0, b"ab"));
    victim.send(1, &data(1, b"b"));

    let end = victim.ended.unwrap().to_string();
    assert_eq!(end, "protocol error: flow 1: overlapping data");
    assert_eq!(victim.bundle.read(victim.now, FlowId(1), 9), Read::Reset);
    let goodbye = victim.bundle.poll_transmit(victim.now, stripe).unwrap();
    assert!(goodbye.starts_with(&[11]) && goodbye.ends_with(b"overlapping data"));
    assert_eq!(victim.bundle.poll_transmit(victim.now, stripe), None);
}

#[test]
fn bytes_one_by_one_take_no_more_memory_than_others() {
    let mut victim = Victim::relay();
    victim.send(1, &Record::Open(destination(), 0));
    victim.bundle.handle_dialled(FlowId(1));

    for offset in 0..100_000 {
        let bytes = Bytes::from_static(b"x");
        victim.send(1, &Record::Data { offset, bytes });
    }

    assert_eq!(victim.ended, None);
    assert_eq!(victim.bundle.flows[&FlowId(1)].inbound.fragments(), 0);
    assert!(
        matches!(victim.bundle.read(victim.now, FlowId(1), 1 << 20), Read::Data(bytes) if bytes.len() > 9000)
    );
}

#[test]
fn a_flood_of_flows_is_refused_then_ends_the_bundle() {
    let mut victim = Victim::relay();

    for id in 1..20_000 {
        victim.send(id, &Record::Open(destination(), 0));
        if victim.ended.is_some() {
            break;
        }
    }

    assert!(victim.bundle.is_ended());
    let end = victim.ended.unwrap().to_string();
    assert_eq!(end, "protocol error: too many flows");
}

#[test]
fn a_flood_of_pings_is_answered_once() {
    let mut victim = Victim::relay();
    let stripe = victim.stripes[0];
    victim.bundle.poll_transmit(victim.now, stripe).unwrap();
    let mut bytes = BytesMut::new();
    for value in 0..10_000 {
        encode(FlowId::NONE, 0, &Record::Ping(value), &mut bytes);
    }

    victim.bundle.handle_bytes(victim.now, stripe, &bytes);

    let answer = victim.bundle.poll_transmit(victim.now, stripe).unwrap();
    assert_eq!(answer.len(), 24);
    assert_eq!(victim.bundle.poll_transmit(victim.now, stripe), None);
}

#[test]
fn a_peer_that_acknowledges_nothing_is_sent_no_more_than_the_limit() {
    let mut victim = Victim::relay();
    let stripe = victim.stripes[0];
    victim.send(1, &Record::Open(destination(), u32::MAX));
    victim.bundle.handle_dialled(FlowId(1));
    let (mut sent, mut written) = (0, 0);

    loop {
        let accepted = victim.bundle.write(FlowId(1), &[7; 65536]);
        written += accepted;
        let mut is_quiet = accepted == 0;
        while let Some(bytes) = victim.bundle.poll_transmit(victim.now, stripe) {
            sent += bytes.len();
            is_quiet = false;
        }
        victim.handle_events();
        if is_quiet {
            break;
        }
    }

    assert!(sent <= 40_000 && written <= 110_000, "{sent} {written}");
}
