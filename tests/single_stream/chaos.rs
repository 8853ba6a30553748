//! Thousands of seeds of a bad path: every byte arrives once and in order, and a stream that ends
//! cleanly is complete.
//!
//! ```text
//!   SINGLE_STREAM_SEED=7 cargo test --test all single_stream::chaos
//! ```

use std::time::Duration;

use fastrand::Rng;
use ssm_proxyd::proto::Reason;
use ssm_proxyd::sim::agent::{Retransmission, SendRate};
use ssm_proxyd::sim::link::LinkConditions;

use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

#[test]
fn every_byte_arrives_and_no_truncated_stream_ends_cleanly() {
    let seeds = number("SINGLE_STREAM_SEED").map_or(0..SEEDS, |seed| seed..seed + 1);
    let single = seeds.end - seeds.start == 1;
    let mut totals = Totals::default();

    for seed in seeds {
        let _print_seed = PrintSeed(seed);
        run_seed(&mut totals, seed);
    }

    println!("{totals:?}");
    if !single {
        let Totals {
            clean, lost, open, ..
        } = totals;
        assert!(
            clean > SEEDS / 8 && lost > SEEDS / 50 && open > SEEDS / 10,
            "{totals:?}"
        );
        assert!(
            totals.truncated > 2,
            "{totals:?}: no end was at risk of truncation"
        );
    }
}

/// Counters, to assert that the cases occur.
#[derive(Debug, Default)]
struct Totals {
    clean: u64,
    lost: u64,
    /// Lost with a part of the destination's data.
    truncated: u64,
    /// Lost, although both sides have every byte.
    false_losses: u64,
    /// Still open when there is no work left.
    open: u64,
}

fn run_seed(totals: &mut Totals, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    // A path that loses messages is not a websocket, so the agent waits until its messages have
    // arrived.
    let lossy = rng.bool();
    let mut pair = Pair::new(setup(&mut rng, seed, lossy));
    let data = pattern(seed, rng.usize(1..40_000));
    let sent = pattern(!seed, rng.usize(0..60_000));
    let (destination, ends) = destination(&mut rng, &data, sent);
    pair.set_destination(destination);
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some() || pair.closed.is_some());
    if pair.closed.is_some() {
        return;
    }
    let id = pair.open_single();
    let mut rest = &data[..];
    for _ in 0..rng.usize(1..5) {
        let (now, later) = rest.split_at(rng.usize(0..=rest.len()));
        pair.write(id, now);
        rest = later;
        pair.run_for(moment(&mut rng));
        let kept = if rng.bool() {
            Delivery::Yes
        } else {
            Delivery::No
        };
        pair.disconnect(rng.usize(0..4), kept);
        pair.run_for(moment(&mut rng));
        if pair.agent.has_ended() {
            // The end was lost with the websocket, and there is no session to resume.
            pair.tunnel.abandon(OVER.to_owned());
            pair.wake();
        } else {
            pair.connect("another");
        }
    }
    // Late messages are ignored after some seconds, and an end is trusted again.
    let is_after_pause = rng.bool();
    if is_after_pause {
        pair.run_for(Duration::from_secs(10));
    }
    let ends_at_once = pair.agent.has_ended() || rest.is_empty();
    pair.write(id, rest);
    if rng.bool() {
        pair.finish(id);
    }
    // Not faster than before: an end earlier than a round trip permits is not an end.
    let fair = LinkConditions::delayed(Duration::from_millis(60));
    pair.up.set_conditions(fair);
    pair.down.set_conditions(fair);
    pair.settle();

    assert_prefix(&data, pair.destination_of(id).received());
    let sent = pair.destination_of(id).sent().to_vec();
    assert_prefix(&sent, pair.local_of(id).received());
    match pair.local_of(id).end() {
        Some(End::Clean) => {
            totals.clean += 1;
            assert_eq!(pair.destination_of(id).state(), State::Ended);
            // Agents do not report that a destination was reset (docs/protocol.md section 0.2).
            assert_ne!(ends, Ends::Never);
            assert_whole(pair.local_of(id).received(), &sent);
        }
        Some(End::Lost(Reason::Closed)) => {
            assert_ne!(ends, Ends::Never);
            totals.lost += 1;
            let is_whole = pair.local_of(id).received() == sent;
            totals.truncated += u64::from(!is_whole);
            let is_taken = pair.destination_of(id).received() == data;
            let is_false_loss = is_whole && is_taken;
            totals.false_losses += u64::from(is_false_loss);
            assert!(
                !is_false_loss || !is_after_pause || ends_at_once,
                "a false loss without recent faults"
            );
        }
        Some(End::Lost(Reason::Lost { why })) if why == OVER => totals.lost += 1,
        Some(End::Lost(other)) => panic!("{other}"),
        None => {
            totals.open += 1;
            assert_eq!(ends, Ends::Never);
            assert_whole(pair.destination_of(id).received(), &data);
            assert_whole(pair.local_of(id).received(), &sent);
        }
    }
}

fn setup(rng: &mut Rng, seed: u64, lossy: bool) -> PairOptions {
    let mut setup = PairOptions {
        seed,
        up: conditions(rng, lossy),
        down: conditions(rng, lossy),
        records: false,
        ..PairOptions::single()
    };
    setup.options.upload_rate = if rng.bool() { 900 } else { 0 };
    setup.agent.pace = if rng.bool() {
        SendRate::Unlimited
    } else {
        setup.agent.pace
    };
    if lossy {
        setup.agent.drain = Duration::from_secs(3000);
        setup.agent.retransmission = Retransmission::All;
    }
    setup
}

fn conditions(rng: &mut Rng, lossy: bool) -> LinkConditions {
    let mut path = LinkConditions::delayed(Duration::from_micros(rng.u64(100..60_000)));
    if lossy {
        path.loss = rng.u16(..200);
        path.duplication = rng.u16(..200);
        path.reordering = rng.u16(..300);
        path.jitter = Duration::from_micros(rng.u64(0..40_000));
    }
    path
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Never,
    Clean,
    Broken,
}

fn destination(rng: &mut Rng, data: &[u8], sent: Vec<u8>) -> (Destination, Ends) {
    match rng.u8(..8) {
        0 => (Destination::echo(), Ends::Never),
        1 => (Destination::greeting(sent), Ends::Never),
        2 => (
            Destination::abrupt(rng.usize(0..=data.len()), sent),
            Ends::Broken,
        ),
        3 => (Destination::source(sent), Ends::Clean),
        _ => {
            // A client that ends before it has read everything is a loss.
            let after = if rng.u8(..4) == 0 {
                rng.usize(1..=data.len())
            } else {
                data.len()
            };
            (Destination::answering(after, sent), Ends::Clean)
        }
    }
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(0..1500))
}

/// Prints the command that reproduces a failure.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "reproduce: SINGLE_STREAM_SEED={} cargo test --test all single_stream::chaos",
                self.0
            );
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seed is chosen by the environment"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The message of a resume for a session that has ended.
const OVER: &str = "over";

const SEEDS: u64 = 3000;
