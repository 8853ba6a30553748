//! The tunnel that was handed over.

use super::*;

const CREDENTIALS: Severity = Severity::Persistent(HoldTime::Constant);

fn handed_over(mode: PoolMode, role: HandedOverRole) -> Harness {
    let mut harness = Harness::new(mode);
    harness.pool = Pool::new(mode, 1).with_handed_over(role);
    harness
}

#[test]
fn it_is_kept_for_the_next_connection_while_others_get_their_own() {
    let mut harness = handed_over(EXCLUSIVE, HandedOverRole::Preferred);
    harness.connect();
    let first = harness.ready(0);
    harness.connect();
    let own = harness.ready(1);

    harness.release(own);
    harness.release(first);
    harness.pass(Duration::from_secs(3600));
    harness.connect();

    assert_eq!(harness.given, [(0, first), (1, own), (2, first)]);
    assert_eq!(harness.started.len(), 2);
    assert_eq!(harness.retired, [own]);
}

#[test]
fn connections_share_it_if_no_session_can_be_started() {
    for severity in [
        CREDENTIALS,
        TARGET_IS_OFF,
        Severity::Transient,
        Severity::Throttled,
    ] {
        let mut harness = handed_over(EXCLUSIVE, HandedOverRole::Preferred);
        harness.connect();
        let first = harness.ready(0);
        harness.connect();
        harness.fail(1, "expired", severity);

        assert_eq!(harness.given, [(0, first), (1, first)], "{severity:?}");
        assert_eq!(harness.refused, [], "{severity:?}");
        assert_eq!(harness.pool.crowded(), 1);
    }
}

#[test]
fn connections_share_it_at_once_while_the_circuit_breaker_is_open() {
    for severity in [CREDENTIALS, TARGET_IS_OFF] {
        let mut harness = handed_over(EXCLUSIVE, HandedOverRole::Preferred);
        harness.connect();
        let first = harness.ready(0);
        harness.connect();
        harness.fail(1, "expired", severity);

        harness.connect();

        assert_eq!(harness.given[2], (2, first));
        assert_eq!(harness.started.len(), 2);
    }
}

#[test]
fn while_it_is_resumed_connections_wait_for_it_if_no_session_can_be_started() {
    let mut harness = handed_over(EXCLUSIVE, HandedOverRole::Preferred);
    harness.connect();
    let first = harness.ready(0);
    harness.pool.handle_disconnected(first);
    harness.connect();
    harness.fail(1, "denied", TARGET_IS_OFF);
    assert_eq!(harness.refused, []);

    harness.pool.handle_resumed(harness.now, first);
    harness.apply();

    assert_eq!(harness.given[1], (1, first));
}

#[test]
fn the_end_of_it_leaves_a_pool_like_any_other() {
    let mut harness = handed_over(EXCLUSIVE, HandedOverRole::Preferred);
    harness.connect();
    let first = harness.ready(0);
    harness.pool.handle_ended(harness.now, first);

    harness.connect();
    harness.fail(1, "denied", TARGET_IS_OFF);

    assert_eq!(harness.refused, [(1, RejectReason::Failed("denied"))]);
}

#[test]
fn the_only_one_is_never_joined_by_another() {
    let mut harness = handed_over(SHARED, HandedOverRole::Only);
    harness.connect();
    let first = harness.ready(0);

    // It is resumed, all its slots are in use, it is old, and its stream numbers run out.
    harness.pool.handle_disconnected(first);
    for _ in 0..3 {
        harness.connect();
    }
    assert_eq!(harness.given.len(), 1);
    harness.pool.handle_resumed(harness.now, first);
    harness.apply();
    assert_eq!(harness.given.len(), 3);
    harness.pass(Duration::from_secs(7200));
    for _ in 0..33_000 {
        harness.release(first);
        harness.connect();
    }

    assert_eq!(harness.started, [first]);
    assert_eq!(harness.retired, []);
    harness.give_back_unusable(first);
    for _ in 0..2 {
        harness.release(first);
    }
    assert_eq!(harness.retired, [first]);
}

#[test]
fn it_is_not_lost_with_the_connection_that_it_was_taken_for() {
    for role in [HandedOverRole::Preferred, HandedOverRole::Only] {
        let mut harness = handed_over(EXCLUSIVE, role);
        let gone = harness.connect();
        harness.leave(gone);
        let gone = harness.connect();
        harness.answer(0);
        harness.leave(gone);
        let first = harness.ready(0);

        harness.connect();

        assert_eq!(harness.given, [(2, first)]);
        assert_eq!(
            (&harness.retired[..], &harness.cancelled[..]),
            (&[][..], &[][..])
        );
    }
}

#[test]
fn a_shutdown_retires_it() {
    for role in [HandedOverRole::Preferred, HandedOverRole::Only] {
        let mut harness = handed_over(EXCLUSIVE, role);
        harness.connect();
        let first = harness.ready(0);
        harness.release(first);

        harness.pool.handle_drain(harness.now);
        harness.apply();

        assert_eq!(harness.retired, [first]);
    }
}
