//! Random verbs of everyone.

use super::*;

#[test]
fn nobody_is_forgotten_whatever_happens() {
    for seed in 0..2000 {
        let mut chance = Rng::with_seed(seed);
        let shape = [OWN, SHARED, Context::with_spares(2).pool.shape][chance.usize(..3)];
        let mut world = Context::new(shape);
        let mut queued: Vec<TunnelId> = Vec::new();
        let mut called: Vec<TunnelId> = Vec::new();
        let mut live: BTreeMap<TunnelId, usize> = BTreeMap::new();
        let mut left = Vec::new();
        let (mut started, mut given, mut retired, mut cancelled) = (0, 0, 0, 0);

        for step in 0..300 {
            let winding_up = step > 200;
            match chance.u32(..10) {
                0..3 if !winding_up => drop(world.come()),
                3 if world.next > 0 => {
                    let id = chance.u64(..world.next);
                    left.push(id);
                    world.leave(id);
                }
                4 if !queued.is_empty() => {
                    let id = queued.swap_remove(chance.usize(..queued.len()));
                    world.pool.handle_called(world.now, id);
                    called.push(id);
                }
                5..7 if !called.is_empty() => {
                    let id = called.swap_remove(chance.usize(..called.len()));
                    let weights = [TARGET_IS_OFF, Weight::Passing, Weight::Throttled];
                    if chance.u32(..3) > 0 {
                        live.insert(id, 0);
                        world.pool.handle_ready(world.now, id);
                    } else {
                        let weight = weights[chance.usize(..3)];
                        world.pool.handle_failed(world.now, id, "why", weight);
                    }
                    world.act();
                }
                7 if !live.is_empty() => {
                    let (&id, &taken) = live.iter().nth(chance.usize(..live.len())).unwrap();
                    if taken > 0 {
                        live.insert(id, taken - 1);
                        world.give_back(id);
                    } else if chance.bool() {
                        live.remove(&id);
                        world.pool.handle_ended(world.now, id);
                        world.act();
                    }
                }
                8 => world.pass(Duration::from_millis(chance.u64(..20_000))),
                _ => {}
            }
            queued.extend(&world.started[started..]);
            started = world.started.len();
            for id in &world.cancelled[cancelled..] {
                queued.retain(|queued| queued != id);
                assert!(!called.contains(id), "seed {seed}: {id:?} was called");
            }
            cancelled = world.cancelled.len();
            for (_, id) in &world.given[given..] {
                assert!(shape.reuse || live[id] == 0, "seed {seed}: {id:?} is used");
                *live.get_mut(id).unwrap() += 1;
                assert!(live[id] <= shape.places, "seed {seed}: {id:?} is full");
            }
            given = world.given.len();
            for id in &world.retired[retired..] {
                assert_eq!(live.remove(id), Some(0), "seed {seed}: {id:?} is in use");
            }
            retired = world.retired.len();
        }

        world.pass(Duration::from_secs(3600));
        for id in 0..world.next {
            let given = world.given.iter().filter(|(waiter, _)| *waiter == id);
            let refused = world.refused.iter().filter(|(waiter, _)| *waiter == id);
            let outcomes = given.count() + refused.count();
            let may_have_left = usize::from(left.contains(&id));
            assert!(
                outcomes <= 1 && outcomes + may_have_left >= 1,
                "seed {seed}: {id}"
            );
        }
    }
}
