//! The end of a session.

use std::time::Duration;

use bytes::Bytes;
use ssm_proxyd::proto::{Read, Reason};
use ssm_proxyd::wire::message::{MessageType, PayloadType};
use ssm_proxyd::wire::smux::Command;

use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::core_fixture::CoreFixture;
use crate::support::message_builder;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

#[test]
fn a_session_closed_by_the_client_ends_with_the_flag_and_its_acknowledgement() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::echo());
    pair.settle();
    let before = pair.elapsed();

    pair.close();
    pair.run_until(|pair| pair.closed.is_some());

    assert_eq!(pair.closed, Some(Reason::Finished));
    assert_eq!(pair.elapsed() - before, Duration::from_millis(20));
    assert!(pair.agent.is_terminated_by_flag());
    assert_eq!(
        pair.journal
            .up_sent
            .count(&MessageType::Input, PayloadType::Flag),
        1
    );
    assert_eq!(pair.destination(stream).state(), State::Closed);
    assert_eq!(pair.local(stream).end(), Some(&End::Lost(Reason::Finished)));
}

#[test]
fn an_unacknowledged_flag_is_waited_for_one_second() {
    let mut pair = Pair::established();
    let before = pair.elapsed();
    pair.up.lose_next_of(MessageType::Input, 99);

    pair.close();
    pair.run_until(|pair| pair.closed.is_some());

    assert_eq!(pair.closed, Some(Reason::Finished));
    assert_eq!(pair.elapsed() - before, Duration::from_secs(1));
}

#[test]
fn a_session_without_a_websocket_is_closed_within_a_second() {
    let mut pair = Pair::established();
    pair.disconnect(0, Delivery::No);
    let before = pair.elapsed();

    pair.close();
    pair.run_until(|pair| pair.closed.is_some());

    assert_eq!(pair.closed, Some(Reason::Finished));
    assert_eq!(pair.elapsed() - before, Duration::from_secs(1));
}

#[test]
fn a_lost_flag_is_retransmitted() {
    let mut pair = Pair::established();
    pair.up.lose_next_of(MessageType::Input, 1);

    pair.close();
    pair.run_until(|pair| pair.closed.is_some());

    assert!(pair.agent.is_terminated_by_flag());
    assert_eq!(pair.closed, Some(Reason::Finished));
}

#[test]
fn a_session_that_was_never_open_is_closed_immediately() {
    let mut pair = Pair::new(PairOptions::default());

    pair.close();

    assert_eq!(pair.closed, Some(Reason::Finished));
    assert_eq!(pair.next(), pair.agent.poll_timeout());
}

#[test]
fn the_end_of_the_session_loses_every_stream() {
    let mut pair = Pair::established();
    let silent = pair.open(Destination::sink());
    let sender = pair.open(Destination::source(pattern(1, 1_000_000)));
    pair.run_for(Duration::from_millis(300));

    pair.notify_client(message_builder::channel_closed("idle for too long"));
    pair.run_for(Duration::from_secs(1));

    let output = "idle for too long".to_owned();
    let reason = Reason::ClosedBecause {
        output: output.into(),
    };
    assert_eq!(pair.closed, Some(reason.clone()));
    assert_eq!(pair.local(silent).end(), Some(&End::Lost(reason.clone())));
    assert_eq!(pair.local(sender).end(), Some(&End::Lost(reason)));
    let received = pair.local(sender).received();
    assert_prefix(&pattern(1, 1_000_000), received);
    assert!(received.len() > 100_000);
}

#[test]
fn a_stream_that_ended_before_its_session_ended_cleanly() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::source(pattern(1, 3000)));
    pair.set_reads(stream, false);
    pair.settle();
    pair.notify_client(message_builder::channel_closed(""));
    pair.run_for(Duration::from_secs(1));

    pair.set_reads(stream, true);

    assert_whole(pair.local(stream).received(), &pattern(1, 3000));
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
}

#[test]
fn a_channel_end_behind_a_gap_is_not_an_end() {
    let mut fixture = CoreFixture::ready();
    let id = fixture.tunnel.open().unwrap();
    fixture.drain();
    fixture.receive(message_builder::output(
        2,
        &message_builder::frames(&[(Command::Psh, id, b"one")]),
    ));
    fixture.receive(message_builder::output(
        4,
        &message_builder::frames(&[(Command::Fin, id, b"")]),
    ));

    fixture.receive(message_builder::channel_closed(""));

    let one = Bytes::from_static(b"one");
    assert_eq!(fixture.tunnel.read(id, 99), Read::Data(one));
    assert_eq!(fixture.tunnel.read(id, 99), Read::Lost(Reason::Closed));
}

#[test]
fn a_flag_pending_without_a_websocket_is_sent_on_the_next_one() {
    let mut pair = Pair::established();
    pair.disconnect(0, Delivery::No);
    pair.close();
    pair.run_for(Duration::from_millis(500));

    pair.connect("another");
    pair.run_until(|pair| pair.closed.is_some());

    assert!(pair.agent.is_terminated_by_flag());
    assert_eq!(pair.closed, Some(Reason::Finished));
}

#[test]
fn data_received_before_the_end_of_the_session_can_be_read() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::greeting(pattern(1, 3000)));
    pair.set_reads(stream, false);
    pair.settle();
    pair.notify_client(message_builder::channel_closed(""));
    pair.run_for(Duration::from_secs(1));

    pair.set_reads(stream, true);

    assert_whole(pair.local(stream).received(), &pattern(1, 3000));
    assert_eq!(pair.local(stream).end(), Some(&End::Lost(Reason::Closed)));
}

#[test]
fn the_gateway_reports_a_dead_agent_with_its_message() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::echo());
    pair.settle();

    pair.agent.handle_crash(pair.now);
    pair.write(stream, b"anybody?");
    pair.run_until(|pair| pair.closed.is_some());

    let Some(Reason::ClosedBecause { output }) = &pair.closed else {
        panic!("{:?}", pair.closed);
    };
    assert!(output.contains("failed unexpectedly"), "{output}");
    let lost = End::Lost(pair.closed.clone().unwrap());
    assert_eq!(pair.local(stream).end(), Some(&lost));
}

#[test]
fn an_unreachable_host_ends_the_session_with_the_reason() {
    let mut setup = PairOptions::default();
    let refusal = "Forwarding to IP address 169.254.169.254 is forbidden.";
    setup.job.refusal = Some(refusal.to_owned());
    let mut pair = Pair::new(setup);

    pair.connect("token");
    pair.run_until(|pair| pair.closed.is_some());

    let output = refusal.to_owned();
    assert_eq!(
        pair.closed,
        Some(Reason::ClosedBecause {
            output: output.into()
        })
    );
    assert_eq!(pair.ready, None);
}

#[test]
fn a_session_ended_by_the_api_closes_the_channel() {
    let mut pair = Pair::established();

    pair.agent.handle_channel_closed(pair.now);
    pair.settle();

    assert_eq!(pair.closed, Some(Reason::Closed));
}

#[test]
fn the_owner_of_a_tunnel_may_abort_it() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::echo());
    let why = "no websocket for five minutes".to_owned();

    pair.tunnel.abandon(why.clone());
    pair.wake();

    let reason = Reason::Lost { why: why.into() };
    assert_eq!(pair.closed, Some(reason.clone()));
    assert_eq!(pair.local(stream).end(), Some(&End::Lost(reason)));
}
