//! Tests when the end of a session without a mux is the end of its destination, and when it is a
//! loss.

use std::num::NonZeroU32;
use std::time::Duration;

use ssm_proxyd::proto::Reason;
use ssm_proxyd::sim::link::LinkConditions;
use ssm_proxyd::wire::message::{MessageType, PayloadType};

use super::ready;
use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::message_builder;
use crate::support::pair::{Delivery, Pair};
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

/// The agent's websocket breaks, the destination ends meanwhile, and the agent closes before it has
/// retransmitted the lost bytes. Our websocket stays connected.
#[test]
fn final_bytes_lost_with_the_agents_websocket_are_a_loss() {
    let answer = pattern(8, 400_000);
    let mut truncated = 0;
    for millis in (100..4500).step_by(100) {
        let mut pair = ready(Destination::answering(1, answer.clone()));
        let id = pair.open_single();
        pair.write(id, b"x");
        pair.run_for(Duration::from_millis(400));

        pair.disconnect_agent(0, Delivery::Yes);
        pair.run_for(Duration::from_millis(millis));
        pair.reconnect_agent();
        pair.run_for(Duration::from_secs(60));

        let whole = pair.local(id).received() == answer;
        let expected = if whole {
            End::Clean
        } else {
            End::Lost(Reason::Closed)
        };
        assert_prefix(&answer, pair.local(id).received());
        assert_eq!(pair.local(id).end(), Some(&expected), "{millis} ms");
        truncated += usize::from(!whole);
    }
    assert!(truncated > 30, "{truncated}");
}

/// A service that notices immediately that the agent is disconnected, and reports no reason.
#[test]
fn an_agent_killed_during_a_transfer_is_a_loss() {
    for millis in 0..200 {
        let mut pair = ready(Destination::answering(1, pattern(9, 400_000)));
        let id = pair.open_single();
        pair.write(id, b"x");
        pair.run_for(Duration::from_millis(200 + millis));

        pair.agent.handle_crash(pair.now);
        pair.notify_client(message_builder::channel_closed(""));
        pair.run_for(Duration::from_secs(5));

        let lost = End::Lost(Reason::Closed);
        assert_eq!(pair.local(id).end(), Some(&lost), "after {millis} ms");
    }
}

#[test]
fn bytes_that_were_not_acknowledged_make_an_end_a_loss() {
    let mut pair = ready(Destination::echo());
    let id = pair.open_single();
    pair.run_for(Duration::from_secs(5));

    pair.agent.handle_crash(pair.now);
    pair.write(id, b"the agent is dead");
    pair.run_for(Duration::from_millis(100));
    pair.notify_client(message_builder::channel_closed(""));
    pair.run_for(Duration::from_secs(5));

    assert_eq!(pair.local(id).end(), Some(&End::Lost(Reason::Closed)));
}

#[test]
fn an_end_that_cannot_be_read_is_a_loss() {
    let mut pair = ready(Destination::greeting(b"hello".to_vec()));
    let id = pair.open_single();
    pair.run_for(Duration::from_secs(10));

    let unreadable = message_builder::message(
        MessageType::ChannelClosed,
        0,
        PayloadType::None,
        b"{\"Output\"",
    );
    pair.notify_client(unreadable);
    pair.run_for(Duration::from_secs(1));

    assert_eq!(pair.local(id).received(), b"hello");
    let end = pair.local(id).end().cloned();
    let unreadable = matches!(end, Some(End::Lost(Reason::Payload { .. })));
    assert!(unreadable, "{end:?}");
}

/// The agent has closed before it is known to be ready.
#[test]
fn the_bytes_of_a_destination_that_closes_at_once_are_read() {
    let data = b"Not allowed at this time\r\n";
    for micros in (0..60_000).step_by(500) {
        let mut setup = PairOptions::single();
        setup.up = LinkConditions::delayed(Duration::from_micros(micros));
        let mut pair = Pair::new(setup);
        pair.set_destination(Destination::source(data.to_vec()));
        pair.connect("token");
        pair.run_until(|pair| pair.ready.is_some());
        pair.run_for(Duration::from_secs(1));

        let id = pair.open_single();
        pair.settle();

        assert_eq!(pair.local(id).received(), data);
        assert_eq!(pair.local(id).end(), Some(&End::Clean), "{micros} µs");
        assert_eq!(pair.closed, Some(Reason::Closed));
    }
}

#[test]
fn the_bytes_of_a_destination_that_breaks_at_once_are_read() {
    let mut pair = Pair::new(PairOptions::single());
    pair.set_destination(Destination::abrupt(0, b"half a ban".to_vec()));
    pair.connect("token");
    pair.run_until(|pair| pair.closed.is_some());

    let id = pair.open_single();
    pair.settle();

    assert_eq!(pair.local(id).received(), b"half a ban");
    // Agents do not report that a destination was reset (docs/protocol.md section 0.2).
    assert!(pair.local(id).end().is_some());
}

/// All messages are queued for seconds, and the agent closes without an acknowledgement.
#[test]
fn a_slow_path_does_not_make_an_end_a_loss() {
    let answer = pattern(10, 600_000);
    let mut setup = PairOptions::single();
    setup.down.bandwidth = NonZeroU32::new(60_000);
    let mut pair = Pair::new(setup);
    pair.set_destination(Destination::answering(1, answer.clone()));
    pair.connect("token");
    pair.run_until(|pair| pair.ready.is_some());
    let id = pair.open_single();

    pair.write(id, b"x");
    pair.run_for(Duration::from_secs(100));

    assert_eq!(pair.destination(id).state(), State::Ended);
    assert_whole(pair.local(id).received(), &answer);
    assert_eq!(pair.local(id).end(), Some(&End::Clean));
}

/// An agent is probed once for each pause, and not repeatedly.
#[test]
fn a_silent_agent_is_probed_once() {
    let mut pair = ready(Destination::greeting(b"hello".to_vec()));
    let _id = pair.open_single();
    pair.run_for(Duration::from_secs(3));
    let before = pair.tunnel.stats().sent;

    pair.run_for(Duration::from_secs(1000));

    assert_eq!(pair.tunnel.stats().sent, before);
}
