//! Warm sessions.

use super::*;

#[test]
fn an_unused_slot_leaves_a_warm_session_usable() {
    let mut harness = Harness::with_warm(1);
    let one = harness.ready(0);
    harness.connect();

    let unused = Returned::Unused;
    harness.pool.handle_returned(harness.now, one, unused);
    harness.apply();

    let second = harness.connect();
    assert_eq!(harness.given[1], (second, one));
}

#[test]
fn used_warm_sessions_are_replaced() {
    let mut harness = Harness::with_warm(2);
    assert_eq!(harness.started.len(), 2);
    let (one, _) = (harness.ready(0), harness.ready(1));

    let first = harness.connect();

    assert_eq!(harness.given, [(first, one)]);
    assert_eq!(harness.started.len(), 3);
    harness.release(one);
    assert_eq!(harness.retired, [one]);
}

#[test]
fn a_connection_takes_over_the_start_of_a_warm_session() {
    let mut harness = Harness::with_warm(1);

    harness.connect();

    assert_eq!(harness.hurried, [harness.started[0]]);
    assert_eq!(
        harness.started.len(),
        2,
        "and another warm session is started"
    );
}

#[test]
fn an_old_warm_session_is_replaced_and_usable_until_then() {
    let mut harness = Harness::with_warm(1);
    let old = harness.ready(0);
    harness.pass(Duration::from_secs(599));
    assert_eq!(harness.started.len(), 2, "replaced before it is too old");
    assert_eq!(harness.retired, []);

    let new = harness.ready(1);

    assert_eq!(harness.retired, [old]);
    harness.connect();
    assert_eq!(harness.given[0].1, new);
}

#[test]
fn a_warm_session_that_is_too_old_is_never_used() {
    let mut harness = Harness::with_warm(1);
    let old = harness.ready(0);

    harness.pass(Duration::from_secs(600));
    harness.connect();

    assert_eq!(harness.retired, [old]);
    assert_eq!(harness.given, []);
}

#[test]
fn while_starts_fail_one_warm_session_is_tried_with_growing_pauses() {
    let mut harness = Harness::with_warm(4);
    harness.fail(0, "off", TARGET_IS_OFF);
    assert_eq!(harness.cancelled.len(), 3);

    let mut tried = 4;
    for _ in 0..3600 {
        harness.pass(Duration::from_secs(1));
        assert!(harness.started.len() <= tried + 1, "one at a time");
        if harness.started.len() > tried {
            harness.fail(tried, "off", TARGET_IS_OFF);
            tried += 1;
        }
    }

    assert!((60..100).contains(&tried), "{tried} tries in an hour");
    harness.pass(Duration::from_secs(60));
    assert_eq!(harness.started.len(), tried + 1);
    harness.ready(tried);
    assert_eq!(
        harness.started.len(),
        tried + 4,
        "then the others are started again"
    );
}

#[test]
fn warm_sessions_that_fail_together_are_one_failure() {
    let mut harness = Harness::with_warm(8);
    for n in 0..8 {
        harness.call(n);
    }
    for n in 0..8 {
        harness.pool.handle_failed(
            harness.now,
            harness.started[n],
            "a bad day",
            Severity::Transient,
        );
    }

    harness.pass(Duration::from_secs(1));

    assert_eq!(
        harness.started.len(),
        16,
        "a second later they are tried again"
    );
}

#[test]
fn a_connection_takes_over_the_warm_session_that_is_the_probe() {
    let mut harness = Harness::with_warm(1);
    harness.fail(0, "off", TARGET_IS_OFF);
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.started.len(), 2);

    let client = harness.connect();

    assert_eq!(harness.hurried, [harness.started[1]]);
    let id = harness.ready(1);
    assert_eq!(harness.given, [(client, id)]);
}

#[test]
fn short_lived_warm_sessions_are_started_with_growing_pauses() {
    let mut harness = Harness::with_warm(1);

    for _ in 0..3600 {
        let last = harness.started.len() - 1;
        let id = harness.ready(last);
        harness.pool.handle_ended(harness.now, id);
        harness.pass(Duration::from_secs(1));
    }

    assert!(harness.started.len() < 200, "{}", harness.started.len());
}

#[test]
fn warm_sessions_without_a_stream_are_started_with_growing_pauses() {
    let mut harness = Harness::with_warm(1);

    for _ in 0..3600 {
        let last = harness.started.len() - 1;
        let id = harness.ready(last);
        if harness.pool.is_warm(id) {
            harness.connect();
            harness.give_back_unusable(id);
        }
        harness.pass(Duration::from_secs(1));
    }

    assert!(harness.started.len() < 200, "{}", harness.started.len());
}
