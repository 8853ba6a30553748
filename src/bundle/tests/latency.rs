//! What an interactive flow sees beside bulk, and what a stripe that stalls costs.

use std::time::Duration;

use super::apps::Plan;
use super::link::Quality;
use super::world::World;
use crate::bundle::Options;

const PLAN: Plan = Plan {
    total: 0,
    piece: 65536,
    read_pause: Duration::ZERO,
    write_pause: Duration::ZERO,
    reset_after: None,
    ends_last: true,
};

/// A session: what the agent carries.
const SESSION: Quality = Quality {
    rate: 650 * 1024,
    delay: Duration::from_millis(20),
};

fn world(stripes: usize) -> World {
    let options = Options {
        min_stripes: stripes,
        max_stripes: stripes,
        ..Options::DEFAULT
    };
    World::new(1, &options, vec![SESSION])
}

/// Returns the times between the bytes of a flow that sends one byte after each that it receives,
/// as a sorted list.
fn round_trips(world: &mut World) -> Vec<Duration> {
    let echo = Plan {
        total: 100,
        piece: 1,
        write_pause: Duration::from_millis(50),
        ..PLAN
    };
    let id = world.open(echo, PLAN);
    let mut trips = Vec::new();
    for count in 1..=100 {
        world.run_until(Duration::from_secs(5), |world| {
            world.apps[0][&id].written >= count
        });
        let sent = world.now;
        world.run_until(Duration::from_secs(5), |world| {
            world.apps[1].get(&id).is_some_and(|app| app.read >= count)
        });
        trips.push(world.now - sent);
    }
    trips.sort();
    trips
}

#[test]
fn an_interactive_flow_beside_bulk_keeps_its_latency() {
    let mut quiet = world(8);
    quiet.run_for(Duration::from_secs(1));
    let expected = round_trips(&mut quiet)[98];

    let mut busy = world(8);
    let bulk = Plan {
        total: 1 << 30,
        ends_last: false,
        ..PLAN
    };
    busy.open(bulk, PLAN);
    busy.run_for(Duration::from_secs(3));
    let before = busy.apps[0].values().next().unwrap().written;
    let since = busy.now;
    let trips = round_trips(&mut busy);

    assert!(
        trips[98] <= expected + Duration::from_millis(20),
        "{trips:?}"
    );
    let after = busy.apps[0].values().next().unwrap().written;
    let rate = (after - before) as f64 / (busy.now - since).as_secs_f64();
    assert!(rate > 6.0 * 650.0 * 1024.0, "{rate}");
}

#[test]
fn bulk_uses_all_stripes() {
    let mut world = world(8);
    let bulk = Plan {
        total: 50 << 20,
        ends_last: false,
        ..PLAN
    };

    world.open(PLAN, bulk);
    world.run_until(Duration::from_secs(60), World::is_drained);

    let rate = f64::from(50 << 20) / world.elapsed().as_secs_f64();
    assert!(rate > 7.6 * 650.0 * 1024.0, "{}", rate / 650.0 / 1024.0);
}

#[test]
fn seven_of_eight_stripes_may_be_lost_or_stall_without_a_long_pause() {
    for is_stall in [false, true] {
        let mut world = world(8);
        let bulk = Plan {
            total: 20 << 20,
            ends_last: false,
            ..PLAN
        };
        let id = world.open(PLAN, bulk);
        world.run_for(Duration::from_secs(2));

        for i in 0..7 {
            match is_stall {
                true => {
                    let until = world.now + Duration::from_secs(15);
                    world.links[i].towards[0].stalled_until = until;
                    world.links[i].towards[1].stalled_until = until;
                }
                false => world.cut(i),
            }
        }
        let (read, since) = (world.apps[0][&id].read, world.now);
        world.run_until(Duration::from_secs(10), |world| {
            world.apps[0][&id].read > read + 400_000
        });

        let pause = world.now - since;
        let limit = Duration::from_millis(if is_stall { 2500 } else { 1000 });
        assert!(pause < limit, "{is_stall} {pause:?}");
        world.run_until(Duration::from_secs(60), World::is_drained);
    }
}

#[test]
fn many_interactive_flows_do_not_starve_bulk() {
    let mut world = world(1);
    let bulk = Plan {
        total: 1 << 30,
        ends_last: false,
        ..PLAN
    };
    world.open(bulk, PLAN);
    // Together they could fill the stripe twice.
    let chatty = Plan {
        total: 1 << 30,
        piece: 700,
        write_pause: Duration::from_millis(20),
        ..bulk
    };
    for _ in 0..40 {
        world.open(chatty, PLAN);
    }
    world.run_for(Duration::from_secs(5));
    let written = |world: &World| world.apps[0].values().next().unwrap().written;

    let before = written(&world);
    world.run_for(Duration::from_secs(20));

    // A fair share.
    let rate = (written(&world) - before) / 20;
    assert!(rate > 650 * 1024 / 60, "{rate}");
}

#[test]
fn a_stripe_that_is_a_hundred_times_slower_costs_little() {
    for millis in [200, 500, 2000] {
        let options = Options {
            min_stripes: 2,
            max_stripes: 2,
            ..Options::DEFAULT
        };
        let slow = Quality {
            delay: Duration::from_millis(millis),
            ..SESSION
        };
        let mut world = World::new(1, &options, vec![SESSION, slow]);
        let bulk = Plan {
            total: 20 << 20,
            ends_last: false,
            ..PLAN
        };

        world.open(PLAN, bulk);
        world.run_until(Duration::from_secs(60), World::is_drained);

        let rate = f64::from(20 << 20) / world.elapsed().as_secs_f64();
        let sessions = rate / 650.0 / 1024.0;
        assert!(sessions > 0.85, "{millis} ms: {sessions}");
    }
}
