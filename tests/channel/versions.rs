//! Older agents (docs/protocol.md appendix B, item 8).

use std::time::Duration;

use ssm_proxyd::wire::message::MessageType;

use crate::support::agent_destination::Destination;
use crate::support::client::End;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

#[test]
fn the_agent_version_is_reported_when_the_agent_is_ready() {
    for version in [
        "3.3.987.0",
        "3.2.1041.0",
        "3.1.1374.0",
        "3.0.655.0",
        "3.0.222.0",
    ] {
        let mut pair = PairOptions::of_version(version).established();

        let stream = pair.open(Destination::echo());
        pair.write(stream, &pattern(1, 20_000));
        pair.run_for(Duration::from_secs(5));

        assert_eq!(pair.ready.as_deref(), Some(version));
        assert_whole(pair.local(stream).received(), &pattern(1, 20_000));
    }
}

#[test]
fn an_agent_that_acknowledges_too_early_gets_a_delay() {
    for version in ["3.0.222.0", "3.0.654.0"] {
        let mut pair = Pair::new(PairOptions::of_version(version));
        pair.connect("token");
        pair.run_until(|pair| pair.ready.is_some());

        let stream = pair.open(Destination::echo());
        pair.write(stream, b"at once");
        pair.run_for(Duration::from_secs(1));

        assert_eq!(pair.local(stream).received(), b"at once", "{version}");
    }
}

#[test]
fn an_agent_without_mux_is_reported_as_too_old() {
    for version in ["3.0.196.0", "2.3.722.0"] {
        let mut pair = Pair::new(PairOptions::of_version(version));

        pair.connect("token");
        pair.run_until(|pair| pair.closed.is_some());

        let why = pair.closed.clone().unwrap().to_string();
        assert!(why.contains(version) && why.contains("3.0.222.0"), "{why}");
        assert_eq!(pair.journal.up_sent.of(&MessageType::Input).len(), 0);
    }
}

#[test]
fn an_idle_tunnel_stays_open_where_the_agent_expects_keep_alives() {
    for version in ["3.0.222.0", "3.1.1374.0", "3.1.1476.0", "3.1.1511.0"] {
        let mut pair = PairOptions::of_version(version).established();

        pair.run_for(Duration::from_secs(300));

        assert_eq!(pair.closed, None, "{version}");
        let stream = pair.open(Destination::echo());
        pair.write(stream, b"still there");
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.local(stream).received(), b"still there");
    }
}

#[test]
fn an_idle_tunnel_sends_no_keep_alives_to_other_agents() {
    for version in ["3.1.1575.0", "3.3.987.0"] {
        let mut pair = PairOptions::of_version(version).established();
        let before = pair.messages();

        pair.run_for(Duration::from_secs(300));

        assert_eq!(pair.messages(), before, "{version}");
        assert_eq!(pair.closed, None);
    }
}

#[test]
fn an_agent_that_ignores_duplicates_delivers_despite_lost_acknowledgements() {
    let mut pair = PairOptions::of_version("3.1.1575.0").established();
    let stream = pair.open(Destination::echo());
    pair.settle();
    pair.down.lose_next_of(MessageType::Acknowledge, 3);

    pair.write(stream, &pattern(1, 100_000));
    pair.run_for(Duration::from_secs(20));

    assert_whole(pair.local(stream).received(), &pattern(1, 100_000));
    pair.reset(stream);
    pair.settle();
    assert!(
        pair.tunnel.is_quiet(),
        "later messages show that three arrived"
    );
    assert_eq!(pair.closed, None);
}

#[test]
fn a_reconnect_retransmits_data_behind_an_acknowledgement_that_never_arrives() {
    let mut pair = PairOptions::of_version("3.1.1575.0").established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.down.lose_next_of(MessageType::Acknowledge, 1);
    pair.write(stream, b"one ");
    pair.run_for(Duration::from_millis(15));
    pair.up.lose_next_of(MessageType::Input, 9);
    pair.write(stream, b"two");
    pair.run_for(Duration::from_secs(2));

    pair.disconnect(0, Delivery::No);
    pair.up.cancel_planned();
    pair.connect("another");
    pair.run_for(Duration::from_secs(60));

    assert_eq!(pair.destination(stream).received(), b"one two");
}

#[test]
fn an_old_agent_survives_a_broken_websocket() {
    let mut pair = PairOptions::of_version("3.1.1374.0").established();
    let stream = pair.open(Destination::answering(40_000, pattern(2, 40_000)));
    pair.write(stream, &pattern(1, 40_000));
    pair.run_for(Duration::from_millis(20));

    pair.disconnect(3, Delivery::No);
    pair.run_for(Duration::from_secs(2));
    pair.connect("another");
    pair.run_for(Duration::from_secs(60));

    assert_whole(pair.destination(stream).received(), &pattern(1, 40_000));
    assert_whole(pair.local(stream).received(), &pattern(2, 40_000));
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    assert_eq!(pair.closed, None);
}

#[test]
fn an_agent_that_ignores_duplicates_gets_a_long_upload_with_many_disconnects() {
    for seed in 0..4 {
        let mut setup = PairOptions::of_version("3.1.1575.0");
        setup.seed = seed;
        setup.records = false;
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());
        let data = pattern(seed, 6_000_000);
        pair.local(stream).write(&data);

        for _ in 0..40 {
            pair.run_for(Duration::from_millis(700));
            pair.disconnect(0, Delivery::No);
            pair.connect("another");
        }
        pair.run_for(Duration::from_secs(20));

        assert_eq!(pair.closed, None);
        let arrived = pair.destination(stream).received().len();
        assert_eq!(arrived, data.len(), "seed {seed}");
        assert_whole(pair.destination(stream).received(), &data);
        pair.reset(stream);
        pair.run_for(Duration::from_secs(60));
        assert!(
            pair.tunnel.is_quiet(),
            "every lost acknowledgement must be compensated"
        );
        let messages = pair.messages();
        pair.run_for(Duration::from_secs(600));
        assert_eq!(pair.messages(), messages, "retransmissions must end");
    }
}

#[test]
fn a_window_whose_acknowledgements_are_all_lost_is_released() {
    let mut setup = PairOptions::of_version("3.1.1575.0");
    setup.options.upload_window = 8 * 1024;
    let mut pair = setup.established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.down.lose_next_of(MessageType::Acknowledge, 100);

    pair.write(stream, &pattern(1, 100_000));
    pair.run_for(Duration::from_secs(2));
    pair.disconnect(0, Delivery::No);
    pair.down.cancel_planned();
    pair.connect("another");
    pair.run_for(Duration::from_secs(10));

    assert_whole(pair.destination(stream).received(), &pattern(1, 100_000));
}

#[test]
fn messages_lost_on_an_agent_that_ignores_duplicates_are_sent_until_received() {
    for seed in 0..20 {
        let mut setup = PairOptions::of_version("3.1.1575.0");
        setup.seed = seed;
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());
        let data = pattern(seed, 400_000);
        pair.local(stream).write(&data);

        for round in 0..12 {
            pair.run_for(Duration::from_millis(90 + seed * 7));
            if round % 2 == 0 {
                pair.disconnect_agent(0, Delivery::No);
                pair.run_for(Duration::from_millis(200));
                pair.reconnect_agent();
            } else {
                pair.disconnect(1, Delivery::No);
                pair.connect("another");
            }
        }
        pair.run_for(Duration::from_secs(60));

        let arrived = pair.destination(stream).received().len();
        assert_eq!(
            (pair.closed.clone(), arrived),
            (None, data.len()),
            "seed {seed}"
        );
        assert_whole(pair.destination(stream).received(), &data);
    }
}
