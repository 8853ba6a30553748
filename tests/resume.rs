//! Websockets that break, and streams that are not affected.

use std::collections::BTreeSet;
use std::time::Duration;

use ssm_proxyd::proto::{Reason, StreamId, Write};
use ssm_proxyd::sim::agent::Violation;
use ssm_proxyd::wire::message::MessageType;
use ssm_proxyd::wire::payload;
use ssm_proxyd::wire::smux::Command;

use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::message_builder;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

#[test]
fn a_websocket_may_break_after_every_message() {
    let whole = Scenario::begin().run_to_end();
    assert!(whole > 60, "{whole} messages");

    for at in 0..=whole {
        for (delivered, kept) in [
            (0, Delivery::No),
            (0, Delivery::Yes),
            (2, Delivery::No),
            (9, Delivery::Yes),
        ] {
            let mut scenario = Scenario::begin();
            scenario.pair.run_until_sent(at);

            scenario.pair.disconnect(delivered, kept);
            scenario.pair.stop_at = None;
            scenario.pair.run_for(Duration::from_millis(700));
            scenario.pair.connect("another");

            scenario.finish(&format!(
                "broken after {at} with {delivered} delivered, {kept:?}"
            ));
        }
    }
}

#[test]
fn the_agents_websocket_may_break_after_every_message() {
    let whole = Scenario::begin().run_to_end();

    for at in 0..=whole {
        for (delivered, kept) in [(0, Delivery::No), (3, Delivery::Yes)] {
            let mut scenario = Scenario::begin();
            scenario.pair.run_until_sent(at);

            scenario.pair.disconnect_agent(delivered, kept);
            scenario.pair.stop_at = None;
            scenario.pair.run_for(Duration::from_millis(700));
            scenario.pair.reconnect_agent();

            scenario.finish(&format!(
                "broken after {at} with {delivered} delivered, {kept:?}"
            ));
        }
    }
}

#[test]
fn a_message_processed_twice_by_the_agent_is_never_a_clean_end() {
    let whole = Scenario::begin().run_to_end();
    let mut broken = 0;

    for at in 0..=whole {
        let mut scenario = Scenario::begin();
        scenario.pair.run_until_sent(at);

        scenario.pair.disconnect_agent_during_message();
        scenario.pair.stop_at = None;
        scenario.pair.run_for(Duration::from_millis(700));
        scenario.pair.reconnect_agent();

        let twice = scenario.pair.agent.stats().unacknowledged_in;
        if twice == 0 {
            scenario.finish(&format!("nothing was read after {at}"));
        } else {
            broken += usize::from(scenario.finish_broken(&format!("during a message after {at}")));
        }
    }

    assert!(broken > 10, "{broken} of {whole}");
}

/// Every message is acknowledged when the FIN arrives: only the number of copies shows that the
/// agent may have processed one of them twice.
#[test]
fn a_fin_after_the_acknowledgement_of_a_copy_is_not_a_clean_end() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.write(stream, b"processed twice");
    pair.run_for(Duration::from_millis(1));

    pair.disconnect_agent_during_message();
    pair.run_for(Duration::from_millis(100));
    pair.reconnect_agent();
    pair.run_for(Duration::from_secs(60));

    assert!(pair.violations().contains_key(&Violation::BrokenMux));
    assert_eq!(pair.closed, Some(Reason::Closed));
    assert_eq!(
        pair.local(stream).end(),
        Some(&End::Lost(Reason::Closed)),
        "the destination has not ended"
    );
}

/// The end of the channel cannot be received without a websocket, so elapsed time confirms no FIN.
#[test]
fn a_fin_is_not_confirmed_while_there_is_no_websocket() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.write(stream, b"not acknowledged when the FIN arrives");
    let sent = pair.journal.down_arrived.numbers(&MessageType::Output);
    let next = sent.into_iter().max().map_or(0, |last| last + 1);
    let fin = message_builder::frames(&[(Command::Fin, stream, b"")]);
    pair.notify_client(message_builder::output(next, &fin));
    pair.run_for(Duration::from_millis(12));

    pair.disconnect(0, Delivery::No);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.local(stream).end(), None);
    pair.connect("another");
    pair.notify_client(message_builder::channel_closed(""));
    pair.run_for(Duration::from_secs(1));

    assert_eq!(pair.local(stream).end(), Some(&End::Lost(Reason::Closed)));
}

#[test]
fn both_websockets_may_break_together_and_again() {
    for round in 0..40 {
        let mut scenario = Scenario::begin();
        for n in 0..4 {
            scenario.pair.run_for(Duration::from_millis(7 + 5 * round));
            scenario.pair.disconnect_agent(0, Delivery::No);
            scenario.pair.disconnect(n, Delivery::No);
            scenario.pair.run_for(Duration::from_millis(300));
            scenario.pair.connect(&format!("token {n}"));
            scenario.pair.run_for(Duration::from_millis(30 * n as u64));
            scenario.pair.reconnect_agent();
        }

        scenario.finish(&format!("round {round}"));
    }
}

#[test]
fn a_new_websocket_is_opened_with_the_new_token_by_the_same_client() {
    let mut pair = Pair::established();

    for token in ["second", "third"] {
        pair.disconnect(0, Delivery::No);
        pair.connect(token);
        pair.settle();
    }

    let tokens: Vec<_> = pair.openings.iter().map(|o| &o.token_value[..]).collect();
    let clients: BTreeSet<_> = pair.openings.iter().map(|o| &o.client_id).collect();
    let requests: BTreeSet<_> = pair.openings.iter().map(|o| &o.request_id).collect();
    assert_eq!(tokens, ["token", "second", "third"]);
    assert_eq!((clients.len(), requests.len()), (1, 3));
}

#[test]
fn only_unacknowledged_messages_are_retransmitted_oldest_first() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 0;
    let mut pair = setup.established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.write(stream, &pattern(1, 60_000));
    pair.run_for(Duration::from_millis(5));
    pair.disconnect(20, Delivery::Yes);
    // Earlier than the retransmission timeout of any of them.
    pair.run_for(Duration::from_millis(50));
    let before = pair.journal.up_sent.numbers(&MessageType::Input).len();

    pair.connect("another");

    let again = pair
        .journal
        .up_sent
        .numbers(&MessageType::Input)
        .split_off(before);
    assert_eq!(again, unacknowledged(&pair));
    assert!((30..60).contains(&again.len()), "some messages arrived");
    pair.settle();
    assert_whole(pair.destination(stream).received(), &pattern(1, 60_000));
}

#[test]
fn streams_take_writes_without_a_websocket_until_they_are_full() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.disconnect(0, Delivery::No);

    pair.write(stream, &pattern(1, 1_000_000));
    pair.run_for(Duration::from_secs(600));
    let taken = pair.local(stream).written().len();
    let more = pair.tunnel.write(stream, b"x");
    pair.connect("another");
    pair.settle();

    assert_eq!(taken, ssm_proxyd::proto::MAX_UNSENT);
    assert_eq!(more, Write::Full);
    assert_whole(pair.destination(stream).received(), &pattern(1, 1_000_000));
}

#[test]
fn a_stream_may_be_opened_and_closed_without_a_websocket() {
    let mut pair = Pair::established();
    pair.disconnect(0, Delivery::No);

    let stream = pair.open(Destination::sink());
    pair.write(stream, b"sent later");
    pair.reset(stream);
    pair.run_for(Duration::from_secs(30));
    pair.connect("another");
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"sent later");
    assert_eq!(pair.destination(stream).state(), State::Closed);
}

#[test]
fn a_disconnect_during_the_handshake_is_recovered() {
    for millis in 0..80 {
        let mut pair = Pair::new(PairOptions::default());
        pair.connect("token");
        pair.run_for(Duration::from_millis(millis));

        pair.disconnect(0, Delivery::No);
        pair.run_for(Duration::from_secs(2));
        pair.connect("another");
        pair.settle();

        assert_eq!(
            pair.ready.as_deref(),
            Some("3.3.987.0"),
            "after {millis} ms"
        );
    }
}

#[test]
fn a_websocket_that_is_replaced_at_once_loses_nothing() {
    let mut scenario = Scenario::begin();
    for _ in 0..100 {
        scenario.pair.run_for(Duration::from_millis(11));
        scenario.pair.disconnect(0, Delivery::No);
        scenario.pair.connect("another");
    }

    scenario.finish("a hundred breaks");
}

#[test]
fn a_tunnel_continues_after_hours_of_machine_sleep() {
    let mut scenario = Scenario::begin();
    scenario.pair.run_for(Duration::from_millis(40));
    scenario.pair.now += Duration::from_secs(8 * 3600);
    scenario.pair.disconnect(0, Delivery::No);
    scenario.pair.disconnect_agent(0, Delivery::No);
    scenario.pair.reconnect_agent();
    scenario.pair.run_for(Duration::from_secs(1));

    scenario.pair.connect("another");

    scenario.finish("slept");
}

#[test]
fn a_network_pause_is_not_a_disconnect() {
    let mut scenario = Scenario::begin();
    scenario.pair.run_for(Duration::from_millis(40));
    let until = scenario.pair.now + Duration::from_secs(40);

    scenario.pair.up.hold_until(until);
    scenario.pair.down.hold_until(until);

    scenario.finish("held");
}

/// Three connections at once: a query, an upload and a download.
struct Scenario {
    pair: Pair,
    query: StreamId,
    upload: StreamId,
    download: StreamId,
}

impl Scenario {
    fn begin() -> Self {
        let mut pair = Pair::established();
        let query = pair.open(Destination::answering(9, pattern(2, 5000)));
        let upload = pair.open(Destination::sink());
        let download = pair.open(Destination::source(pattern(4, 9000)));
        pair.local(query).write(&pattern(1, 9));
        pair.local(query).finish();
        pair.local(upload).write(&pattern(3, 9000));
        Self {
            pair,
            query,
            upload,
            download,
        }
    }

    /// Runs to the end without faults; returns the number of messages.
    fn run_to_end(mut self) -> usize {
        self.pair.settle();
        let messages = self.pair.messages();
        self.finish("undisturbed");
        messages
    }

    /// Runs to the end, which may be that of the session: then clients without all their bytes are
    /// reset, and no client has a byte twice. Returns true if the session ended.
    fn finish_broken(mut self, case: &str) -> bool {
        let pair = &mut self.pair;
        pair.run_for(Duration::from_secs(60));
        assert_prefix(&pattern(1, 9), pair.destination(self.query).received());
        assert_prefix(&pattern(3, 9000), pair.destination(self.upload).received());
        for (stream, answer) in [(self.query, 5000), (self.download, 9000)] {
            let seed = if stream == self.query { 2 } else { 4 };
            let local = pair.local(stream);
            assert_prefix(&pattern(seed, answer), local.received());
            let is_whole = local.received().len() == answer;
            assert!(is_whole || local.end() != Some(&End::Clean), "{case}");
        }
        pair.closed.is_some()
    }

    /// Runs to the end; no client is affected.
    fn finish(mut self, case: &str) {
        let pair = &mut self.pair;
        pair.settle();
        assert_eq!(pair.closed, None, "{case}");
        assert_eq!(pair.local(self.query).end(), Some(&End::Clean), "{case}");
        assert_eq!(pair.local(self.download).end(), Some(&End::Clean), "{case}");
        assert_whole(pair.destination(self.query).received(), &pattern(1, 9));
        assert_whole(pair.local(self.query).received(), &pattern(2, 5000));
        assert_prefix(&pattern(3, 9000), pair.destination(self.upload).received());
        assert_whole(pair.local(self.download).received(), &pattern(4, 9000));
        pair.reset(self.upload);
        pair.settle();
        assert_whole(pair.destination(self.upload).received(), &pattern(3, 9000));
        assert!(pair.tunnel.is_quiet(), "{case}");
        assert_eq!(pair.agent.unacknowledged(), 0, "{case}");
    }
}

/// The numbers of the messages that were sent and not acknowledged.
fn unacknowledged(pair: &Pair) -> Vec<u64> {
    let mut numbers: BTreeSet<_> = pair
        .journal
        .up_sent
        .numbers(&MessageType::Input)
        .into_iter()
        .collect();
    for (_, message) in pair.journal.down_arrived.of(&MessageType::Acknowledge) {
        let body = payload::decode_acknowledge(&message.payload).unwrap();
        numbers.remove(&u64::try_from(body.seq).unwrap());
    }
    numbers.into_iter().collect()
}
