//! Tunnels that are started for a certain connection.

use super::*;

#[test]
fn a_connection_gets_only_the_tunnel_that_was_started_for_it() {
    let mut harness = Harness::new(DEDICATED);
    let (first, second) = (harness.connect(), harness.connect());

    let two = harness.ready(1);
    assert_eq!(harness.given, [(second, two)]);
    let one = harness.ready(0);

    assert_eq!(harness.given[1], (first, one));
    assert_eq!(harness.owners, [Some(first), Some(second)]);
}

#[test]
fn a_tunnel_ends_with_its_connection() {
    let mut harness = Harness::new(DEDICATED);
    harness.connect();
    let one = harness.ready(0);

    harness.release(one);

    assert_eq!(harness.retired, [one]);
    assert_eq!(harness.pool.count(), (0, 0));
}

#[test]
fn a_connection_that_leaves_takes_its_tunnel_with_it_as_soon_as_that_is_possible() {
    let mut harness = Harness::new(DEDICATED);
    let ids: Vec<_> = (0..4).map(|_| harness.connect()).collect();
    let queued = harness.started[0];
    let called = harness.call(1);
    let answered = harness.answer(2);
    let other = harness.call(3);

    for id in &ids[..3] {
        harness.leave(*id);
    }

    assert_eq!(harness.cancelled, [queued]);
    assert_eq!(harness.retired, [answered]);
    harness.pool.handle_started(harness.now, called);
    harness.apply();
    assert_eq!(harness.retired, [answered, called]);
    assert!(harness.given.is_empty(), "the other one has its own");
    harness.ready(3);
    assert_eq!(harness.given, [(ids[3], other)]);
    assert_eq!(harness.started.len(), 4);
}

#[test]
fn a_failure_of_one_destination_refuses_one_connection() {
    let mut harness = Harness::new(DEDICATED);
    let (first, second) = (harness.connect(), harness.connect());

    harness.fail(1, "no such host", Severity::Transient);

    assert_eq!(
        harness.refused,
        [(second, RejectReason::Failed("no such host"))]
    );
    let one = harness.ready(0);
    assert_eq!(harness.given, [(first, one)]);
}

#[test]
fn a_persistent_failure_refuses_all_but_those_with_a_call_in_progress() {
    let mut harness = Harness::new(DEDICATED);
    let ids: Vec<_> = (0..3).map(|_| harness.connect()).collect();
    let two = harness.call(2);

    harness.fail(0, "off", TARGET_IS_OFF);
    let late = harness.connect();

    let refused: Vec<_> = harness.refused.iter().map(|(id, _)| *id).collect();
    assert_eq!(refused, [ids[0], ids[1], late]);
    harness.ready(2);
    assert_eq!(harness.given, [(ids[2], two)]);
    let next = harness.connect();
    let three = harness.ready(3);
    assert_eq!(
        harness.given[1],
        (next, three),
        "the breaker is closed again"
    );
}

#[test]
fn a_throttled_start_is_made_again_for_the_same_connection() {
    let mut harness = Harness::new(DEDICATED);
    let id = harness.connect();

    harness.fail(0, "slow down", Severity::Throttled);
    let again = harness.ready(1);

    assert_eq!(harness.given, [(id, again)]);
    assert_eq!(harness.owners, [Some(id), Some(id)]);
}

#[test]
fn one_connection_probes_after_a_persistent_failure_and_the_others_wait_for_it() {
    let mut harness = Harness::new(DEDICATED);
    harness.connect();
    harness.fail(0, "off", TARGET_IS_OFF);
    harness.pass(Duration::from_secs(2));

    let (probe, other) = (harness.connect(), harness.connect());
    assert_eq!(harness.started.len(), 2);
    harness.ready(1);
    harness.ready(2);

    let given: Vec<_> = harness.given.iter().map(|(id, _)| *id).collect();
    assert_eq!(given, [probe, other]);
}

#[test]
fn a_connection_that_waits_too_long_is_refused_and_its_start_is_cancelled() {
    let mut harness = Harness::new(DEDICATED);
    let id = harness.connect();

    harness.pass(Duration::from_secs(31));

    assert_eq!(harness.refused, [(id, RejectReason::Late)]);
    assert_eq!(harness.cancelled, [harness.started[0]]);
}
