//! Tunnels that do not come up, and those who wait for them.

use super::*;

#[test]
fn whoever_waits_for_a_login_is_asked_about_once_a_second_and_answered_together() {
    let mut world = Context::new(OWN);
    for _ in 0..3 {
        world.come();
    }
    world.fail(0, "no credentials", Weight::Definite(Patience::Steady));
    assert_eq!(world.refused.len(), 3, "they have waited for the same");
    assert_eq!(world.cancelled.len(), 2);

    let (fourth, fifth) = (world.come(), world.come());
    assert_eq!(world.started.len(), 3, "in a second");
    assert_eq!(
        world.pool.poll_timeout(),
        Some(world.now + Duration::from_secs(1))
    );
    world.pass(Duration::from_secs(1));
    assert_eq!(world.started.len(), 4, "one asks for both");
    let one = world.ready(3);
    assert_eq!(world.given, [(fourth, one)]);
    let two = world.ready(4);

    assert_eq!(world.given[1], (fifth, two));
}

#[test]
fn after_a_definite_failure_all_without_a_start_under_way_are_refused_at_once() {
    let mut world = Context::new(OWN);
    for _ in 0..3 {
        world.come();
    }
    world.call(2);

    world.fail(0, "off", TARGET_IS_OFF);
    let fourth = world.come();

    assert_eq!(world.refused[0], (0, Why::Failed("off")));
    assert!(world.refused.contains(&(fourth, Why::Failed("off"))));
    let two = world.ready(2);
    assert_eq!(
        world.given[0].1, two,
        "what was under way may still come up"
    );
}

#[test]
fn one_connection_is_let_through_as_the_probe() {
    let mut world = Context::new(OWN);
    world.come();
    world.fail(0, "off", TARGET_IS_OFF);
    world.pass(Duration::from_secs(1));

    let (probe, other) = (world.come(), world.come());

    assert_eq!(world.refused[1..], [(other, Why::Failed("off"))]);
    let one = world.ready(1);
    assert_eq!(world.given, [(probe, one)]);
    world.come();
    assert_eq!(world.started.len(), 3);
}

#[test]
fn a_nudge_lets_the_next_connection_try() {
    let mut world = Context::new(OWN);
    world.come();
    world.fail(0, "off", TARGET_IS_OFF);

    world.pool.cut_short(world.now);
    world.come();

    assert_eq!(world.started.len(), 2);
}

#[test]
fn a_passing_failure_costs_one_connection() {
    let mut world = Context::new(OWN);
    let first = world.come();
    world.come();

    world.fail(1, "a bad day", Weight::Passing);

    assert_eq!(world.refused, [(first, Why::Failed("a bad day"))]);
    assert_eq!(world.started.len(), 2);
}

#[test]
fn a_failed_shared_start_costs_those_who_waited_for_it() {
    let mut world = Context::new(SHARED);
    for _ in 0..5 {
        world.come();
    }
    assert_eq!(world.started.len(), 2);

    world.fail(0, "a bad day", Weight::Passing);

    assert_eq!(world.refused.len(), 2);
    world.ready(1);
    assert_eq!(world.given.len(), 3);
}

#[test]
fn a_throttled_start_is_tried_again_and_nobody_is_refused() {
    let mut world = Context::new(OWN);
    let first = world.come();

    world.fail(0, "slower", Weight::Throttled);

    assert_eq!((world.started.len(), world.refused.len()), (2, 0));
    let one = world.ready(1);
    assert_eq!(world.given, [(first, one)]);
}

#[test]
fn whoever_waits_too_long_is_refused() {
    let mut world = Context::new(OWN);
    let first = world.come();
    assert_eq!(
        world.pool.poll_timeout(),
        Some(world.now + Duration::from_secs(30))
    );

    world.pass(Duration::from_secs(30));

    assert_eq!(world.refused, [(first, Why::Late)]);
    assert_eq!(world.cancelled, world.started);
}
