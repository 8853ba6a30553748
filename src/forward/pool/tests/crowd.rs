//! Many connections at once.

use super::*;
use crate::clock;

const CROWD: usize = 500;

/// Serves all connections; takes the actions after each event, or once after all queued events.
fn serve_many(are_batched: bool) -> (Duration, Harness) {
    let mut harness = Harness::new(EXCLUSIVE);
    let begin = clock::now();
    let settle = |harness: &mut Harness| {
        if !are_batched {
            harness.apply();
        }
    };
    let deadline = harness.now + Duration::from_secs(30);
    for id in 0..CROWD as u64 {
        let now = harness.now;
        harness.pool.handle_acquire(now, WaiterId(id), deadline);
        settle(&mut harness);
    }
    harness.apply();
    for n in 0..CROWD {
        let id = harness.call(n);
        harness.pool.handle_ready(harness.now, id);
        settle(&mut harness);
    }
    harness.apply();
    for id in 0..CROWD as u64 {
        harness.pool.handle_cancel(harness.now, WaiterId(id));
        settle(&mut harness);
    }
    harness.apply();
    (clock::since(begin), harness)
}

#[test]
fn many_connections_are_served_in_order_whether_events_arrive_one_by_one_or_together() {
    let (one_by_one, single) = serve_many(false);
    let (together, batched) = serve_many(true);

    println!("{CROWD} connections: {one_by_one:?} one by one, {together:?} together");
    let order: Vec<u64> = (0..CROWD as u64).collect();
    for harness in [single, batched] {
        assert_eq!(harness.started.len(), CROWD);
        let given: Vec<u64> = harness.given.iter().map(|(waiter, _)| *waiter).collect();
        assert_eq!(given, order);
    }
}
