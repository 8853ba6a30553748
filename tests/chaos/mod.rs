//! Ten thousand seeds of a bad path; every byte arrives, once and in order.
//!
//! A seed is a complete scenario: the connections, their data and their ends, and the faults of the
//! path meanwhile. It is made by `scenario.rs`, run by `run.rs`, and always the same. A failure
//! prints its seed; to reproduce it, or to search further:
//!
//! ```text
//!   CHAOS_SEED=7 cargo test --test all chaos::
//!   CHAOS_FROM=10000 CHAOS_COUNT=1000000 cargo test --test all chaos::
//! ```

mod agent_resets;
mod run;
mod scenario;

use std::thread;

#[test]
fn every_byte_arrives_under_all_link_conditions() {
    if let Some(seed) = number("CHAOS_SEED") {
        println!("{:?}", run_seed(seed));
        return;
    }
    let from = number("CHAOS_FROM").unwrap_or(0);
    let seeds = from..from + number("CHAOS_COUNT").unwrap_or(SEEDS);

    let halves = thread::scope(|scope| {
        let halves = [0, 1].map(|odd| {
            let half = seeds.clone().filter(move |seed| seed % 2 == odd);
            scope.spawn(move || half.map(run_seed).fold(Totals::default(), Totals::plus))
        });
        halves.map(|half| {
            half.join()
                .expect("the seed of the failure is printed above")
        })
    });

    let [even, odd] = halves;
    let all = even.plus(odd);
    let scenarios = usize::try_from(seeds.end - seeds.start).unwrap();
    println!("{scenarios} seeds: {all:?}");
    assert!(
        all.messages >= 80 * scenarios,
        "{all:?}: too few faults for a useful test"
    );
    assert!(
        all.breaks >= scenarios && all.lost >= 5 * scenarios,
        "{all:?}"
    );
}

/// Counters, to assert that the cases occur.
#[derive(Debug, Default)]
struct Totals {
    messages: usize,
    /// Websockets that broke.
    breaks: usize,
    /// Messages that the tunnel or the agent retransmitted.
    lost: usize,
    /// Streams that ended cleanly, were refused, or were closed by their client.
    ended: usize,
    refused: usize,
    abandoned: usize,
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            breaks: self.breaks + other.breaks,
            lost: self.lost + other.lost,
            ended: self.ended + other.ended,
            refused: self.refused + other.refused,
            abandoned: self.abandoned + other.abandoned,
        }
    }
}

fn run_seed(seed: u64) -> Totals {
    let _print_seed = PrintSeed(seed);
    run::run_scenario(scenario::Scenario::new(seed))
}

/// Prints the command that reproduces a failure.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "reproduce: CHAOS_SEED={} cargo test --test all chaos::",
                self.0
            );
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the search is chosen by the environment"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

const SEEDS: u64 = 10_000;
