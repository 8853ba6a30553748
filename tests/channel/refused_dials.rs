//! Refused dials on shared sessions: which stream they end, and when that is certain.

use std::time::Duration;

use ssm_proxyd::proto::Reason;

use crate::support::agent_destination::Destination;
use crate::support::client::End;
use crate::support::pair::Pair;

#[test]
fn a_refused_dial_ends_its_own_stream_and_no_other() {
    let mut pair = Pair::established();
    let served = pair.open(Destination::greeting(b"hello".to_vec()));
    pair.settle();

    let refused = pair.open(Destination::refusing());
    let after = pair.open(Destination::echo());
    pair.write(refused, b"for nobody");
    pair.write(served, b"one");
    pair.write(after, b"two");
    pair.settle();

    // `after` was pending as well when the agent reported a refused dial, and is answered.
    let end = End::Lost(Reason::Refused);
    assert_eq!(pair.local(refused).end(), Some(&end));
    assert_eq!(pair.local(refused).received(), b"");
    assert_eq!(pair.local(served).received(), b"helloone");
    assert_eq!(pair.local(after).received(), b"two");
    assert_eq!(pair.local(served).end(), None);
    assert_eq!(pair.local(after).end(), None);
    assert_eq!(pair.closed, None);
}

#[test]
fn each_refused_dial_is_reported_on_its_own_stream() {
    let mut pair = Pair::established();
    let pause = Duration::from_millis(40);

    let first = pair.open(Destination::refusing().dialled_in(pause));
    let second = pair.open(Destination::source(b"x".to_vec()).dialled_in(pause));
    let third = pair.open(Destination::refusing().dialled_in(pause));
    pair.settle();

    assert_eq!(pair.local(first).end(), Some(&End::Lost(Reason::Refused)));
    assert_eq!(pair.local(second).end(), Some(&End::Clean));
    assert_eq!(pair.local(third).end(), Some(&End::Lost(Reason::Refused)));
}

#[test]
fn all_refused_dials_of_a_burst_are_certain() {
    let mut pair = Pair::established();
    let ids: Vec<_> = (0..30)
        .map(|n| {
            let pause = Duration::from_millis(n % 7);
            let id = pair.open(Destination::refusing().dialled_in(pause));
            pair.write(id, b"for nobody");
            id
        })
        .collect();

    pair.settle();

    for id in ids {
        assert_eq!(pair.local(id).end(), Some(&End::Lost(Reason::Refused)));
    }
    assert!(pair.tunnel.is_quiet());
}

#[test]
fn a_dial_that_may_have_been_refused_is_reset_after_a_moment() {
    let mut pair = Pair::established();
    let refused = pair.open(Destination::refusing());
    let silent = pair.open(Destination::sink());
    pair.write(refused, b"for nobody");
    pair.write(silent, b"x");

    pair.run_for(Duration::from_millis(500));
    assert_eq!(pair.local(refused).end(), None);
    pair.run_for(Duration::from_millis(800));

    let end = End::Lost(Reason::RefusedOrClosed);
    assert_eq!(pair.local(refused).end(), Some(&end));
    assert_eq!(pair.local(silent).end(), None);
}
