//! Slow readers at both ends, full windows, and fairness.

use std::time::Duration;

use ssm_proxyd::proto::{Event, MAX_UNREAD_OF_STREAM, MAX_UNREAD_OF_TUNNEL, MAX_UNSENT, StreamId};
use ssm_proxyd::sim::agent::{Retransmission, SendRate};
use ssm_proxyd::wire::message::MessageType;

use crate::support::agent_destination::Destination;
use crate::support::client::End;
use crate::support::pair::Pair;
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

#[test]
fn a_client_that_does_not_read_for_minutes_loses_nothing() {
    let mut pair = fast();
    let data = pattern(1, 12 << 20);
    let stream = pair.open(Destination::source(data.clone()).in_chunks_of(32_768));
    pair.set_reads(stream, false);

    pair.run_for(Duration::from_secs(300));

    let unread = unread(&mut pair, &[stream]);
    assert!(unread >= MAX_UNREAD_OF_STREAM, "{unread} bytes");
    assert!(unread <= MAX_UNREAD_OF_STREAM + MESSAGE, "{unread} bytes");
    assert!(!pair.tunnel.wants_input());
    pair.set_reads(stream, true);
    pair.settle();
    assert_whole(pair.local(stream).received(), &data);
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
}

#[test]
fn many_clients_that_do_not_read_share_the_tunnel_limit() {
    let mut pair = fast();
    let data = pattern(1, 3 << 19);
    let open = |pair: &mut Pair| {
        let stream = pair.open(Destination::source(data.clone()));
        pair.local(stream).set_reads(false);
        stream
    };
    let streams: Vec<_> = (0..6).map(|_| open(&mut pair)).collect();

    pair.run_for(Duration::from_secs(120));

    let waiting = unread(&mut pair, &streams);
    assert!(waiting >= MAX_UNREAD_OF_TUNNEL, "{waiting} bytes");
    assert!(waiting <= MAX_UNREAD_OF_TUNNEL + MESSAGE, "{waiting} bytes");
    for stream in &streams {
        pair.set_reads(*stream, true);
    }
    pair.settle();
    for stream in streams {
        assert_whole(pair.local(stream).received(), &data);
    }
}

#[test]
fn a_reader_with_small_buffers_gets_every_byte() {
    let mut pair = fast();
    let data = pattern(1, 5 << 20);
    let stream = pair.open(Destination::source(data.clone()));
    pair.local(stream).read_by(100_000);

    for round in 0..200 {
        pair.set_reads(stream, round % 2 == 0);
        pair.run_for(Duration::from_millis(40));
    }
    pair.set_reads(stream, true);
    pair.settle();

    assert_whole(pair.local(stream).received(), &data);
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
}

#[test]
fn a_reader_that_disconnects_unblocks_the_others() {
    let mut pair = fast();
    let stalled = pair.open(Destination::source(pattern(1, 9 << 20)));
    pair.set_reads(stalled, false);
    pair.run_for(Duration::from_secs(60));
    let other = pair.open(Destination::echo());
    pair.write(other, b"hello");
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.local(other).received(), b"", "every stream waits");

    pair.reset(stalled);
    pair.settle();

    assert_eq!(pair.local(other).received(), b"hello");
}

#[test]
fn a_destination_that_does_not_read_stops_the_upload_and_breaks_nothing() {
    let mut pair = fast();
    let data = pattern(1, 9 << 20);
    let stream = pair.open(Destination::stalled());
    pair.write(stream, &data);

    pair.run_for(Duration::from_secs(3600));

    let taken = pair.local(stream).written().len();
    let sent = usize::try_from(pair.tunnel.stats().bytes_sent).unwrap();
    assert!(
        taken - sent <= MAX_UNSENT,
        "{taken} bytes taken, {sent} sent"
    );
    assert!(sent < AGENTS_BUDGET + WINDOW + MESSAGE, "{sent} bytes sent");
    assert_eq!(pair.closed, None);
    assert!(!pair.agent.wants_input());
    pair.destination(stream).allow(usize::MAX);
    pair.settle();
    assert_whole(pair.destination(stream).received(), &data);
}

#[test]
fn a_silent_agent_is_probed_rarely_and_with_the_oldest_message_only() {
    let mut setup = fast_setup();
    setup.records = true;
    setup.capacity = usize::MAX;
    let mut pair = setup.established();
    let stream = pair.open(Destination::stalled());
    pair.write(stream, &pattern(1, 6 << 20));
    pair.run_for(Duration::from_secs(60));
    pair.journal.up_sent.clear();

    pair.run_for(Duration::from_secs(600));

    let requests = pair.journal.up_sent.numbers(&MessageType::Input);
    assert!(
        (100..=121).contains(&requests.len()),
        "{} times",
        requests.len()
    );
    assert!(requests.iter().all(|seq| *seq == requests[0]));
}

#[test]
fn a_silent_agent_is_reported_with_the_suspected_stream() {
    let mut pair = fast();
    let (one, stalled) = (
        pair.open(Destination::echo()),
        pair.open(Destination::stalled()),
    );
    let another = pair.open(Destination::sink());
    pair.write(one, &pattern(1, 8 << 20));
    pair.write(another, b"some");
    pair.settle();
    pair.write(stalled, &pattern(2, 6 << 20));

    pair.run_for(Duration::from_secs(90));

    let suspected = pair.output.iter().filter_map(|event| {
        if let Event::AckTimeout { suspect, .. } = event {
            return Some(*suspect);
        }
        None
    });
    assert_eq!(suspected.collect::<Vec<_>>(), [Some(stalled)]);
}

#[test]
fn an_agent_is_not_reported_silent_while_its_acknowledgements_are_unread() {
    let mut pair = fast();
    let unread = pair.open(Destination::source(pattern(1, 12 << 20)).in_chunks_of(32_768));
    let echo = pair.open(Destination::echo());
    pair.set_reads(unread, false);
    pair.run_for(Duration::from_secs(60));
    assert!(!pair.tunnel.wants_input());

    pair.write(echo, b"not acknowledged as far as we read");
    pair.run_for(Duration::from_secs(700));

    assert_eq!(pair.output, []);
    pair.set_reads(unread, true);
    pair.settle();
    assert_eq!(
        pair.local(echo).received(),
        b"not acknowledged as far as we read"
    );
}

#[test]
fn a_destination_that_reads_slowly_gets_every_byte() {
    let mut pair = fast();
    let data = pattern(1, 6 << 20);
    let stream = pair.open(Destination::stalled());
    pair.write(stream, &data);

    for _ in 0..150 {
        pair.run_for(Duration::from_millis(333));
        pair.destination(stream).allow(40_000);
        pair.wake();
    }
    pair.destination(stream).allow(usize::MAX);
    pair.settle();

    assert_whole(pair.destination(stream).received(), &data);
}

#[test]
fn a_half_close_behind_a_stalled_destination_keeps_the_response() {
    let mut pair = fast();
    let data = pattern(1, 5 << 20);
    let mut destination = Destination::answering(data.len(), pattern(2, 100_000));
    destination.stall();
    let stream = pair.open(destination);
    pair.local(stream).write(&data);
    pair.local(stream).finish();
    pair.run_for(Duration::from_secs(200));

    pair.destination(stream).allow(usize::MAX);
    pair.settle();

    assert_whole(pair.destination(stream).received(), &data);
    assert_whole(pair.local(stream).received(), &pattern(2, 100_000));
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
}

#[test]
fn a_keystroke_during_a_bulk_upload_waits_for_its_slot_only() {
    let mut pair = Pair::established();
    let bulk = pair.open(Destination::sink());
    let keys = pair.open(Destination::echo());
    pair.settle();
    pair.write(bulk, &pattern(1, 900_000));

    for n in 1..=20 {
        pair.run_for(Duration::from_millis(37));
        let sent = pair.tunnel.stats().sent;
        pair.write(keys, b"k");
        pair.run_until(|pair| pair.local_of(keys).received().len() == n);
        // The messages of its round trip of 20 ms, at 900 a second, and two more for the slot.
        let sent = pair.tunnel.stats().sent - sent;
        assert!(sent <= 18 + 2 + 2, "{sent} messages for a keystroke");
    }
}

#[test]
fn a_keystroke_is_sent_within_two_messages_whatever_is_queued() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 50;
    let mut pair = setup.established();
    let bulks: Vec<_> = (0..4).map(|_| pair.open(Destination::sink())).collect();
    let keys = pair.open(Destination::echo());
    pair.run_for(Duration::from_secs(2));
    for bulk in &bulks {
        pair.write(*bulk, &pattern(1, 200_000));
    }
    pair.run_for(Duration::from_secs(1));
    let before = pair.tunnel.stats().sent;

    pair.write(keys, b"k");
    pair.run_until(|pair| !pair.local_of(keys).received().is_empty());

    let sent = pair.tunnel.stats().sent - before;
    assert!(
        sent <= 4 + 2,
        "{sent} messages, with four other streams queued"
    );
}

#[test]
fn both_directions_may_stall_and_resume_in_any_order() {
    for order in 0..6 {
        let mut pair = fast();
        let data = [pattern(1, 6 << 20), pattern(2, 6 << 20)];
        let up = pair.open(Destination::stalled());
        let down = pair.open(Destination::source(data[1].clone()));
        let both = pair.open(Destination::echo());
        pair.set_reads(down, false);
        pair.set_reads(both, false);
        pair.destination(both).stall();
        pair.local(up).write(&data[0]);
        pair.local(both).write(&data[1]);
        pair.run_for(Duration::from_secs(120));

        for step in 0..3 {
            match (order + step * (1 + order % 2)) % 3 {
                0 => pair.destination(up).allow(usize::MAX),
                1 => pair.set_reads(down, true),
                _ => {
                    pair.destination(both).allow(usize::MAX);
                    pair.set_reads(both, true);
                }
            }
            pair.run_for(Duration::from_secs(90));
        }
        pair.settle();

        assert_whole(pair.destination(up).received(), &data[0]);
        assert_whole(pair.local(down).received(), &data[1]);
        assert_whole(pair.local(both).received(), &data[1]);
        assert_eq!(pair.local(down).end(), Some(&End::Clean), "order {order}");
    }
}

#[test]
fn a_blocked_websocket_bounds_what_is_queued() {
    let mut pair = fast();
    let stream = pair.open(Destination::echo());
    pair.settle();
    let until = pair.now + Duration::from_secs(300);
    pair.up.hold_until(until);
    pair.down.hold_until(until);
    pair.write(stream, &pattern(1, 3 << 20));

    pair.run_for(Duration::from_secs(299));
    let taken = pair.local(stream).written().len();
    pair.settle();

    assert!(taken <= WINDOW + MAX_UNSENT, "{taken} bytes");
    assert_whole(pair.local(stream).received(), &pattern(1, 3 << 20));
}

/// A pair without a journal, with a fast agent and path, so that minutes of virtual time are short.
fn fast() -> Pair {
    fast_setup().established()
}

fn fast_setup() -> PairOptions {
    let mut setup = PairOptions::default();
    setup.agent.pace = SendRate::Unlimited;
    setup.agent.retransmission = Retransmission::All;
    setup.agent.message_size = MESSAGE;
    setup.options.upload_rate = 0;
    setup.options.upload_payload = MESSAGE;
    setup.options.upload_window = WINDOW;
    setup.records = false;
    setup
}

/// Bytes that arrived for some streams and were not read.
fn unread(pair: &mut Pair, streams: &[StreamId]) -> usize {
    let read: usize = streams
        .iter()
        .map(|stream| pair.local(*stream).received().len())
        .sum();
    usize::try_from(pair.tunnel.stats().bytes_received).unwrap() - read
}

const MESSAGE: usize = 16 * 1024;
const WINDOW: usize = 512 * 1024;

/// Bytes that an agent buffers for destinations that do not read (docs/protocol.md section 8.3).
const AGENTS_BUDGET: usize = 4 << 20;
