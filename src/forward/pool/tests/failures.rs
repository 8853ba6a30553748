//! Tunnels that fail to start, and the connections that wait for them.

use super::*;

#[test]
fn missing_credentials_are_probed_once_a_second_for_all_waiting_connections() {
    let mut harness = Harness::new(EXCLUSIVE);
    for _ in 0..3 {
        harness.connect();
    }
    harness.fail(
        0,
        "no credentials",
        Severity::Persistent(HoldTime::Constant),
    );
    assert_eq!(harness.refused.len(), 3, "they have waited for the same");
    assert_eq!(harness.cancelled.len(), 2);

    let (fourth, fifth) = (harness.connect(), harness.connect());
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
fn after_a_persistent_failure_connections_without_a_call_in_progress_are_refused() {
    let mut harness = Harness::new(EXCLUSIVE);
    for _ in 0..3 {
        harness.connect();
    }
    harness.call(2);

    harness.fail(0, "off", TARGET_IS_OFF);
    let fourth = harness.connect();

    assert_eq!(harness.refused[0], (0, RejectReason::Failed("off")));
    assert!(
        harness
            .refused
            .contains(&(fourth, RejectReason::Failed("off")))
    );
    let two = harness.ready(2);
    assert_eq!(
        harness.given[0].1, two,
        "a call in progress may still succeed"
    );
}

#[test]
fn one_connection_is_allowed_as_the_probe() {
    let mut harness = Harness::new(EXCLUSIVE);
    harness.connect();
    harness.fail(0, "off", TARGET_IS_OFF);
    harness.pass(Duration::from_secs(1));

    let (probe, other) = (harness.connect(), harness.connect());

    assert_eq!(harness.started.len(), 2);
    let one = harness.ready(1);
    assert_eq!(harness.given, [(probe, one)]);
    assert_eq!(harness.started.len(), 3);
    let two = harness.ready(2);
    assert_eq!(harness.given[1], (other, two));
    assert_eq!(harness.refused.len(), 1);
}

#[test]
fn connections_that_wait_for_the_probe_are_refused_with_its_error() {
    let mut harness = Harness::new(EXCLUSIVE);
    harness.connect();
    harness.fail(0, "off", TARGET_IS_OFF);
    harness.pass(Duration::from_secs(1));
    let (probe, other) = (harness.connect(), harness.connect());

    harness.fail(1, "still off", TARGET_IS_OFF);

    let mut refused = harness.refused[1..].to_vec();
    refused.sort_by_key(|(waiter, _)| *waiter);
    let error = RejectReason::Failed("still off");
    assert_eq!(refused, [(probe, error.clone()), (other, error)]);
}

#[test]
fn retry_now_allows_a_start_for_the_next_connection() {
    let mut harness = Harness::new(EXCLUSIVE);
    harness.connect();
    harness.fail(0, "off", TARGET_IS_OFF);

    harness.pool.retry_now(harness.now);
    harness.connect();

    assert_eq!(harness.started.len(), 2);
}

#[test]
fn a_transient_failure_refuses_one_connection() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    harness.connect();

    harness.fail(1, "a bad day", Severity::Transient);

    assert_eq!(
        harness.refused,
        [(first, RejectReason::Failed("a bad day"))]
    );
    assert_eq!(harness.started.len(), 2);
}

#[test]
fn a_failed_shared_start_refuses_the_connections_that_waited_for_it() {
    let mut harness = Harness::new(SHARED);
    for _ in 0..5 {
        harness.connect();
    }
    assert_eq!(harness.started.len(), 2);

    harness.fail(0, "a bad day", Severity::Transient);

    assert_eq!(harness.refused.len(), 2);
    harness.ready(1);
    assert_eq!(harness.given.len(), 3);
}

#[test]
fn a_throttled_start_is_retried_and_no_connection_is_refused() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();

    harness.fail(0, "slower", Severity::Throttled);

    assert_eq!((harness.started.len(), harness.refused.len()), (2, 0));
    let one = harness.ready(1);
    assert_eq!(harness.given, [(first, one)]);
}

#[test]
fn a_waiting_connection_is_refused_at_its_deadline() {
    let mut harness = Harness::new(EXCLUSIVE);
    let first = harness.connect();
    assert_eq!(
        harness.pool.poll_timeout(),
        Some(harness.now + Duration::from_secs(30))
    );

    harness.pass(Duration::from_secs(30));

    assert_eq!(harness.refused, [(first, RejectReason::Late)]);
    assert_eq!(harness.cancelled, harness.started);
}
