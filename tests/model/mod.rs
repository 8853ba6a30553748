//! Random operations compared with a simple reference, one by one.
//!
//! While `chaos` checks the bytes at the end, this checks after every single operation if the core
//! has done what it must: the number of bytes that a write takes, the result of a read, the
//! wake-ups, the messages that are sent and those that must not be. The reference is in
//! `reference.rs`; it is slow, keeps everything and shares no code with the core. A failure is
//! reduced to its shortest scenario. To search further:
//!
//! ```text
//!   PROPTEST_RNG_SEED=7 PROPTEST_CASES=100000 cargo test --test all model::
//! ```

mod frames;
mod reference;
mod system;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use system::Harness;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_operation_answers_like_the_reference_model(verbs in prop::collection::vec(operation(), 1..120)) {
        let mut harness = Harness::new();
        for operation in verbs {
            harness.run(operation);
        }
        harness.settle();
    }
}

/// An operation. Streams are named by the order of their opening, modulo their number.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Open(DestinationKind),
    Write(usize, usize),
    Read(usize, usize),
    Finish(usize),
    Reset(usize),
    /// Carries this number of frames.
    DeliverUp(usize),
    DeliverDown(usize),
    /// Loses the next frame.
    LoseUp,
    LoseDown,
    /// Carries the next frame and keeps a copy for later.
    DoubleUp,
    DoubleDown,
    /// Moves the next frame behind the others.
    DelayUp,
    DelayDown,
    Connect,
    Disconnect,
    Tick(u64),
}

/// The destination of a stream.
#[derive(Clone, Copy, Debug)]
enum DestinationKind {
    Echo,
    Sink,
    Source(usize),
    Answer(usize, usize),
    Unreachable,
}

/// The same scenarios in every run, unless a seed is given.
fn config() -> Config {
    let requests = Config::default();
    let rng_seed = match requests.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    Config {
        rng_seed,
        failure_persistence: None,
        ..requests
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let which = 0..4usize;
    let write = (which.clone(), prop_oneof![0..300usize, 0..200_000usize]);
    let read = (which.clone(), 1..5000usize);
    prop_oneof![
        3 => kind().prop_map(Operation::Open),
        5 => write.prop_map(|(which, len)| Operation::Write(which, len)),
        5 => read.prop_map(|(which, max)| Operation::Read(which, max)),
        1 => which.clone().prop_map(Operation::Finish),
        1 => which.prop_map(Operation::Reset),
        8 => (1..40usize).prop_map(Operation::DeliverUp),
        8 => (1..40usize).prop_map(Operation::DeliverDown),
        1 => Just(Operation::LoseUp),
        1 => Just(Operation::LoseDown),
        1 => Just(Operation::DoubleUp),
        1 => Just(Operation::DoubleDown),
        1 => Just(Operation::DelayUp),
        1 => Just(Operation::DelayDown),
        1 => Just(Operation::Disconnect),
        2 => Just(Operation::Connect),
        4 => (1..400u64).prop_map(Operation::Tick),
    ]
}

fn kind() -> impl Strategy<Value = DestinationKind> {
    prop_oneof![
        3 => Just(DestinationKind::Echo),
        1 => Just(DestinationKind::Sink),
        2 => (0..5000usize).prop_map(DestinationKind::Source),
        2 => (0..2000usize, 0..5000usize).prop_map(|(after, len)| DestinationKind::Answer(after, len)),
        1 => Just(DestinationKind::Unreachable),
    ]
}
