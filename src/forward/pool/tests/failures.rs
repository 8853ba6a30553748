//! Tunnels that fail to start, and the connections that wait for them.

use super::*;

#[test]
fn whoever_waits_for_a_login_is_asked_about_once_a_second_and_answered_together() {
    let mut context = Context::new(OWN);
    for _ in 0..3 {
        context.come();
    }
    context.fail(
        0,
        "no credentials",
        Severity::Persistent(HoldTime::Constant),
    );
    assert_eq!(context.refused.len(), 3, "they have waited for the same");
    assert_eq!(context.cancelled.len(), 2);

    let (fourth, fifth) = (context.come(), context.come());
    assert_eq!(context.started.len(), 3, "in a second");
    assert_eq!(
        context.pool.poll_timeout(),
        Some(context.now + Duration::from_secs(1))
    );
    context.pass(Duration::from_secs(1));
    assert_eq!(context.started.len(), 4, "one asks for both");
    let one = context.ready(3);
    assert_eq!(context.given, [(fourth, one)]);
    let two = context.ready(4);

    assert_eq!(context.given[1], (fifth, two));
}

#[test]
fn after_a_definite_failure_all_without_a_start_under_way_are_refused_at_once() {
    let mut context = Context::new(OWN);
    for _ in 0..3 {
        context.come();
    }
    context.call(2);

    context.fail(0, "off", TARGET_IS_OFF);
    let fourth = context.come();

    assert_eq!(context.refused[0], (0, RejectReason::Failed("off")));
    assert!(
        context
            .refused
            .contains(&(fourth, RejectReason::Failed("off")))
    );
    let two = context.ready(2);
    assert_eq!(
        context.given[0].1, two,
        "what was under way may still come up"
    );
}

#[test]
fn one_connection_is_let_through_as_the_probe() {
    let mut context = Context::new(OWN);
    context.come();
    context.fail(0, "off", TARGET_IS_OFF);
    context.pass(Duration::from_secs(1));

    let (probe, other) = (context.come(), context.come());

    assert_eq!(context.refused[1..], [(other, RejectReason::Failed("off"))]);
    let one = context.ready(1);
    assert_eq!(context.given, [(probe, one)]);
    context.come();
    assert_eq!(context.started.len(), 3);
}

#[test]
fn a_nudge_lets_the_next_connection_try() {
    let mut context = Context::new(OWN);
    context.come();
    context.fail(0, "off", TARGET_IS_OFF);

    context.pool.retry_now(context.now);
    context.come();

    assert_eq!(context.started.len(), 2);
}

#[test]
fn a_passing_failure_costs_one_connection() {
    let mut context = Context::new(OWN);
    let first = context.come();
    context.come();

    context.fail(1, "a bad day", Severity::Transient);

    assert_eq!(
        context.refused,
        [(first, RejectReason::Failed("a bad day"))]
    );
    assert_eq!(context.started.len(), 2);
}

#[test]
fn a_failed_shared_start_costs_those_who_waited_for_it() {
    let mut context = Context::new(SHARED);
    for _ in 0..5 {
        context.come();
    }
    assert_eq!(context.started.len(), 2);

    context.fail(0, "a bad day", Severity::Transient);

    assert_eq!(context.refused.len(), 2);
    context.ready(1);
    assert_eq!(context.given.len(), 3);
}

#[test]
fn a_throttled_start_is_tried_again_and_nobody_is_refused() {
    let mut context = Context::new(OWN);
    let first = context.come();

    context.fail(0, "slower", Severity::Throttled);

    assert_eq!((context.started.len(), context.refused.len()), (2, 0));
    let one = context.ready(1);
    assert_eq!(context.given, [(first, one)]);
}

#[test]
fn whoever_waits_too_long_is_refused() {
    let mut context = Context::new(OWN);
    let first = context.come();
    assert_eq!(
        context.pool.poll_timeout(),
        Some(context.now + Duration::from_secs(30))
    );

    context.pass(Duration::from_secs(30));

    assert_eq!(context.refused, [(first, RejectReason::Late)]);
    assert_eq!(context.cancelled, context.started);
}
