//! Slots: which connection gets which, and what happens to it afterwards.

use super::*;

#[test]
fn each_connection_gets_a_tunnel_of_its_own_which_ends_with_it() {
    let mut context = Context::new(OWN);
    let (first, second) = (context.come(), context.come());

    let (one, two) = (context.ready(0), context.ready(1));
    context.release(one);

    assert_eq!(context.given, [(first, one), (second, two)]);
    assert_eq!(context.retired, [one]);
    assert_eq!(context.started.len(), 2);
}

#[test]
fn whoever_waits_longest_gets_what_comes_first() {
    let mut context = Context::new(OWN);
    let (first, second) = (context.come(), context.come());

    let two = context.ready(1);
    let one = context.ready(0);

    assert_eq!(context.given, [(first, two), (second, one)]);
}

#[test]
fn a_start_that_was_not_called_yet_is_taken_back_when_its_connection_leaves() {
    let mut context = Context::new(OWN);
    let (first, second) = (context.come(), context.come());
    context.call(0);

    context.leave(first);
    context.leave(second);

    assert_eq!(context.cancelled, [context.started[1]]);
    let one = context.ready(0);
    assert_eq!(context.retired, [one], "nobody is left to use it");
}

#[test]
fn a_tunnel_of_its_own_is_never_given_to_a_second_connection() {
    let mut context = Context::new(OWN);
    let first = context.come();
    let one = context.ready(0);
    context.come();

    context.release(one);

    assert_eq!(context.given, [(first, one)]);
    assert_eq!(context.retired, [one]);
}

#[test]
fn a_shared_tunnel_for_one_at_a_time_is_given_again() {
    let mut context = Context::new(Shape { slots: 1, ..SHARED });
    let first = context.come();
    let one = context.ready(0);
    context.release(one);

    let second = context.come();

    assert_eq!(context.given, [(first, one), (second, one)]);
}

#[test]
fn a_call_whose_connection_left_and_that_is_never_answered_is_not_counted_on() {
    let mut context = Context::new(OWN);
    let first = context.come();
    context.call(0);
    context.leave(first);
    let second = context.come();
    assert_eq!(context.started.len(), 1, "it may be answered soon");

    context.pass(Duration::from_secs(3));

    assert_eq!(context.started.len(), 2);
    let two = context.ready(1);
    assert_eq!(context.given, [(second, two)]);
    let one = context.ready(0);
    assert_eq!(context.retired, [one]);
}

#[test]
fn a_start_that_was_called_serves_the_next_connection() {
    let mut context = Context::new(OWN);
    let first = context.come();
    context.call(0);
    context.leave(first);

    let second = context.come();
    let one = context.ready(0);

    assert_eq!(context.given, [(second, one)]);
    assert_eq!(context.started.len(), 1);
}

#[test]
fn shared_tunnels_are_filled_before_another_is_started() {
    let mut context = Context::new(SHARED);
    for _ in 0..3 {
        context.come();
    }
    let one = context.ready(0);
    assert_eq!(context.started.len(), 1);

    let fourth = context.come();
    assert_eq!(context.started.len(), 2);
    context.release(one);

    assert_eq!(context.given[3], (fourth, one));
    assert_eq!(context.cancelled, [context.started[1]]);
}

#[test]
fn a_shared_tunnel_without_connections_is_kept_for_a_while() {
    let mut context = Context::new(SHARED);
    context.come();
    let one = context.ready(0);
    context.release(one);

    context.pass(Duration::from_secs(599));
    assert_eq!(context.retired, []);
    assert_eq!(
        context.pool.poll_timeout(),
        Some(context.now + Duration::from_secs(1))
    );
    context.pass(Duration::from_secs(1));

    assert_eq!(context.retired, [one]);
}

#[test]
fn a_fresh_shared_tunnel_takes_over_while_the_old_one_finishes() {
    let mut context = Context::new(SHARED);
    context.come();
    let old = context.ready(0);

    context.pass(Duration::from_secs(3600));
    assert_eq!(context.started.len(), 2, "its successor is started");
    context.come();
    assert_eq!(context.given[1].1, old, "the successor is not ready yet");
    let new = context.ready(1);
    for _ in 0..4 {
        context.come();
    }

    assert_eq!(
        context.given[2..].iter().map(|g| g.1).collect::<Vec<_>>(),
        [new; 3]
    );
    assert_eq!(context.started.len(), 3, "the old one takes no more");
    context.release(old);
    assert_eq!(context.retired, []);
    context.release(old);
    assert_eq!(context.retired, [old]);
}

#[test]
fn an_old_shared_tunnel_without_connections_needs_no_successor() {
    let mut context = Context::new(Shape {
        idle: Duration::from_secs(7200),
        ..SHARED
    });
    context.come();
    let old = context.ready(0);
    context.release(old);

    context.pass(Duration::from_secs(3600));

    assert_eq!(context.retired, [old]);
    assert_eq!(context.started.len(), 1);
}

#[test]
fn a_tunnel_without_its_websocket_is_not_given() {
    let mut context = Context::with_spares(1);
    let one = context.ready(0);
    context.pool.handle_disconnected(one);

    let first = context.come();

    assert_eq!(context.given, []);
    assert_eq!(context.started.len(), 2);
    context.pool.handle_resumed(context.now, one);
    context.act();
    assert_eq!(context.given, [(first, one)]);
}

#[test]
fn a_tunnel_that_opens_no_more_streams_is_not_given_again() {
    for taken in [1, 2] {
        let mut context = Context::new(SHARED);
        for _ in 0..taken {
            context.come();
        }
        let one = context.ready(0);
        context.give_back_unusable(one);

        let again = context.come();

        assert_eq!(
            context.given.len(),
            taken,
            "only its other connections use it"
        );
        assert_eq!(context.started.len(), 2, "another tunnel is started");
        let two = context.ready(1);
        assert_eq!(context.given[taken], (again, two));
        if taken == 2 {
            assert_eq!(context.retired, [], "its other connection still uses it");
            context.release(one);
        }
        assert_eq!(context.retired, [one]);
    }
}

#[test]
fn a_connection_without_a_usable_tunnel_is_refused_at_its_deadline() {
    let mut context = Context::new(SHARED);
    context.come();
    context.come();
    let one = context.ready(0);
    context.give_back_unusable(one);
    context.come();

    context.pass(Duration::from_secs(30));

    assert_eq!(context.refused, [(2, RejectReason::Late)]);
}
