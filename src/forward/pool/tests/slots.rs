//! Slots: which connection gets which, and what happens to it afterwards.

use super::*;

#[test]
fn each_connection_gets_a_tunnel_of_its_own_which_ends_with_it() {
    let mut harness = Harness::new(EXCLUSIVE);
    let (first, second) = (harness.connect(), harness.connect());

    let (one, two) = (harness.ready(0), harness.ready(1));
    harness.release(one);

    assert_eq!(harness.given, [(first, one), (second, two)]);
    assert_eq!(harness.retired, [one]);
    assert_eq!(harness.started.len(), 2);
}

#[test]
fn the_longest_waiting_connection_gets_the_first_ready_tunnel() {
    let mut harness = Harness::new(EXCLUSIVE);
    let (first, second) = (harness.connect(), harness.connect());

    let two = harness.ready(1);
    let one = harness.ready(0);

    assert_eq!(harness.given, [(first, two), (second, one)]);
}

#[test]
fn a_queued_start_is_cancelled_when_its_connection_leaves() {
    let mut harness = Harness::new(EXCLUSIVE);
    let (first, second) = (harness.connect(), harness.connect());
    harness.call(0);

    harness.leave(first);
    harness.leave(second);

    assert_eq!(harness.cancelled, [harness.started[1]]);
    let one = harness.ready(0);
    assert_eq!(harness.retired, [one], "nobody is left to use it");
}

#[test]
fn an_exclusive_tunnel_is_never_given_to_a_second_connection() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    let one = harness.ready(0);
    harness.connect();

    harness.release(one);

    assert_eq!(harness.given, [(first, one)]);
    assert_eq!(harness.retired, [one]);
}

#[test]
fn a_shared_tunnel_for_one_at_a_time_is_given_again() {
    let mut harness = Harness::new(PoolMode { slots: 1, ..SHARED });
    let first = harness.connect();
    let one = harness.ready(0);
    harness.release(one);

    let second = harness.connect();

    assert_eq!(harness.given, [(first, one), (second, one)]);
}

#[test]
fn an_unwanted_call_without_a_response_is_not_counted_as_pending_for_long() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    harness.call(0);
    harness.leave(first);
    let second = harness.connect();
    assert_eq!(harness.started.len(), 1, "it may be answered soon");

    harness.pass(Duration::from_secs(3));

    assert_eq!(harness.started.len(), 2);
    let two = harness.ready(1);
    assert_eq!(harness.given, [(second, two)]);
    let one = harness.ready(0);
    assert_eq!(harness.retired, [one]);
}

#[test]
fn a_start_that_was_called_serves_the_next_connection() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    harness.call(0);
    harness.leave(first);

    let second = harness.connect();
    let one = harness.ready(0);

    assert_eq!(harness.given, [(second, one)]);
    assert_eq!(harness.started.len(), 1);
}

#[test]
fn a_tunnel_that_is_not_ready_is_closed_when_its_connection_leaves() {
    for leaves_first in [true, false] {
        let mut harness = Harness::new(EXCLUSIVE);
        let first = harness.connect();
        harness.call(0);
        if leaves_first {
            harness.leave(first);
            assert!(harness.retired.is_empty(), "the call cannot be taken back");
        }
        let one = harness.answer(0);
        if !leaves_first {
            assert!(harness.retired.is_empty(), "it is needed");
            harness.leave(first);
        }

        assert_eq!(harness.retired, [one], "leaves first: {leaves_first}");
        assert_eq!(harness.pool.poll_timeout(), None);
    }
}

#[test]
fn a_pending_tunnel_stays_for_another_connection_if_warm_or_shared() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    harness.call(0);
    harness.leave(first);
    let second = harness.connect();
    let one = harness.answer(0);
    assert!(harness.retired.is_empty(), "the second connection needs it");
    harness.pool.handle_ready(harness.now, one);
    harness.apply();
    assert_eq!(harness.given, [(second, one)]);

    for mode in [SHARED, Harness::with_warm(1).pool.mode] {
        let mut harness = Harness::new(mode);
        let first = harness.connect();
        for n in 0..harness.started.len() {
            harness.answer(n);
        }
        harness.leave(first);
        let kept = harness.started.len() - harness.retired.len();
        assert_eq!(kept, 1, "{mode:?}");
    }
}

#[test]
fn shared_tunnels_are_filled_before_another_is_started() {
    let mut harness = Harness::new(SHARED);
    for _ in 0..3 {
        harness.connect();
    }
    let one = harness.ready(0);
    assert_eq!(harness.started.len(), 1);

    let fourth = harness.connect();
    assert_eq!(harness.started.len(), 2);
    harness.release(one);

    assert_eq!(harness.given[3], (fourth, one));
    assert_eq!(harness.cancelled, [harness.started[1]]);
}

#[test]
fn a_shared_tunnel_without_connections_is_kept_for_a_while() {
    let mut harness = Harness::new(SHARED);
    harness.connect();
    let one = harness.ready(0);
    harness.release(one);

    harness.pass(Duration::from_secs(599));
    assert_eq!(harness.retired, []);
    assert_eq!(
        harness.pool.poll_timeout(),
        Some(harness.now + Duration::from_secs(1))
    );
    harness.pass(Duration::from_secs(1));

    assert_eq!(harness.retired, [one]);
}

#[test]
fn a_fresh_shared_tunnel_takes_over_while_the_old_one_finishes() {
    let mut harness = Harness::new(SHARED);
    harness.connect();
    let old = harness.ready(0);

    harness.pass(Duration::from_secs(3600));
    assert_eq!(harness.started.len(), 2, "its successor is started");
    harness.connect();
    assert_eq!(harness.given[1].1, old, "the successor is not ready yet");
    let new = harness.ready(1);
    for _ in 0..4 {
        harness.connect();
    }

    assert_eq!(
        harness.given[2..].iter().map(|g| g.1).collect::<Vec<_>>(),
        [new; 3]
    );
    assert_eq!(harness.started.len(), 3, "the old one takes no more");
    harness.release(old);
    assert_eq!(harness.retired, []);
    harness.release(old);
    assert_eq!(harness.retired, [old]);
}

#[test]
fn an_old_shared_tunnel_without_connections_needs_no_successor() {
    let mut harness = Harness::new(PoolMode {
        idle: Duration::from_secs(7200),
        ..SHARED
    });
    harness.connect();
    let old = harness.ready(0);
    harness.release(old);

    harness.pass(Duration::from_secs(3600));

    assert_eq!(harness.retired, [old]);
    assert_eq!(harness.started.len(), 1);
}

#[test]
fn a_tunnel_without_its_websocket_is_not_given() {
    let mut harness = Harness::with_warm(1);
    let one = harness.ready(0);
    harness.pool.handle_disconnected(one);

    let first = harness.connect();

    assert_eq!(harness.given, []);
    assert_eq!(harness.started.len(), 2);
    assert_eq!(harness.pool.count(), (1, 0), "it is not ready");
    harness.pool.handle_resumed(harness.now, one);
    harness.apply();
    assert_eq!(harness.given, [(first, one)]);
}

#[test]
fn a_tunnel_that_opens_no_more_streams_is_not_given_again() {
    for taken in [1, 2] {
        let mut harness = Harness::new(SHARED);
        for _ in 0..taken {
            harness.connect();
        }
        let one = harness.ready(0);
        harness.give_back_unusable(one);

        let again = harness.connect();

        assert_eq!(
            harness.given.len(),
            taken,
            "only its other connections use it"
        );
        assert_eq!(harness.started.len(), 2, "another tunnel is started");
        let two = harness.ready(1);
        assert_eq!(harness.given[taken], (again, two));
        if taken == 2 {
            assert_eq!(harness.retired, [], "its other connection still uses it");
            harness.release(one);
        }
        assert_eq!(harness.retired, [one]);
    }
}

#[test]
fn a_connection_without_a_usable_tunnel_is_refused_at_its_deadline() {
    let mut harness = Harness::new(SHARED);
    harness.connect();
    harness.connect();
    let one = harness.ready(0);
    harness.give_back_unusable(one);
    harness.connect();

    harness.pass(Duration::from_secs(30));

    assert_eq!(harness.refused, [(2, RejectReason::Late)]);
}
