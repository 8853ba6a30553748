//! What the daemon learns about the bytes that a destination takes.

use std::time::Duration;

use super::apps::Plan;
use super::link::Quality;
use super::world::World;
use crate::bundle::Options;
use crate::bundle::event::End;
use crate::bundle::ids::FlowId;

const PLAN: Plan = Plan {
    total: 600_000,
    piece: 65536,
    read_pause: Duration::ZERO,
    write_pause: Duration::ZERO,
    reset_after: None,
    ends_last: false,
};

/// A destination that takes 10,000 bytes per second, and does not end for a long time.
const SLOW: Plan = Plan {
    total: 10_000,
    piece: 1000,
    read_pause: Duration::from_millis(100),
    write_pause: Duration::from_secs(100),
    ..PLAN
};

fn world() -> World {
    let quality = Quality {
        rate: 650 * 1024,
        delay: Duration::from_millis(20),
    };
    World::new(1, &Options::DEFAULT, vec![quality])
}

/// Runs until the relay has received everything from the daemon.
fn run_until_received(world: &mut World, id: FlowId) {
    world.run_until(Duration::from_secs(60), |world| {
        world.ends[0].is_received(id)
    });
}

#[test]
fn an_upload_is_confirmed_only_after_the_destination_has_taken_it() {
    let mut world = world();
    let id = world.open(PLAN, SLOW);

    run_until_received(&mut world, id);
    assert!(!world.ends[0].is_confirmed(id) && world.apps[1][&id].read < 600_000);
    world.run_until(Duration::from_secs(90), |world| {
        world.ends[0].is_confirmed(id)
    });

    assert!(world.apps[1][&id].has_read_end);
    assert_eq!(world.apps[1][&id].read, 600_000);
}

#[test]
fn progress_is_reported_while_a_destination_takes_what_was_received() {
    let mut world = world();
    let id = world.open(PLAN, SLOW);
    run_until_received(&mut world, id);

    // A quarter of its window takes about 7 s.
    let mut before = world.ends[0].progress(id);
    while !world.ends[0].is_confirmed(id) {
        world.run_for(Duration::from_secs(10));
        let now = world.ends[0].progress(id);
        assert_ne!(now, before, "after {:?}", world.elapsed());
        before = now;
    }
}

#[test]
fn what_is_discarded_is_not_confirmed() {
    let mut world = world();
    let id = world.open(PLAN, SLOW);
    run_until_received(&mut world, id);

    world.ends[1].discard(id);
    world.run_until(Duration::from_secs(90), |world| {
        world.apps[1][&id].has_read_end
    });
    world.run_for(Duration::from_secs(1));

    assert!(!world.ends[0].is_confirmed(id));
}

#[test]
fn a_relay_drops_what_a_destination_does_not_take_some_time_after_a_close() {
    let mut world = world();
    let stalled = Plan {
        read_pause: Duration::from_secs(36_000),
        ..SLOW
    };
    let upload = Plan {
        total: 1000,
        ..PLAN
    };
    let id = world.open(upload, stalled);
    run_until_received(&mut world, id);
    // The daemon ends without a reset of the flow.
    let now = world.now;
    world.ends[0].flows.clear();
    world.ends[0].queues.clear();
    world.ends[0].close(now);

    world.run_for(Duration::from_secs(590));
    assert_eq!(world.ended, [Some(End::Closed), None]);
    assert!(!world.apps[1][&id].is_reset);
    world.run_for(Duration::from_secs(20));

    assert_eq!(world.ended[1], Some(End::Lost));
    assert!(world.apps[1][&id].is_reset && !world.apps[1][&id].has_read_end);
}

#[test]
fn a_relay_that_closes_a_bundle_without_stripes_keeps_nothing_of_it() {
    let mut world = world();
    let endless = Plan {
        ends_last: true,
        ..PLAN
    };
    world.open(endless, endless);
    world.run_for(Duration::from_millis(200));
    world.offline_until = world.now + Duration::from_secs(3600);
    world.cut(0);
    world.run_until(Duration::from_secs(60), |world| {
        world.ends[1].stripe_count() == 0
    });
    assert!(!world.ends[1].ledger.is_empty());

    let now = world.now;
    world.ends[1].close(now);

    assert!(world.ends[1].is_ended() && world.ends[1].ledger.is_empty());
}

#[test]
fn a_write_accepts_as_much_as_there_is_room_for() {
    let mut world = world();
    let (now, id) = (world.now, FlowId(1));
    assert_eq!(world.ends[0].open(now, "db", 1), Ok(id));
    let bundle = &mut world.ends[0];

    let room = bundle.room(id);
    assert_eq!(bundle.write(id, &vec![7; room + 1]), room);
    assert_eq!((bundle.room(id), bundle.write(id, b"x")), (0, 0));
    bundle.reset(id);
    assert_eq!(bundle.room(id), 0);
}
