//! Warm sessions.

use super::*;

#[test]
fn a_place_that_was_not_used_makes_a_spare_no_less() {
    let mut context = Context::with_spares(1);
    let one = context.ready(0);
    context.come();

    let unused = Returned::Unused;
    context.pool.handle_returned(context.now, one, unused);
    context.act();

    let second = context.come();
    assert_eq!(context.given[1], (second, one));
}

#[test]
fn spares_are_kept_ready_and_replaced_when_they_are_used() {
    let mut context = Context::with_spares(2);
    assert_eq!(context.started.len(), 2);
    let (one, _) = (context.ready(0), context.ready(1));

    let first = context.come();

    assert_eq!(context.given, [(first, one)]);
    assert_eq!(context.started.len(), 3);
    context.release(one);
    assert_eq!(context.retired, [one]);
}

#[test]
fn a_connection_takes_over_the_start_of_a_spare() {
    let mut context = Context::with_spares(1);

    context.come();

    assert_eq!(context.hurried, [context.started[0]]);
    assert_eq!(context.started.len(), 2, "and the spare is started anew");
}

#[test]
fn an_old_spare_is_replaced_and_serves_until_then() {
    let mut context = Context::with_spares(1);
    let old = context.ready(0);
    context.pass(Duration::from_secs(599));
    assert_eq!(context.started.len(), 2, "replaced before it is too old");
    assert_eq!(context.retired, []);

    let new = context.ready(1);

    assert_eq!(context.retired, [old]);
    context.come();
    assert_eq!(context.given[0].1, new);
}

#[test]
fn a_spare_that_is_too_old_is_never_used() {
    let mut context = Context::with_spares(1);
    let old = context.ready(0);

    context.pass(Duration::from_secs(600));
    context.come();

    assert_eq!(context.retired, [old]);
    assert_eq!(context.given, []);
}

#[test]
fn while_sessions_are_known_to_fail_one_spare_is_tried_ever_more_rarely() {
    let mut context = Context::with_spares(4);
    context.fail(0, "off", TARGET_IS_OFF);
    assert_eq!(context.cancelled.len(), 3);

    let mut tried = 4;
    for _ in 0..3600 {
        context.pass(Duration::from_secs(1));
        assert!(context.started.len() <= tried + 1, "one at a time");
        if context.started.len() > tried {
            context.fail(tried, "off", TARGET_IS_OFF);
            tried += 1;
        }
    }

    assert!((60..100).contains(&tried), "{tried} tries in an hour");
    context.pass(Duration::from_secs(60));
    assert_eq!(context.started.len(), tried + 1);
    context.ready(tried);
    assert_eq!(
        context.started.len(),
        tried + 4,
        "then the others come back"
    );
}

#[test]
fn spares_that_fail_together_are_one_failure() {
    let mut context = Context::with_spares(8);
    for n in 0..8 {
        context.call(n);
    }
    for n in 0..8 {
        context.pool.handle_failed(
            context.now,
            context.started[n],
            "a bad day",
            Severity::Transient,
        );
    }

    context.pass(Duration::from_secs(1));

    assert_eq!(
        context.started.len(),
        16,
        "a second later they are tried again"
    );
}

#[test]
fn a_connection_takes_over_the_spare_that_is_the_probe() {
    let mut context = Context::with_spares(1);
    context.fail(0, "off", TARGET_IS_OFF);
    context.pass(Duration::from_secs(1));
    assert_eq!(context.started.len(), 2);

    let client = context.come();

    assert_eq!(context.hurried, [context.started[1]]);
    let id = context.ready(1);
    assert_eq!(context.given, [(client, id)]);
}

#[test]
fn spares_that_do_not_live_are_started_ever_more_rarely() {
    let mut context = Context::with_spares(1);

    for _ in 0..3600 {
        let last = context.started.len() - 1;
        let id = context.ready(last);
        context.pool.handle_ended(context.now, id);
        context.pass(Duration::from_secs(1));
    }

    assert!(context.started.len() < 200, "{}", context.started.len());
}

#[test]
fn spares_that_open_no_stream_are_started_ever_more_rarely() {
    let mut context = Context::with_spares(1);

    for _ in 0..3600 {
        let last = context.started.len() - 1;
        let id = context.ready(last);
        if context.pool.is_spare(id) {
            context.come();
            context.give_back_unusable(id);
        }
        context.pass(Duration::from_secs(1));
    }

    assert!(context.started.len() < 200, "{}", context.started.len());
}
