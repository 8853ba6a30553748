//! Random operations of connections, tunnels and the user.

use super::*;

#[test]
fn nobody_is_forgotten_whatever_happens() {
    for seed in 0..2000 {
        let mut chance = Rng::with_seed(seed);
        let shape = [OWN, SHARED, Context::with_spares(2).pool.shape][chance.usize(..3)];
        let mut context = Context::new(shape);
        let mut queued: Vec<TunnelId> = Vec::new();
        let mut called: Vec<TunnelId> = Vec::new();
        let mut live: BTreeMap<TunnelId, usize> = BTreeMap::new();
        let mut left = Vec::new();
        let (mut started, mut given, mut retired, mut cancelled) = (0, 0, 0, 0);

        for step in 0..300 {
            let winding_up = step > 200;
            match chance.u32(..10) {
                0..3 if !winding_up => drop(context.come()),
                3 if context.next > 0 => {
                    let id = chance.u64(..context.next);
                    left.push(id);
                    context.leave(id);
                }
                4 if !queued.is_empty() => {
                    let id = queued.swap_remove(chance.usize(..queued.len()));
                    context.pool.handle_called(context.now, id);
                    called.push(id);
                }
                5..7 if !called.is_empty() => {
                    let id = called.swap_remove(chance.usize(..called.len()));
                    let weights = [TARGET_IS_OFF, Severity::Transient, Severity::Throttled];
                    if chance.u32(..3) > 0 {
                        live.insert(id, 0);
                        context.pool.handle_ready(context.now, id);
                    } else {
                        let severity = weights[chance.usize(..3)];
                        context.pool.handle_failed(context.now, id, "why", severity);
                    }
                    context.act();
                }
                7 if !live.is_empty() => {
                    let (&id, &taken) = live.iter().nth(chance.usize(..live.len())).unwrap();
                    if taken > 0 {
                        live.insert(id, taken - 1);
                        context.release(id);
                    } else if chance.bool() {
                        live.remove(&id);
                        context.pool.handle_ended(context.now, id);
                        context.act();
                    }
                }
                8 => context.pass(Duration::from_millis(chance.u64(..20_000))),
                _ => {}
            }
            queued.extend(&context.started[started..]);
            started = context.started.len();
            for id in &context.cancelled[cancelled..] {
                queued.retain(|queued| queued != id);
                assert!(!called.contains(id), "seed {seed}: {id:?} was called");
            }
            cancelled = context.cancelled.len();
            for (_, id) in &context.given[given..] {
                assert!(shape.reuse || live[id] == 0, "seed {seed}: {id:?} is used");
                *live.get_mut(id).unwrap() += 1;
                assert!(live[id] <= shape.slots, "seed {seed}: {id:?} is full");
            }
            given = context.given.len();
            for id in &context.retired[retired..] {
                assert_eq!(live.remove(id), Some(0), "seed {seed}: {id:?} is in use");
            }
            retired = context.retired.len();
        }

        context.pass(Duration::from_secs(3600));
        for id in 0..context.next {
            let given = context.given.iter().filter(|(waiter, _)| *waiter == id);
            let refused = context.refused.iter().filter(|(waiter, _)| *waiter == id);
            let outcomes = given.count() + refused.count();
            let may_have_left = usize::from(left.contains(&id));
            assert!(
                outcomes <= 1 && outcomes + may_have_left >= 1,
                "seed {seed}: {id}"
            );
        }
    }
}
