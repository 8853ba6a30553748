//! Tunnels that fail to start, and the connections that wait for them.

use super::*;

#[test]
fn whoever_waits_for_a_login_is_asked_about_once_a_second_and_answered_together() {
    let mut harness = Harness::new(OWN);
    for _ in 0..3 {
        harness.come();
    }
    harness.fail(
        0,
        "no credentials",
        Severity::Persistent(HoldTime::Constant),
    );
    assert_eq!(harness.refused.len(), 3, "they have waited for the same");
    assert_eq!(harness.cancelled.len(), 2);

    let (fourth, fifth) = (harness.come(), harness.come());
    assert_eq!(harness.started.len(), 3, "in a second");
    assert_eq!(
        harness.pool.poll_timeout(),
        Some(harness.now + Duration::from_secs(1))
    );
    harness.pass(Duration::from_secs(1));
    assert_eq!(harness.started.len(), 4, "one asks for both");
    let one = harness.ready(3);
    assert_eq!(harness.given, [(fourth, one)]);
    let two = harness.ready(4);

    assert_eq!(harness.given[1], (fifth, two));
}

#[test]
fn after_a_definite_failure_all_without_a_start_under_way_are_refused_at_once() {
    let mut harness = Harness::new(OWN);
    for _ in 0..3 {
        harness.come();
    }
    harness.call(2);

    harness.fail(0, "off", TARGET_IS_OFF);
    let fourth = harness.come();

    assert_eq!(harness.refused[0], (0, RejectReason::Failed("off")));
    assert!(
        harness
            .refused
            .contains(&(fourth, RejectReason::Failed("off")))
    );
    let two = harness.ready(2);
    assert_eq!(
        harness.given[0].1, two,
        "what was under way may still come up"
    );
}

#[test]
fn one_connection_is_let_through_as_the_probe() {
    let mut harness = Harness::new(OWN);
    harness.come();
    harness.fail(0, "off", TARGET_IS_OFF);
    harness.pass(Duration::from_secs(1));

    let (probe, other) = (harness.come(), harness.come());

    assert_eq!(harness.refused[1..], [(other, RejectReason::Failed("off"))]);
    let one = harness.ready(1);
    assert_eq!(harness.given, [(probe, one)]);
    harness.come();
    assert_eq!(harness.started.len(), 3);
}

#[test]
fn a_nudge_lets_the_next_connection_try() {
    let mut harness = Harness::new(OWN);
    harness.come();
    harness.fail(0, "off", TARGET_IS_OFF);

    harness.pool.retry_now(harness.now);
    harness.come();

    assert_eq!(harness.started.len(), 2);
}

#[test]
fn a_passing_failure_costs_one_connection() {
    let mut harness = Harness::new(OWN);
    let first = harness.come();
    harness.come();

    harness.fail(1, "a bad day", Severity::Transient);

    assert_eq!(
        harness.refused,
        [(first, RejectReason::Failed("a bad day"))]
    );
    assert_eq!(harness.started.len(), 2);
}

#[test]
fn a_failed_shared_start_costs_those_who_waited_for_it() {
    let mut harness = Harness::new(SHARED);
    for _ in 0..5 {
        harness.come();
    }
    assert_eq!(harness.started.len(), 2);

    harness.fail(0, "a bad day", Severity::Transient);

    assert_eq!(harness.refused.len(), 2);
    harness.ready(1);
    assert_eq!(harness.given.len(), 3);
}

#[test]
fn a_throttled_start_is_tried_again_and_nobody_is_refused() {
    let mut harness = Harness::new(OWN);
    let first = harness.come();

    harness.fail(0, "slower", Severity::Throttled);

    assert_eq!((harness.started.len(), harness.refused.len()), (2, 0));
    let one = harness.ready(1);
    assert_eq!(harness.given, [(first, one)]);
}

#[test]
fn whoever_waits_too_long_is_refused() {
    let mut harness = Harness::new(OWN);
    let first = harness.come();
    assert_eq!(
        harness.pool.poll_timeout(),
        Some(harness.now + Duration::from_secs(30))
    );

    harness.pass(Duration::from_secs(30));

    assert_eq!(harness.refused, [(first, RejectReason::Late)]);
    assert_eq!(harness.cancelled, harness.started);
}
