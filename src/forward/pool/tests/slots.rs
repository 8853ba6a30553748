//! Places: who gets which, and what becomes of it afterwards.

use super::*;

#[test]
fn each_connection_gets_a_tunnel_of_its_own_which_ends_with_it() {
    let mut world = Context::new(OWN);
    let (first, second) = (world.come(), world.come());

    let (one, two) = (world.ready(0), world.ready(1));
    world.give_back(one);

    assert_eq!(world.given, [(first, one), (second, two)]);
    assert_eq!(world.retired, [one]);
    assert_eq!(world.started.len(), 2);
}

#[test]
fn whoever_waits_longest_gets_what_comes_first() {
    let mut world = Context::new(OWN);
    let (first, second) = (world.come(), world.come());

    let two = world.ready(1);
    let one = world.ready(0);

    assert_eq!(world.given, [(first, two), (second, one)]);
}

#[test]
fn a_start_that_was_not_called_yet_is_taken_back_when_its_connection_leaves() {
    let mut world = Context::new(OWN);
    let (first, second) = (world.come(), world.come());
    world.call(0);

    world.leave(first);
    world.leave(second);

    assert_eq!(world.cancelled, [world.started[1]]);
    let one = world.ready(0);
    assert_eq!(world.retired, [one], "nobody is left to use it");
}

#[test]
fn a_tunnel_of_its_own_is_never_given_to_a_second_connection() {
    let mut world = Context::new(OWN);
    let first = world.come();
    let one = world.ready(0);
    world.come();

    world.give_back(one);

    assert_eq!(world.given, [(first, one)]);
    assert_eq!(world.retired, [one]);
}

#[test]
fn a_shared_tunnel_for_one_at_a_time_is_given_again() {
    let mut world = Context::new(Shape {
        places: 1,
        ..SHARED
    });
    let first = world.come();
    let one = world.ready(0);
    world.give_back(one);

    let second = world.come();

    assert_eq!(world.given, [(first, one), (second, one)]);
}

#[test]
fn a_call_whose_connection_left_and_that_is_never_answered_is_not_counted_on() {
    let mut world = Context::new(OWN);
    let first = world.come();
    world.call(0);
    world.leave(first);
    let second = world.come();
    assert_eq!(world.started.len(), 1, "it may be answered soon");

    world.pass(Duration::from_secs(3));

    assert_eq!(world.started.len(), 2);
    let two = world.ready(1);
    assert_eq!(world.given, [(second, two)]);
    let one = world.ready(0);
    assert_eq!(world.retired, [one]);
}

#[test]
fn a_start_that_was_called_serves_the_next_connection() {
    let mut world = Context::new(OWN);
    let first = world.come();
    world.call(0);
    world.leave(first);

    let second = world.come();
    let one = world.ready(0);

    assert_eq!(world.given, [(second, one)]);
    assert_eq!(world.started.len(), 1);
}

#[test]
fn shared_tunnels_are_filled_before_another_is_started() {
    let mut world = Context::new(SHARED);
    for _ in 0..3 {
        world.come();
    }
    let one = world.ready(0);
    assert_eq!(world.started.len(), 1);

    let fourth = world.come();
    assert_eq!(world.started.len(), 2);
    world.give_back(one);

    assert_eq!(world.given[3], (fourth, one));
    assert_eq!(world.cancelled, [world.started[1]]);
}

#[test]
fn a_shared_tunnel_without_connections_is_kept_for_a_while() {
    let mut world = Context::new(SHARED);
    world.come();
    let one = world.ready(0);
    world.give_back(one);

    world.pass(Duration::from_secs(599));
    assert_eq!(world.retired, []);
    assert_eq!(
        world.pool.poll_timeout(),
        Some(world.now + Duration::from_secs(1))
    );
    world.pass(Duration::from_secs(1));

    assert_eq!(world.retired, [one]);
}

#[test]
fn a_fresh_shared_tunnel_takes_over_while_the_old_one_finishes() {
    let mut world = Context::new(SHARED);
    world.come();
    let old = world.ready(0);

    world.pass(Duration::from_secs(3600));
    assert_eq!(world.started.len(), 2, "its successor is started");
    world.come();
    assert_eq!(world.given[1].1, old, "the successor is not ready yet");
    let new = world.ready(1);
    for _ in 0..4 {
        world.come();
    }

    assert_eq!(
        world.given[2..].iter().map(|g| g.1).collect::<Vec<_>>(),
        [new; 3]
    );
    assert_eq!(world.started.len(), 3, "the old one takes no more");
    world.give_back(old);
    assert_eq!(world.retired, []);
    world.give_back(old);
    assert_eq!(world.retired, [old]);
}

#[test]
fn an_old_shared_tunnel_without_connections_needs_no_successor() {
    let mut world = Context::new(Shape {
        idle: Duration::from_secs(7200),
        ..SHARED
    });
    world.come();
    let old = world.ready(0);
    world.give_back(old);

    world.pass(Duration::from_secs(3600));

    assert_eq!(world.retired, [old]);
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_tunnel_without_its_websocket_is_not_given() {
    let mut world = Context::with_spares(1);
    let one = world.ready(0);
    world.pool.handle_away(one);

    let first = world.come();

    assert_eq!(world.given, []);
    assert_eq!(world.started.len(), 2);
    world.pool.handle_back(world.now, one);
    world.act();
    assert_eq!(world.given, [(first, one)]);
}

#[test]
fn a_tunnel_that_opens_no_more_streams_is_not_given_again() {
    for taken in [1, 2] {
        let mut world = Context::new(SHARED);
        for _ in 0..taken {
            world.come();
        }
        let one = world.ready(0);
        world.give_back_unusable(one);

        let again = world.come();

        assert_eq!(
            world.given.len(),
            taken,
            "only its other connections use it"
        );
        assert_eq!(world.started.len(), 2, "another tunnel is started");
        let two = world.ready(1);
        assert_eq!(world.given[taken], (again, two));
        if taken == 2 {
            assert_eq!(world.retired, [], "its other connection still uses it");
            world.give_back(one);
        }
        assert_eq!(world.retired, [one]);
    }
}

#[test]
fn a_connection_without_a_usable_tunnel_is_refused_at_its_deadline() {
    let mut world = Context::new(SHARED);
    world.come();
    world.come();
    let one = world.ready(0);
    world.give_back_unusable(one);
    world.come();

    world.pass(Duration::from_secs(30));

    assert_eq!(world.refused, [(2, Why::Late)]);
}
