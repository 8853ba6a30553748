//! Many connections at once.

use super::*;

const CROWD: usize = 500;

/// What is handled before the actions are taken: one event, or all that wait.
fn serve_crowd(are_batched: bool) -> (Duration, Context) {
    let mut world = Context::new(OWN);
    let begin = Instant::now();
    let settle = |world: &mut Context| {
        if !are_batched {
            world.act();
        }
    };
    let deadline = world.now + Duration::from_secs(30);
    for id in 0..CROWD as u64 {
        let now = world.now;
        world.pool.handle_waiter(now, WaiterId(id), deadline);
        settle(&mut world);
    }
    world.act();
    for n in 0..CROWD {
        let id = world.call(n);
        world.pool.handle_ready(world.now, id);
        settle(&mut world);
    }
    world.act();
    for id in 0..CROWD as u64 {
        world.pool.handle_departure(world.now, WaiterId(id));
        settle(&mut world);
    }
    world.act();
    (begin.elapsed(), world)
}

#[test]
fn a_crowd_is_served_in_order_whether_events_come_one_by_one_or_together() {
    let (one_by_one, single) = serve_crowd(false);
    let (together, batched) = serve_crowd(true);

    println!("{CROWD} connections: {one_by_one:?} one by one, {together:?} together");
    let order: Vec<u64> = (0..CROWD as u64).collect();
    for world in [single, batched] {
        assert_eq!(world.started.len(), CROWD);
        let given: Vec<u64> = world.given.iter().map(|(waiter, _)| *waiter).collect();
        assert_eq!(given, order);
    }
}
