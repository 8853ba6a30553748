//! Rate and number of messages, measured at the agent.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ssm_proxyd::sim::link::LinkConditions;
use ssm_proxyd::wire::message::{MessageType, PayloadType};
use ssm_proxyd::wire::payload;

use crate::support::agent_destination::Destination;
use crate::support::message_builder;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

#[test]
fn a_paused_publication_holds_back_one_keep_alive() {
    for setup in [PairOptions::default(), PairOptions::single()] {
        let mut setup = setup;
        setup.options.keep_alive = true;
        let is_single = !setup.options.shared;
        let mut pair = Pair::new(setup);
        pair.set_destination(Destination::sink());
        pair.connect("token");
        pair.run_until(|pair| pair.ready.is_some());
        let stream = match is_single {
            true => pair.open_single(),
            false => pair.open(Destination::sink()),
        };
        pair.write(stream, b"hello");
        pair.run_for(Duration::from_secs(29));
        let before = pair.messages();

        for _ in 0..30 {
            pair.notify_client(message_builder::publication(MessageType::PausePublication));
            pair.run_for(Duration::from_secs(2));
        }

        let more = pair.messages() - before;
        assert!(more <= 8, "{more} messages in a minute");
    }
}

#[test]
fn keep_alives_due_without_a_websocket_are_one_message() {
    let mut setup = PairOptions::single();
    setup.options.keep_alive = true;
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::sink());
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    let _stream = pair.open_single();
    pair.run_for(Duration::from_secs(1));

    pair.disconnect(0, Delivery::No);
    pair.run_for(Duration::from_secs(1800));
    let before = pair
        .journal
        .up_sent
        .count(&MessageType::Input, PayloadType::Size);
    pair.connect("another");
    pair.run_for(Duration::from_secs(1));

    let sent = pair
        .journal
        .up_sent
        .count(&MessageType::Input, PayloadType::Size)
        - before;
    assert_eq!(sent, 1);
}

#[test]
fn terminal_sizes_after_resumes_keep_the_rate_limit() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 2;
    let mut pair = setup.established();
    let _stream = pair.open(Destination::sink());
    pair.run_for(Duration::from_secs(5));
    pair.journal.up_sent.clear();
    let begin = pair.now;

    for n in 0..40 {
        pair.disconnect(0, Delivery::No);
        pair.connect(&format!("token {n}"));
        pair.run_for(Duration::from_millis(50));
    }

    let sent = pair
        .journal
        .up_sent
        .count(&MessageType::Input, PayloadType::Size);
    let elapsed = pair.now - begin;
    assert!(
        sent <= 6,
        "{sent} messages in {elapsed:?} at two per second"
    );
}

#[test]
fn no_second_has_more_messages_than_the_rate_and_its_burst() {
    for rate in [10, 100, 900] {
        let mut setup = PairOptions::default();
        setup.options.upload_rate = rate;
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());
        pair.local(stream).write(&pattern(1, 5_000_000));

        pair.run_for(Duration::from_secs(4));

        let arrivals = arrivals(&pair);
        let most = rate as usize + (rate as usize / 20).max(1);
        let busiest = busiest_second(&arrivals);
        assert!(busiest <= most, "{busiest} in a second at {rate}");
        let all = arrivals.len();
        assert!(all > 4 * rate as usize * 97 / 100, "{all} at {rate}");
    }
}

#[test]
fn no_second_exceeds_the_rate_after_a_network_pause() {
    for millis in [100, 300, 1000, 5000] {
        let mut pair = Pair::established();
        let stream = pair.open(Destination::sink());
        pair.local(stream).write(&pattern(1, 20_000_000));
        pair.run_for(Duration::from_secs(3));

        pair.up.hold_until(pair.now + Duration::from_millis(millis));
        pair.run_for(Duration::from_secs(12));

        let busiest = busiest_second(&arrivals(&pair));
        assert!(busiest <= 945, "{busiest} after {millis} ms");
    }
}

#[test]
fn retransmissions_keep_the_rate_limit() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 200;
    setup.up.loss = 200;
    let mut pair = setup.established();
    let stream = pair.open(Destination::sink());
    pair.local(stream).write(&pattern(1, 600_000));

    pair.run_for(Duration::from_secs(1));
    pair.disconnect(0, Delivery::No);
    pair.run_for(Duration::from_secs(1));
    pair.connect("another");
    pair.run_for(Duration::from_secs(10));

    let sent_at: Vec<_> = pair.journal.up_sent.of(&MessageType::Input);
    let sent_at: Vec<_> = sent_at.into_iter().map(|(at, _)| at).collect();
    assert!(
        busiest_second(&sent_at) <= 210,
        "{}",
        busiest_second(&sent_at)
    );
    assert!(pair.tunnel.stats().retransmitted > 100);
}

#[test]
fn a_slow_path_carries_each_message_once() {
    for bandwidth in [300_000, 100_000, 50_000, 10_000] {
        let mut setup = PairOptions::default();
        setup.up.bandwidth = NonZeroU32::new(bandwidth);
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());
        let data = pattern(1, 20 * bandwidth as usize);

        let (begin, before) = (pair.now, pair.tunnel.stats());
        pair.write(stream, &data);
        pair.run_until(|pair| pair.destination_of(stream).received().len() == data.len());
        let took = pair.now - begin;
        pair.settle();

        let stats = pair.tunnel.stats();
        let again = stats.retransmitted - before.retransmitted;
        assert_eq!(again, 0, "messages were retransmitted at {bandwidth} B/s");
        // Of 1144 bytes, 30 are for the time until the first response, and 120 for the header.
        assert!(
            took < Duration::from_millis(23_400),
            "{took:?} at {bandwidth} B/s"
        );
    }
}

#[test]
fn without_a_rate_the_window_is_the_only_limit() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 0;
    let mut pair = setup.established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    let before = pair.journal.up_sent.numbers(&MessageType::Input).len();

    pair.write(stream, &pattern(1, 1_000_000));

    let at_once = pair.journal.up_sent.numbers(&MessageType::Input).len() - before;
    assert_eq!(at_once, 256, "the window, in messages");
    pair.settle();
    assert_whole(pair.destination(stream).received(), &pattern(1, 1_000_000));
}

#[test]
fn never_more_than_the_window_is_unacknowledged() {
    for window in [1024, 10_000, 256 * 1024] {
        let mut setup = PairOptions::default();
        setup.options.upload_rate = 0;
        setup.options.upload_window = window;
        setup.up.jitter = Duration::from_millis(30);
        setup.down.loss = 50;
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());

        pair.write(stream, &pattern(1, 500_000));
        pair.settle();

        let most = most_unacknowledged(&pair);
        assert!(most <= window, "{most} bytes of {window}");
        assert!(most + 1024 > window, "{most} bytes of {window} are used");
        assert_whole(pair.destination(stream).received(), &pattern(1, 500_000));
    }
}

#[test]
fn no_message_is_longer_than_the_option_allows() {
    for payload in [64, 1024, 40_000] {
        let mut setup = PairOptions::default();
        setup.options.upload_payload = payload;
        setup.up = LinkConditions::delayed(Duration::from_millis(1));
        let mut pair = setup.established();
        let stream = pair.open(Destination::sink());

        pair.write(stream, &pattern(1, 100_000));
        pair.settle();

        let inputs = pair.journal.up_sent.of(&MessageType::Input).into_iter();
        let data = inputs.filter(|(_, message)| message.header.seq.0 > 0);
        let longest = data.map(|(_, message)| message.payload.len()).max();
        assert_eq!(longest, Some(payload));
        assert_whole(pair.destination(stream).received(), &pattern(1, 100_000));
    }
}

fn arrivals(pair: &Pair) -> Vec<Instant> {
    let inputs = pair.journal.up_arrived.of(&MessageType::Input);
    inputs.into_iter().map(|(at, _)| at).collect()
}

/// The maximum number of messages in any window of a second.
fn busiest_second(times: &[Instant]) -> usize {
    let second = Duration::from_secs(1);
    let mut first = 0;
    let mut most = 0;
    for (last, at) in times.iter().enumerate() {
        while times[first] + second <= *at {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// The maximum number of payload bytes that were sent once and not yet acknowledged.
fn most_unacknowledged(pair: &Pair) -> usize {
    let mut waiting = BTreeMap::new();
    let mut seen = 0;
    let mut most = 0;
    let mut acknowledgements = pair
        .journal
        .down_arrived
        .of(&MessageType::Acknowledge)
        .into_iter();
    let mut next = acknowledgements.next();
    for (at, message) in pair.journal.up_sent.of(&MessageType::Input) {
        while let Some((_, acknowledgement)) =
            next.take_if(|(bytes_received, _)| *bytes_received <= at)
        {
            let body = payload::decode_acknowledge(&acknowledgement.payload).unwrap();
            waiting.remove(&u64::try_from(body.seq).unwrap());
            next = acknowledgements.next();
        }
        if message.header.seq.0 >= seen {
            seen = message.header.seq.0 + 1;
            waiting.insert(message.header.seq.0, message.payload.len());
        }
        most = most.max(waiting.values().sum());
    }
    most
}
