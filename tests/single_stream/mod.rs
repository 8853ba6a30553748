//! Sessions without a mux, in virtual time: one connection, whose end is the end of the session.

mod chaos;
mod ends;

use std::time::Duration;

use ssm_proxyd::proto::{OpenError, Reason, StreamId, Upload};

use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::message_builder;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

#[test]
fn every_byte_arrives_both_ways_and_the_end_is_clean() {
    let (data, answer) = (pattern(1, 300_000), pattern(2, 100_000));
    let mut pair = ready(Destination::answering(data.len(), answer.clone()));
    let id = pair.open_single();

    pair.write(id, &data);
    pair.settle();

    assert_whole(pair.destination(id).received(), &data);
    assert_whole(pair.local(id).received(), &answer);
    assert_eq!(pair.local(id).end(), Some(&End::Clean));
    assert_eq!(pair.closed, Some(Reason::Closed));
    assert_eq!(pair.tunnel.stats().bytes_sent, 300_000);
    assert_eq!(pair.tunnel.stats().bytes_received, 100_000);
}

#[test]
fn a_banner_received_before_the_stream_is_opened_is_read() {
    let mut pair = ready(Destination::greeting(b"SSH-2.0-x\r\n".to_vec()));
    pair.run_for(Duration::from_secs(10));

    let id = pair.open_single();
    pair.settle();

    assert_eq!(pair.local(id).received(), b"SSH-2.0-x\r\n");
}

#[test]
fn a_session_without_a_mux_has_only_one_stream() {
    let mut pair = ready(Destination::echo());

    let id = pair.open_single();

    assert_eq!(id, StreamId(0));
    assert_eq!(pair.tunnel.open(), Err(OpenError::Exhausted));
}

#[test]
fn a_pool_that_shares_sessions_learns_that_this_one_cannot_be_shared() {
    let mut setup = PairOptions::single();
    setup.options.shared = true;
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::echo());

    pair.connect("token");
    pair.run_until(|pair| pair.closed.is_some());

    let why = pair.closed.clone().unwrap().to_string();
    assert!(why.contains("per_connection"), "{why}");
}

#[test]
fn an_eof_of_the_client_does_not_truncate_the_response() {
    let answer = pattern(3, 50_000);
    let mut pair = ready(Destination::answering(5, answer.clone()));
    let id = pair.open_single();

    pair.write(id, b"quit\n");
    pair.finish(id);
    pair.settle();

    assert_whole(pair.local(id).received(), &answer);
    assert_eq!(pair.local(id).end(), Some(&End::Clean));
}

#[test]
fn bytes_written_before_the_client_closed_arrive() {
    let data = pattern(4, 100_000);
    let mut pair = ready(Destination::echo());
    let id = pair.open_single();

    pair.write(id, &data);
    pair.reset(id);
    pair.run_until(|pair| pair.tunnel.traffic(id) == (0, 0));

    assert_whole(pair.destination(id).received(), &data);
    assert_eq!(pair.tunnel.upload(id), Upload::Delivered);
    assert_eq!(pair.closed, None, "the session must be ended by its owner");
}

#[test]
fn closing_ends_the_session_with_the_flag() {
    let mut pair = ready(Destination::echo());
    let id = pair.open_single();

    pair.close();
    pair.settle();

    assert_eq!(pair.closed, Some(Reason::Finished));
    assert!(pair.agent.is_terminated_by_flag());
    assert_eq!(pair.destination(id).state(), State::Closed);
    assert_eq!(pair.local(id).end(), Some(&End::Lost(Reason::Finished)));
}

#[test]
fn an_end_with_a_message_from_the_agent_is_a_loss() {
    let mut pair = ready(Destination::greeting(b"bye".to_vec()));
    let id = pair.open_single();
    pair.settle();

    pair.notify_client(message_builder::channel_closed("the agent gives up"));
    pair.run_for(Duration::from_secs(1));

    assert_eq!(pair.local(id).received(), b"bye");
    let end = pair.local(id).end().cloned();
    let because = matches!(end, Some(End::Lost(Reason::ClosedBecause { .. })));
    assert!(because, "{end:?}");
}

#[test]
fn an_end_behind_a_gap_is_a_loss() {
    let data = pattern(5, 3000);
    let mut pair = ready(Destination::greeting(data.clone()));
    let id = pair.open_single();
    pair.settle();

    pair.notify_client(message_builder::output(100, b"far ahead"));
    pair.notify_client(message_builder::channel_closed(""));
    pair.run_for(Duration::from_secs(1));

    assert_whole(pair.local(id).received(), &data);
    assert_eq!(pair.local(id).end(), Some(&End::Lost(Reason::Closed)));
}

#[test]
fn a_destination_that_refuses_is_reported_as_soon_as_the_agent_closes() {
    let mut pair = Pair::new(PairOptions::single());
    pair.set_destination(Destination::refusing());

    pair.connect("token");
    pair.run_until(|pair| pair.closed.is_some());

    assert_eq!(pair.closed, Some(Reason::ClosedAtOnce));
    assert!(pair.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_unresponsive_destination_is_reported_after_some_seconds() {
    let mut pair = Pair::new(PairOptions::single());
    pair.set_destination(Destination::black_hole());

    pair.connect("token");
    pair.run_until(|pair| pair.closed.is_some());

    assert_eq!(pair.closed, Some(Reason::NoAnswer));
    assert!(
        pair.elapsed() < Duration::from_secs(11),
        "{:?}",
        pair.elapsed()
    );
}

#[test]
fn time_without_a_websocket_does_not_count_as_silence() {
    let mut pair = Pair::new(PairOptions::single());
    pair.set_destination(Destination::echo().dialled_in(Duration::from_secs(9)));

    pair.connect("token");
    pair.run_for(Duration::from_secs(5));
    pair.disconnect(0, Delivery::Yes);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.closed, None);
    pair.connect("another");
    pair.run_until(|pair| pair.ready.is_some());

    assert_eq!(pair.closed, None);
}

#[test]
fn a_session_is_kept_alive_by_messages_without_payload() {
    let mut setup = PairOptions::single();
    setup.options.keep_alive = true;
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::echo());
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    let id = pair.open_single();
    let before = pair.tunnel.stats().sent;

    pair.run_for(Duration::from_secs(200));

    assert!(pair.tunnel.stats().sent >= before + 5);
    assert_eq!(pair.destination(id).received(), b"");
}

#[test]
fn an_old_agent_gets_no_mux_frames() {
    let mut setup = PairOptions::of_version("3.0.196.0");
    setup.job.properties.remove("type");
    setup.options.shared = false;
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::echo());
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    let id = pair.open_single();

    pair.write(id, b"hello");
    pair.run_for(Duration::from_secs(100));

    assert_eq!(pair.local(id).received(), b"hello");
    assert_eq!(pair.destination(id).received(), b"hello");
}

#[test]
fn a_websocket_may_break_after_every_message() {
    for at in 0..90 {
        for (spared, kept) in [(0, Delivery::No), (0, Delivery::Yes), (2, Delivery::No)] {
            let (data, answer) = (pattern(6, 9000), pattern(7, 30_000));
            let mut pair = Pair::new(PairOptions::single());
            pair.set_destination(Destination::answering(data.len(), answer.clone()));
            pair.connect("token");
            pair.run_until(|pair| pair.ready.is_some());
            let id = pair.open_single();
            pair.write(id, &data);
            pair.run_until_sent(pair.messages() + at);

            pair.disconnect(spared, kept);
            pair.stop_at = None;
            pair.run_for(Duration::from_millis(700));
            pair.connect("another");
            pair.settle();

            let case = format!("broken after {at} with {spared} spared, {kept:?}");
            assert_whole(pair.destination(id).received(), &data);
            let whole = pair.local(id).received() == answer;
            match pair.local(id).end() {
                Some(End::Clean) => assert!(whole, "{case}"),
                Some(End::Lost(Reason::Closed)) => {}
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}

/// The final bytes of a response are lost with the websocket, and the agent closes before it has
/// retransmitted all of them: no received message shows a gap.
#[test]
fn missing_final_bytes_are_a_loss() {
    let answer = pattern(8, 100_000);
    let mut pair = ready(Destination::answering(1, answer));
    let id = pair.open_single();
    pair.write(id, b"x");
    pair.run_until(|pair| pair.local_of(id).received().len() > 20_000);

    pair.disconnect(0, Delivery::No);
    pair.run_for(Duration::from_millis(300));
    assert_eq!(pair.destination(id).state(), State::Ended);
    pair.connect("another");
    pair.settle();

    let len = pair.local(id).received().len();
    assert!((20_000..100_000).contains(&len), "{len} bytes arrived");
    assert_eq!(pair.local(id).end(), Some(&End::Lost(Reason::Closed)));
}

/// Long after a resume an end is trusted again, with and without data before it.
#[test]
fn an_end_some_time_after_a_resume_is_clean() {
    for sends in [false, true] {
        let mut pair = ready(Destination::answering(1, vec![7; usize::from(sends)]));
        let id = pair.open_single();
        pair.run_for(Duration::from_secs(5));
        pair.disconnect(0, Delivery::No);
        pair.run_for(Duration::from_secs(1));
        pair.connect("another");
        pair.run_for(Duration::from_secs(4));

        pair.write(id, b"x");
        pair.settle();

        assert_eq!(pair.local(id).end(), Some(&End::Clean), "sends: {sends}");
    }
}

fn ready(destination: Destination) -> Pair {
    let mut pair = Pair::new(PairOptions::single());
    pair.set_destination(destination);
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    pair
}
