//! Acknowledged, duplicate, early, lost and damaged messages.

use std::time::Duration;

use bytes::Bytes;
use ssm_proxyd::proto::Reason;
use ssm_proxyd::wire::message::{DecodeError, Message, MessageType, PayloadType};
use ssm_proxyd::wire::payload::{self, Acknowledge};

use crate::support::agent_destination::Destination;
use crate::support::client::End;
use crate::support::core_fixture::CoreFixture;
use crate::support::message_builder;
use crate::support::pair::Pair;
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_whole, pattern};

#[test]
fn every_message_is_acknowledged_once_by_its_number_and_id() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::source(pattern(1, 20_000)));

    pair.settle();

    let outputs = pair.journal.down_arrived.of(&MessageType::Output);
    let acknowledgements = pair.journal.up_sent.of(&MessageType::Acknowledge);
    assert!(outputs.len() > 20);
    assert_eq!(outputs.len(), acknowledgements.len());
    for ((_, output), (_, acknowledgement)) in outputs.iter().zip(&acknowledgements) {
        let body: Acknowledge = payload::decode(&acknowledgement.payload).unwrap();
        assert_eq!(body.seq, i64::try_from(output.header.seq.0).unwrap());
        assert_eq!(body.id, output.header.id.to_string());
        assert_eq!(body.kind, "output_stream_data");
        assert!(body.sequential);
        assert_eq!(acknowledgement.header.flags, 3);
        assert_eq!(acknowledgement.header.payload_type, PayloadType::None);
    }
    assert_whole(pair.local(stream).received(), &pattern(1, 20_000));
}

#[test]
fn a_duplicate_is_acknowledged_again_and_delivered_once() {
    let mut pair = Pair::established();
    pair.down.duplicate_next_of(MessageType::Output, 3);

    let stream = pair.open(Destination::source(pattern(1, 9000)));
    pair.settle();

    assert_whole(pair.local(stream).received(), &pattern(1, 9000));
    assert_eq!(pair.tunnel.stats().duplicates, 3);
    let acknowledgements = pair.journal.up_sent.of(&MessageType::Acknowledge).len();
    assert_eq!(
        acknowledgements,
        pair.journal.down_arrived.of(&MessageType::Output).len()
    );
}

#[test]
fn a_lost_acknowledgement_is_repeated_after_the_duplicate() {
    let mut pair = Pair::established();
    pair.up.lose_next_of(MessageType::Acknowledge, 2);

    let stream = pair.open(Destination::source(pattern(1, 3000)));
    pair.settle();

    assert_whole(pair.local(stream).received(), &pattern(1, 3000));
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    assert_eq!(pair.agent.unacknowledged(), 0);
    assert_eq!(pair.tunnel.stats().duplicates, 2);
}

#[test]
fn early_messages_are_acknowledged_at_once_and_delivered_in_order() {
    let mut pair = Pair::established();
    pair.down
        .delay_next_of(MessageType::Output, Duration::from_millis(70));

    let stream = pair.open(Destination::source(pattern(1, 9000)));
    pair.settle();

    assert_whole(pair.local(stream).received(), &pattern(1, 9000));
    assert!(pair.tunnel.stats().early >= 7, "{:?}", pair.tunnel.stats());
    assert_eq!(pair.tunnel.stats().duplicates, 0);
    assert_eq!(pair.agent.stats().retransmitted, 0);
}

#[test]
fn a_lost_message_is_retransmitted_and_no_other() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.journal.up_sent.clear();
    let before = pair.tunnel.stats();
    pair.up.lose_next(1);

    for text in [&b"first "[..], b"second ", b"third"] {
        pair.write(stream, text);
    }
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"first second third");
    assert_eq!(pair.tunnel.stats().retransmitted, before.retransmitted + 1);
    let [first, .., last] = pair.journal.up_sent.entries() else {
        panic!("expected three messages and a duplicate");
    };
    assert_eq!(first.1, last.1, "the retransmission must be identical");
}

#[test]
fn each_retransmission_waits_twice_as_long_and_is_identical() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    pair.journal.up_sent.clear();
    pair.up.lose_next_of(MessageType::Input, 5);

    pair.write(stream, b"again and again");
    pair.settle();

    let copies = pair.journal.up_sent.entries();
    let pauses: Vec<_> = copies.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert_eq!(copies.len(), 6);
    assert!(copies.iter().all(|(_, frame)| *frame == copies[0].1));
    assert!(
        pauses.windows(2).all(|two| two[1] == 2 * two[0]),
        "{pauses:?}"
    );
    assert_eq!(pair.destination(stream).received(), b"again and again");
}

#[test]
fn a_retransmitted_message_gives_no_round_trip_sample() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    let before = pair.tunnel.rtt();
    pair.up.lose_next_of(MessageType::Input, 4);

    pair.write(stream, b"late");
    pair.settle();

    assert_eq!(pair.tunnel.rtt(), before);
    pair.write(stream, b"prompt");
    pair.settle();
    assert_ne!(pair.tunnel.rtt(), before);
}

#[test]
fn acknowledgements_are_sent_before_data() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::echo());
    pair.settle();
    pair.local(stream).write(&pattern(1, 300_000));

    pair.run_for(Duration::from_secs(2));

    let entries = pair.journal.up_sent.entries();
    let sent = entries.iter().map(|(at, frame)| {
        let message = Message::decode(frame.clone()).unwrap();
        (*at, message.header.kind == MessageType::Acknowledge)
    });
    let sent: Vec<_> = sent.collect();
    let behind = |two: &&[(_, bool)]| two[0].0 == two[1].0 && !two[0].1 && two[1].1;
    let acknowledgements = sent
        .iter()
        .filter(|(_, acknowledges)| *acknowledges)
        .count();
    assert!(acknowledgements > 100);
    assert_eq!(sent.windows(2).filter(behind).count(), 0);
}

#[test]
fn acknowledgements_are_sent_before_retransmissions() {
    let mut fixture = CoreFixture::ready();
    let id = fixture.tunnel.open().unwrap();
    fixture.tunnel.write(id, b"unacknowledged");
    fixture.drain();
    let output = message_builder::output(2, b"");
    fixture.tunnel.handle_message(fixture.now, output).unwrap();
    fixture.tunnel.handle_disconnected(fixture.now);
    fixture.sent.clear();

    fixture.tunnel.handle_connected(fixture.now, "another");
    fixture.drain();

    let kinds: Vec<_> = fixture.sent.iter().map(|m| &m.header.kind).collect();
    assert_eq!(kinds, [&MessageType::Acknowledge, &MessageType::Input]);
}

#[test]
fn an_early_message_received_twice_is_acknowledged_twice() {
    let mut fixture = CoreFixture::ready();

    fixture.receive(message_builder::output(5, b""));
    fixture.receive(message_builder::output(5, b""));

    assert_eq!(fixture.sent_of(&MessageType::Acknowledge).len(), 2);
    assert_eq!(fixture.tunnel.stats().duplicates, 1);
}

#[test]
fn acknowledgements_are_sent_while_publication_is_paused_and_data_is_not() {
    let mut fixture = CoreFixture::ready();
    let id = fixture.tunnel.open().unwrap();
    fixture.tunnel.write(id, b"held back");
    let output = message_builder::output(2, b"");
    fixture.tunnel.handle_message(fixture.now, output).unwrap();

    fixture.receive(message_builder::publication(MessageType::PausePublication));

    assert_eq!(fixture.sent_of(&MessageType::Acknowledge).len(), 1);
    assert_eq!(fixture.sent_of(&MessageType::Input).len(), 0);
}

#[test]
fn a_pause_without_a_start_ends_after_five_seconds() {
    let mut fixture = CoreFixture::ready();
    let id = fixture.tunnel.open().unwrap();
    fixture.receive(message_builder::publication(MessageType::PausePublication));
    fixture.tunnel.write(id, b"held back");

    fixture.wait(Duration::from_millis(4_999));
    assert_eq!(fixture.sent_of(&MessageType::Input).len(), 0);
    fixture.wait(Duration::from_millis(1));

    assert_eq!(fixture.sent_of(&MessageType::Input).len(), 1);
}

#[test]
fn repeated_pauses_do_not_stop_publication_indefinitely() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.write(stream, &pattern(1, 900_000));

    for _ in 0..30 {
        pair.notify_client(message_builder::publication(MessageType::PausePublication));
        pair.run_for(Duration::from_secs(1));
    }

    assert_whole(pair.destination(stream).received(), &pattern(1, 900_000));
}

#[test]
fn a_pause_ends_with_a_start_or_with_any_output() {
    let start = message_builder::publication(MessageType::StartPublication);
    for message in [start, message_builder::output(2, b"")] {
        let mut fixture = CoreFixture::ready();
        fixture.receive(message_builder::publication(MessageType::PausePublication));
        let id = fixture.tunnel.open().unwrap();
        fixture.tunnel.write(id, b"held back");
        fixture.drain();
        assert_eq!(fixture.sent_of(&MessageType::Input).len(), 0);

        fixture.receive(message);

        assert_eq!(fixture.sent_of(&MessageType::Input).len(), 1);
    }
}

#[test]
fn a_damaged_message_from_the_agent_is_not_acknowledged_and_arrives_again() {
    let mut pair = Pair::established();
    pair.down.damage_next_of(MessageType::Output, 2);

    let stream = pair.open(Destination::source(pattern(1, 5000)));
    pair.settle();

    assert_whole(pair.local(stream).received(), &pattern(1, 5000));
    assert_eq!(pair.tunnel.stats().damaged, 2);
    assert_eq!(pair.tunnel.stats().duplicates, 0);
    assert!(pair.agent.stats().retransmitted >= 2);
}

#[test]
fn a_damaged_message_to_the_agent_is_retransmitted() {
    let mut setup = PairOptions::default();
    setup.agent.digests = ssm_proxyd::sim::agent::Digests::Required;
    let mut pair = setup.established();
    let stream = pair.open(Destination::sink());
    pair.run_for(Duration::from_secs(1));
    let before = pair.tunnel.stats().retransmitted;
    pair.up.damage_next_of(MessageType::Input, 1);

    pair.write(stream, b"whole");
    pair.run_for(Duration::from_secs(5));

    assert_eq!(pair.destination(stream).received(), b"whole");
    assert_eq!(pair.tunnel.stats().retransmitted, before + 1);
}

#[test]
fn a_peer_whose_digests_are_always_wrong_ends_the_tunnel() {
    let mut fixture = CoreFixture::ready();
    let mut wrong = message_builder::output(2, b"x").to_vec();
    *wrong.last_mut().unwrap() ^= 1;

    for _ in 0..100 {
        fixture.receive(wrong.clone().into());
    }

    assert_eq!(
        fixture.tunnel.ended(),
        Some(&Reason::Message(DecodeError::Digest))
    );
    assert_eq!(fixture.sent_of(&MessageType::Acknowledge).len(), 0);
}

#[test]
fn a_few_invalid_frames_are_ignored_once_the_agent_is_connected() {
    let half = message_builder::message(MessageType::AgentSessionState, 2, PayloadType::None, b"")
        .slice(..60);
    let text = Bytes::from_static(b"{\"what\": \"is this\"}");
    let message = message_builder::message(MessageType::Acknowledge, 0, PayloadType::None, b"[]");
    for invalid in [Bytes::new(), half, text, message] {
        let mut fixture = CoreFixture::ready();

        fixture.receive(invalid.clone());
        assert_eq!(fixture.tunnel.ended(), None);
        for _ in 0..16 {
            fixture.receive(invalid.clone());
        }
        assert!(
            fixture.tunnel.ended().is_some(),
            "too many frames must end the tunnel"
        );

        let mut early = CoreFixture::new();
        early.receive(invalid);
        assert!(
            early.tunnel.ended().is_some(),
            "frames before the agent must end the tunnel"
        );
    }
}

#[test]
fn messages_made_by_the_gateway_need_only_their_known_fields() {
    let mut fixture = CoreFixture::ready();
    let closed = message_builder::channel_closed("gone");
    let mut bare = closed.to_vec();
    // No date, and a negative number.
    bare[40..48].fill(0);
    bare[48..56].fill(0xff);
    let number_alone = br#"{"AcknowledgedMessageSequenceNumber":2,"AcknowledgedMessageId":null}"#;

    fixture.tunnel.open().unwrap();
    fixture.drain();
    let message =
        message_builder::message(MessageType::Acknowledge, 0, PayloadType::None, number_alone);
    fixture.receive(message);
    assert!(fixture.tunnel.ended().is_none());
    fixture.receive(bare.into());

    let output = "gone".to_owned();
    assert_eq!(
        fixture.tunnel.ended(),
        Some(&Reason::ClosedBecause {
            output: output.into()
        })
    );
}

#[test]
fn an_acknowledgement_of_an_unknown_message_changes_nothing() {
    let mut fixture = CoreFixture::ready();
    let id = fixture.tunnel.open().unwrap();
    fixture.tunnel.write(id, b"x");
    fixture.drain();

    for seq in [-1, i64::MIN, 99, i64::MAX, 0, 1] {
        fixture.receive(message_builder::acknowledge(&MessageType::Input, seq));
    }

    assert_eq!(fixture.tunnel.ended(), None);
    assert!(!fixture.tunnel.is_quiet());
    fixture.wait(Duration::from_secs(1));
    assert_eq!(
        fixture.sent_of(&MessageType::Input).len(),
        2,
        "the message must be retransmitted"
    );
}

#[test]
fn messages_not_meant_for_a_client_are_ignored() {
    let mut fixture = CoreFixture::ready();
    let foreign = MessageType::Other("job_reply".to_owned());

    for kind in [MessageType::Input, MessageType::AgentSessionState, foreign] {
        fixture.receive(message_builder::message(
            kind,
            2,
            PayloadType::Output,
            b"not ours",
        ));
    }

    assert_eq!(fixture.tunnel.ended(), None);
    assert!(fixture.sent.is_empty() && fixture.events.is_empty());
}
