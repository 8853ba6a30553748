//! Ten thousand seeds of a bad path; every byte arrives, once and in order.
//!
//! A seed is a whole story: how many connections there are, what they say and when they leave,
//! and what the path does to them meanwhile. It is told by `plan.rs`, played by `trial.rs`, and
//! always the same. A failure prints its seed; to see it again, or to search further:
//!
//! ```text
//!   FAULTS_SEED=7 cargo test faults
//!   FAULTS_FROM=10000 FAULTS_COUNT=1000000 cargo test faults
//! ```

mod agent_resets;
mod run;
mod scenario;

use std::thread;

#[test]
fn every_byte_arrives_under_all_link_conditions() {
    if let Some(seed) = number("FAULTS_SEED") {
        println!("{:?}", play(seed));
        return;
    }
    let from = number("FAULTS_FROM").unwrap_or(0);
    let seeds = from..from + number("FAULTS_COUNT").unwrap_or(SEEDS);

    let halves = thread::scope(|scope| {
        let halves = [0, 1].map(|odd| {
            let half = seeds.clone().filter(move |seed| seed % 2 == odd);
            scope.spawn(move || half.map(play).fold(Totals::default(), Totals::plus))
        });
        halves.map(|half| half.join().expect("a failing seed has printed itself"))
    });

    let [even, odd] = halves;
    let all = even.plus(odd);
    let scenarios = usize::try_from(seeds.end - seeds.start).unwrap();
    println!("{scenarios} seeds: {all:?}");
    assert!(
        all.messages >= 80 * scenarios,
        "{all:?}: too quiet to prove anything"
    );
    assert!(
        all.breaks >= scenarios && all.lost >= 5 * scenarios,
        "{all:?}"
    );
}

/// What happened, to see that something did.
#[derive(Debug, Default)]
struct Totals {
    messages: usize,
    /// Websockets that broke.
    breaks: usize,
    /// Messages that the tunnel or the agent had to send again.
    lost: usize,
    /// Streams that ended cleanly, were refused, or were left by their local program.
    ended: usize,
    refused: usize,
    left: usize,
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            breaks: self.breaks + other.breaks,
            lost: self.lost + other.lost,
            ended: self.ended + other.ended,
            refused: self.refused + other.refused,
            left: self.left + other.left,
        }
    }
}

fn play(seed: u64) -> Totals {
    let _print_seed = PrintSeed(seed);
    run::play(scenario::Plan::new(seed))
}

/// Tells how to see a failure again.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replay it: FAULTS_SEED={} cargo test faults", self.0);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test chooses the search"
)]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

const SEEDS: u64 = 10_000;
