//! Many connections at once.

use super::*;

const CROWD: usize = 500;

/// Serves all connections; takes the actions after each event, or once after all queued events.
fn serve_crowd(are_batched: bool) -> (Duration, Context) {
    let mut context = Context::new(OWN);
    let begin = Instant::now();
    let settle = |context: &mut Context| {
        if !are_batched {
            context.act();
        }
    };
    let deadline = context.now + Duration::from_secs(30);
    for id in 0..CROWD as u64 {
        let now = context.now;
        context.pool.handle_acquire(now, WaiterId(id), deadline);
        settle(&mut context);
    }
    context.act();
    for n in 0..CROWD {
        let id = context.call(n);
        context.pool.handle_ready(context.now, id);
        settle(&mut context);
    }
    context.act();
    for id in 0..CROWD as u64 {
        context.pool.handle_cancel(context.now, WaiterId(id));
        settle(&mut context);
    }
    context.act();
    (begin.elapsed(), context)
}

#[test]
fn a_crowd_is_served_in_order_whether_events_come_one_by_one_or_together() {
    let (one_by_one, single) = serve_crowd(false);
    let (together, batched) = serve_crowd(true);

    println!("{CROWD} connections: {one_by_one:?} one by one, {together:?} together");
    let order: Vec<u64> = (0..CROWD as u64).collect();
    for context in [single, batched] {
        assert_eq!(context.started.len(), CROWD);
        let given: Vec<u64> = context.given.iter().map(|(waiter, _)| *waiter).collect();
        assert_eq!(given, order);
    }
}
