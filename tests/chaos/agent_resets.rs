//! Hundreds of seeds of an agent whose own websocket breaks during a transfer.
//!
//! It has processed a message that it cannot acknowledge, processes it again when it is
//! retransmitted, and its mux breaks: it sends FIN on streams that have not ended, and the channel
//! closes some milliseconds later (docs/protocol.md sections 0.2 and 6.5). A stream may end cleanly
//! only if its destination did and every byte of it was read.
//!
//! ```text
//!   RESETS_SEED=7 cargo test --test all chaos::agent_resets
//! ```

use std::time::Duration;

use fastrand::Rng;
use ssm_proxyd::proto::{Reason, StreamId};
use ssm_proxyd::sim::agent::{SendRate, Violation};
use ssm_proxyd::sim::link::LinkConditions;

use super::number;
use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

#[test]
fn no_truncated_stream_ends_cleanly_when_the_agent_is_reset_mid_transfer() {
    let seeds = number("RESETS_SEED").map_or(0..SEEDS, |seed| seed..seed + 1);
    let single = seeds.end - seeds.start == 1;
    let mut totals = Totals::default();

    for seed in seeds {
        let _replay = Replay(seed);
        run(&mut totals, seed);
    }

    println!("{totals:?}");
    if !single {
        let Totals {
            broken,
            finished,
            truncated,
            clean,
            false_losses,
            ..
        } = totals;
        assert!(broken > SEEDS / 5 && finished > SEEDS / 4, "{totals:?}");
        assert!(truncated > SEEDS / 3 && clean > SEEDS / 2, "{totals:?}");
        assert!(false_losses < clean / 20, "{totals:?}");
    }
}

/// Counters, to assert that the cases occur.
#[derive(Debug, Default)]
struct Totals {
    /// Sessions whose mux broke.
    broken: u64,
    /// Streams with a FIN that their destination had not caused.
    finished: u64,
    /// Lost, with only a part of the destination's data.
    truncated: u64,
    clean: u64,
    /// Lost, although the destination ended and every byte of it was read.
    false_losses: u64,
    /// Still open when there is no work left.
    open: u64,
}

fn run(totals: &mut Totals, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut pair = setup(&mut rng, seed).established();
    let streams: Vec<_> = (0..rng.usize(1..4))
        .map(|which| begin(&mut rng, &mut pair, which))
        .collect();
    pair.run_for(Duration::from_millis(rng.u64(0..600)));
    for _ in 0..rng.usize(1..3) {
        if rng.u8(..4) == 0 {
            pair.disconnect_agent(rng.usize(0..4), kept(&mut rng));
        } else {
            pair.disconnect_agent_during_message();
        }
        pair.run_for(Duration::from_millis(rng.u64(0..700)));
        pair.reconnect_agent();
        pair.run_for(Duration::from_millis(rng.u64(0..700)));
    }
    for stream in &streams {
        pair.set_reads(*stream, true);
    }
    // Only a lost acknowledgement delays a transfer for seconds.
    pair.run_for(Duration::from_secs(300));

    totals.broken += u64::from(pair.violations().contains_key(&Violation::BrokenMux));
    for stream in streams {
        check(totals, &pair, stream);
    }
}

fn setup(rng: &mut Rng, seed: u64) -> PairOptions {
    let delay = Duration::from_micros(rng.u64(100..80_000));
    let mut setup = PairOptions {
        seed,
        up: LinkConditions::delayed(delay),
        down: LinkConditions::delayed(delay),
        records: false,
        ..PairOptions::default()
    };
    setup.options.upload_rate = [0, 900][rng.usize(..2)];
    setup.options.upload_payload = [64, 1024][rng.usize(..2)];
    setup.agent.pace = [setup.agent.pace, SendRate::Unlimited][rng.usize(..2)];
    setup
}

fn begin(rng: &mut Rng, pair: &mut Pair, which: usize) -> StreamId {
    let upload = pattern(which as u64 + 1, rng.usize(0..300_000));
    let answer = pattern(which as u64 + 100, rng.usize(0..500_000));
    let destination = match rng.u8(..5) {
        0 => Destination::source(answer),
        1 => Destination::echo(),
        2 => Destination::answering(rng.usize(0..=upload.len() / 2), answer),
        3 => Destination::abrupt(rng.usize(0..=upload.len()), answer),
        _ => Destination::answering(upload.len(), answer),
    };
    let stream = pair.open(destination);
    pair.write(stream, &upload);
    if rng.bool() {
        pair.finish(stream);
    }
    if rng.u8(..4) == 0 {
        pair.set_reads(stream, false);
    }
    stream
}

fn check(totals: &mut Totals, pair: &Pair, stream: StreamId) {
    let destination = pair.destination_of(stream);
    let (ended, sent) = (destination.state() == State::Ended, destination.sent());
    let received = pair.local_of(stream).received();
    assert_prefix(sent, received);
    assert_prefix(pair.local_of(stream).written(), destination.received());
    match pair.local_of(stream).end() {
        Some(End::Clean) => {
            assert!(ended, "stream {stream}: the destination has not ended");
            assert_whole(received, sent);
            totals.clean += 1;
        }
        Some(End::Lost(Reason::Closed)) => {
            assert!(pair.closed.is_some());
            totals.finished += u64::from(!ended);
            totals.false_losses += u64::from(ended && received == sent);
            totals.truncated += u64::from(!ended || received != sent);
        }
        Some(End::Lost(reason)) => panic!("stream {stream}: {reason}"),
        None => totals.open += 1,
    }
}

fn kept(rng: &mut Rng) -> Delivery {
    if rng.bool() {
        Delivery::Yes
    } else {
        Delivery::No
    }
}

/// Prints the command that reproduces a failure.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "reproduce: RESETS_SEED={} cargo test --test all chaos::agent_resets",
                self.0
            );
        }
    }
}

const SEEDS: u64 = 600;
