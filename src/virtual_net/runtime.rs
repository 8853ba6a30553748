//! A runtime in virtual time, in which a seed decides everything that is random.
//!
//! Its only thread is the caller's. It has no I/O driver, so that a real socket cannot be used by
//! mistake. Every poll of a task is counted: a task that is polled too often within a second of
//! virtual time is a busy loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, RngSeed};
use tokio::task::Id;

use crate::clock::virtual_time;

thread_local! {
    static POLLS: RefCell<Polls> = RefCell::default();
}

/// The polls of each task in the current second of virtual time.
#[derive(Default)]
struct Polls {
    second: u64,
    limit: u32,
    of_task: BTreeMap<Id, u32>,
    total: u64,
}

/// How often a task may be polled within a second of virtual time.
#[derive(Clone, Copy, Debug)]
pub struct PollLimit(pub(crate) u32);

/// Runs a future in virtual time, in an empty network.
///
/// # Panics
///
/// With the future, or if a task is polled more often than `limit`.
pub fn run<T>(seed: u64, limit: PollLimit, future: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    POLLS.replace(Polls {
        limit: limit.0,
        ..Polls::default()
    });
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .on_before_task_poll(|task| count(task.id(), task.spawned_at()))
        .build()
        .expect("a runtime without I/O needs no resources");
    runtime.block_on(async {
        let _net = super::install();
        let _time = virtual_time::install();
        future.await
    })
}

fn count(task: Id, spawned_at: &std::panic::Location<'_>) {
    let second = virtual_time::elapsed().as_secs();
    POLLS.with_borrow_mut(|polls| {
        if polls.second != second {
            polls.second = second;
            polls.of_task.clear();
        }
        let count = polls.of_task.entry(task).or_default();
        *count += 1;
        polls.total += 1;
        assert!(
            *count <= polls.limit,
            "busy loop: the task spawned at {spawned_at} was polled {count} times in second {second}"
        );
    });
}

/// Returns the number of polls of all tasks in the last run of this thread.
pub fn total_polls() -> u64 {
    POLLS.with_borrow(|polls| polls.total)
}

/// A limit for tests that are no load.
#[cfg(test)]
pub(super) const SMALL: PollLimit = PollLimit(1000);

/// Longer than any timeout of the product.
#[cfg(test)]
pub(super) const LONG: Duration = Duration::from_secs(24 * 3600);
