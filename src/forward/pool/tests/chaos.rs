//! Random operations of connections, tunnels and the user.

use super::*;

#[test]
fn every_connection_gets_one_result_under_random_events() {
    for seed in 0..2000 {
        let mut rng = Rng::with_seed(seed);
        let warm = Harness::with_warm(2).pool.mode;
        let mode = [EXCLUSIVE, SHARED, warm, DEDICATED][rng.usize(..4)];
        let mut harness = Harness::new(mode);
        let mut queued: Vec<TunnelId> = Vec::new();
        let mut called: Vec<TunnelId> = Vec::new();
        let mut live: BTreeMap<TunnelId, usize> = BTreeMap::new();
        let mut left = Vec::new();
        let (mut started, mut given, mut retired, mut cancelled) = (0, 0, 0, 0);

        for step in 0..300 {
            let winding_up = step > 200;
            match rng.u32(..10) {
                0..3 if !winding_up => drop(harness.connect()),
                3 if harness.next > 0 => {
                    let id = rng.u64(..harness.next);
                    left.push(id);
                    harness.leave(id);
                }
                4 if !queued.is_empty() => {
                    let id = queued.swap_remove(rng.usize(..queued.len()));
                    harness.pool.handle_called(harness.now, id);
                    called.push(id);
                }
                5 if !called.is_empty() && rng.bool() => {
                    let id = called[rng.usize(..called.len())];
                    harness.pool.handle_started(harness.now, id);
                    harness.apply();
                }
                5..7 if !called.is_empty() => {
                    let id = called.swap_remove(rng.usize(..called.len()));
                    let weights = [TARGET_IS_OFF, Severity::Transient, Severity::Throttled];
                    if rng.u32(..3) > 0 {
                        live.insert(id, 0);
                        harness.pool.handle_ready(harness.now, id);
                    } else {
                        let severity = weights[rng.usize(..3)];
                        harness.pool.handle_failed(harness.now, id, "why", severity);
                    }
                    harness.apply();
                }
                7 if !live.is_empty() => {
                    let (&id, &taken) = live.iter().nth(rng.usize(..live.len())).unwrap();
                    if taken > 0 {
                        live.insert(id, taken - 1);
                        harness.release(id);
                    } else if rng.bool() {
                        live.remove(&id);
                        harness.pool.handle_ended(harness.now, id);
                        harness.apply();
                    }
                }
                8 => harness.pass(Duration::from_millis(rng.u64(..20_000))),
                _ => {}
            }
            queued.extend(&harness.started[started..]);
            started = harness.started.len();
            for id in &harness.cancelled[cancelled..] {
                queued.retain(|queued| queued != id);
                assert!(!called.contains(id), "seed {seed}: {id:?} was called");
            }
            cancelled = harness.cancelled.len();
            for (waiter, id) in &harness.given[given..] {
                let start = harness.started.iter().position(|started| started == id);
                let owner = start.and_then(|start| harness.owners[start]);
                assert!(
                    !mode.is_dedicated || owner == Some(*waiter),
                    "seed {seed}: {id:?}"
                );
                assert!(mode.reuse || live[id] == 0, "seed {seed}: {id:?} is used");
                *live.get_mut(id).unwrap() += 1;
                assert!(live[id] <= mode.slots, "seed {seed}: {id:?} is full");
            }
            given = harness.given.len();
            for id in &harness.retired[retired..] {
                if let Some(place) = called.iter().position(|called| called == id) {
                    assert!(!mode.reuse, "seed {seed}: {id:?} would have been kept");
                    called.swap_remove(place);
                    continue;
                }
                assert_eq!(live.remove(id), Some(0), "seed {seed}: {id:?} is in use");
            }
            retired = harness.retired.len();
        }

        harness.pass(Duration::from_secs(3600));
        for id in 0..harness.next {
            let given = harness.given.iter().filter(|(waiter, _)| *waiter == id);
            let refused = harness.refused.iter().filter(|(waiter, _)| *waiter == id);
            let outcomes = given.count() + refused.count();
            let may_have_left = usize::from(left.contains(&id));
            assert!(
                outcomes <= 1 && outcomes + may_have_left >= 1,
                "seed {seed}: {id}"
            );
        }
    }
}
