//! Tunnels that are kept ready.

use super::*;

#[test]
fn a_place_that_was_not_used_makes_a_spare_no_less() {
    let mut world = Context::with_spares(1);
    let one = world.ready(0);
    world.come();

    let unused = Returned::Unused;
    world.pool.handle_returned(world.now, one, unused);
    world.act();

    let second = world.come();
    assert_eq!(world.given[1], (second, one));
}

#[test]
fn spares_are_kept_ready_and_replaced_when_they_are_used() {
    let mut world = Context::with_spares(2);
    assert_eq!(world.started.len(), 2);
    let (one, _) = (world.ready(0), world.ready(1));

    let first = world.come();

    assert_eq!(world.given, [(first, one)]);
    assert_eq!(world.started.len(), 3);
    world.give_back(one);
    assert_eq!(world.retired, [one]);
}

#[test]
fn a_connection_takes_over_the_start_of_a_spare() {
    let mut world = Context::with_spares(1);

    world.come();

    assert_eq!(world.hurried, [world.started[0]]);
    assert_eq!(world.started.len(), 2, "and the spare is started anew");
}

#[test]
fn an_old_spare_is_replaced_and_serves_until_then() {
    let mut world = Context::with_spares(1);
    let old = world.ready(0);
    world.pass(Duration::from_secs(599));
    assert_eq!(world.started.len(), 2, "replaced before it is too old");
    assert_eq!(world.retired, []);

    let new = world.ready(1);

    assert_eq!(world.retired, [old]);
    world.come();
    assert_eq!(world.given[0].1, new);
}

#[test]
fn a_spare_that_is_too_old_is_never_used() {
    let mut world = Context::with_spares(1);
    let old = world.ready(0);

    world.pass(Duration::from_secs(600));
    world.come();

    assert_eq!(world.retired, [old]);
    assert_eq!(world.given, []);
}

#[test]
fn while_sessions_are_known_to_fail_one_spare_is_tried_ever_more_rarely() {
    let mut world = Context::with_spares(4);
    world.fail(0, "off", TARGET_IS_OFF);
    assert_eq!(world.cancelled.len(), 3);

    let mut tried = 4;
    for _ in 0..3600 {
        world.pass(Duration::from_secs(1));
        assert!(world.started.len() <= tried + 1, "one at a time");
        if world.started.len() > tried {
            world.fail(tried, "off", TARGET_IS_OFF);
            tried += 1;
        }
    }

    assert!((60..100).contains(&tried), "{tried} tries in an hour");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.started.len(), tried + 1);
    world.ready(tried);
    assert_eq!(world.started.len(), tried + 4, "then the others come back");
}

#[test]
fn spares_that_fail_together_are_one_failure() {
    let mut world = Context::with_spares(8);
    for n in 0..8 {
        world.call(n);
    }
    for n in 0..8 {
        world
            .pool
            .handle_failed(world.now, world.started[n], "a bad day", Weight::Passing);
    }

    world.pass(Duration::from_secs(1));

    assert_eq!(
        world.started.len(),
        16,
        "a second later they are tried again"
    );
}

#[test]
fn a_connection_takes_over_the_spare_that_is_the_probe() {
    let mut world = Context::with_spares(1);
    world.fail(0, "off", TARGET_IS_OFF);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.started.len(), 2);

    let client = world.come();

    assert_eq!(world.hurried, [world.started[1]]);
    let id = world.ready(1);
    assert_eq!(world.given, [(client, id)]);
}

#[test]
fn spares_that_do_not_live_are_started_ever_more_rarely() {
    let mut world = Context::with_spares(1);

    for _ in 0..3600 {
        let last = world.started.len() - 1;
        let id = world.ready(last);
        world.pool.handle_ended(world.now, id);
        world.pass(Duration::from_secs(1));
    }

    assert!(world.started.len() < 200, "{}", world.started.len());
}

#[test]
fn spares_that_open_no_stream_are_started_ever_more_rarely() {
    let mut world = Context::with_spares(1);

    for _ in 0..3600 {
        let last = world.started.len() - 1;
        let id = world.ready(last);
        if world.pool.is_spare(id) {
            world.come();
            world.give_back_unusable(id);
        }
        world.pass(Duration::from_secs(1));
    }

    assert!(world.started.len() < 200, "{}", world.started.len());
}
