//! The whole daemon in virtual time, over networks in memory, against the simulator. A seed makes a
//! script of events and clients, the script a life of about one hour; invariants are checked all
//! the time and at the end. See ARCHITECTURE.md, section 17.

mod admin;
mod checks;
mod client;
mod destination;
mod disturbance;
mod events;
mod life;
mod log;
mod panic_hook;
mod process;
mod random_script;
mod readiness;
mod script;
mod shrink;
mod status;
mod stop;
mod tally;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use self::script::Script;
use crate::mutants::{self, Mutant};

#[test]
fn a_script_can_be_read_back() {
    for seed in 0..100 {
        let script = Script::new(seed);

        assert_eq!(script.to_string().parse::<Script>().unwrap(), script);
    }
}

#[test]
fn a_life_is_the_same_each_time() {
    let script = Script::new(5);

    assert_eq!(life::traced(&script), life::traced(&script));
}

/// `SSM_PROXYD_LIVES` is the number of lives, `SSM_PROXYD_LIVES_FROM` the first seed.
#[test]
fn every_life_keeps_the_invariants() {
    let from = number("SSM_PROXYD_LIVES_FROM", 0);
    let lives = number("SSM_PROXYD_LIVES", LIVES);
    let seeds = from..from + lives;

    let failures = failures(seeds);

    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let counts = tally::counts();
    println!("{counts:?}");
    let has_enough = |(_, count): &(_, u32)| *count > 0 || lives < LIVES;
    assert!(counts.iter().all(has_enough), "{counts:?}");
}

/// Also lives the script in the file `SSM_PROXYD_LIVES_SCRIPT`.
#[test]
fn scripts_that_failed_once_keep_the_invariants() {
    let file = std::env::var_os("SSM_PROXYD_LIVES_SCRIPT");
    let file = file.map(|path| std::fs::read_to_string(path).unwrap());
    for text in FAILED_ONCE.iter().copied().chain(file.as_deref()) {
        let script = text.parse().unwrap();

        assert_eq!(life::live(&script), Ok(()), "{text}");
    }
}

/// Scripts that found a fault.
const FAILED_ONCE: &[&str] = &[
    // A journal could not be taken over, and its sessions were not terminated.
    "seed 1
     {\"at\":60000,\"disk_full\":400}
     {\"at\":100000,\"kill\":null}",
    // A client was reset with an old error, while another probed whether the target is online again.
    "seed 1641
     {\"at\":277715,\"offline\":288}
     {\"at\":324176,\"client\":{\"forward\":3,\"temper\":\"vanish\",\"up\":0,\"down\":4241}}
     {\"at\":623091,\"client\":{\"forward\":3,\"temper\":\"request\",\"up\":3468,\"down\":0}}
     {\"at\":623091,\"client\":{\"forward\":3,\"temper\":\"idle\",\"up\":1857,\"down\":2994}}",
    // A shared session was resumed and served, but the status reported a failed start of another.
    "seed 1505
     {\"at\":487857,\"client\":{\"forward\":2,\"temper\":\"request\",\"up\":714,\"down\":2239}}
     {\"at\":496766,\"network_refused\":56}
     {\"at\":530341,\"client\":{\"forward\":2,\"temper\":\"reset\",\"up\":3199,\"down\":665}}",
    // The status counted a warm session as ready while its websocket was broken.
    "seed 29
     {\"at\":1229519,\"network_silent\":242}",
    // A message that was on its way passed the test of a websocket after a suspend.
    "seed 143379
     {\"at\":1173574,\"client\":{\"forward\":3,\"temper\":\"one_byte\",\"up\":197,\"down\":200}}
     {\"at\":1174986,\"machine_sleeps\":22663}",
];

#[test]
fn every_mutant_is_found() {
    let mut lost = Vec::new();
    for mutant in Mutant::ALL {
        match first_failure(mutant) {
            Some((seed, why)) => println!("{mutant:?} is found in life {seed}: {why}"),
            None => lost.push(mutant),
        }
    }

    assert_eq!(lost, []);
}

/// Returns the first life in which a mutant is found.
fn first_failure(mutant: Mutant) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let work = || {
        mutants::activate(Some(mutant));
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= MAX_LIVES_OF_MUTANT {
                return None;
            }
            if let Err(why) = life::live(&Script::new(seed)) {
                next.store(MAX_LIVES_OF_MUTANT, Relaxed);
                return Some((seed, why));
            }
        }
    };
    on_all_processors(work).into_iter().flatten().min()
}

/// Lives the lives of these seeds on all processors. Returns the failures, with their shrunk
/// scripts.
fn failures(seeds: Range<u64>) -> Vec<String> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut failures = Vec::new();
        while failures.len() < MAX_FAILURES {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                break;
            }
            let script = Script::new(seed);
            if let Err(why) = life::live(&script) {
                let shrunk = shrink::shrink(&script, why, |script| life::live(script).err());
                failures.push(format!("life {seed}: {}\n{}", shrunk.1, shrunk.0));
            }
        }
        failures
    };
    on_all_processors(work).concat()
}

fn on_all_processors<T: Send>(work: impl Fn() -> T + Send + Sync + Copy) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    })
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var_os(name);
    let value = value.map(|value| value.into_string().unwrap().parse().unwrap());
    value.unwrap_or(default)
}

/// The lives of a test run.
const LIVES: u64 = 2000;

/// The lives within which a mutant must be found.
const MAX_LIVES_OF_MUTANT: u64 = 400;

/// Failures that a worker collects before it gives up.
const MAX_FAILURES: usize = 20;
