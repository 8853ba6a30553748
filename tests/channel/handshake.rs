//! From the first message to `Ready`.

use std::time::Duration;

use bytes::Bytes;
use ssm_proxyd::proto::{self, Event, OpenError, Reason};
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType, Seq};
use ssm_proxyd::wire::payload::{self, HandshakeResponse};
use ssm_proxyd::wire::smux::{Command, Header, StreamId};

use crate::support::agent_destination::Destination;
use crate::support::core_fixture::CoreFixture;
use crate::support::message_builder;
use crate::support::pair::Pair;
use crate::support::pair_options::PairOptions;

#[test]
fn a_channel_opens_with_a_text_frame_and_the_first_messages_in_order() {
    let pair = Pair::established();

    let [opening] = &pair.openings[..] else {
        panic!("{} OpenDataChannel messages", pair.openings.len());
    };
    assert_eq!(opening.message_schema_version, "1.0");
    assert_eq!(opening.token_value, "token");
    assert_eq!(opening.client_id.len(), 36);
    assert_eq!(opening.request_id.len(), 36);
    assert_ne!(opening.client_id, opening.request_id);
    let inputs = pair.journal.up_sent.of(&MessageType::Input);
    let response: HandshakeResponse = payload::decode(&inputs[0].1.payload).unwrap();
    assert_eq!(
        inputs[0].1.header.payload_type,
        PayloadType::HandshakeResponse
    );
    assert_eq!(response.processed_client_actions.len(), 1);
    assert_eq!(response.processed_client_actions[0].action_status, 1);
    let probe = Header::bare(Command::Nop, StreamId(0)).encode();
    assert_eq!(inputs[1].1.header.payload_type, PayloadType::Output);
    assert_eq!(inputs[1].1.payload, Bytes::copy_from_slice(&probe));
    assert!(inputs[1..].iter().all(|(_, m)| m.payload == probe[..]));
    assert!(inputs[1..].iter().all(|(_, m)| m.header.seq <= Seq(3)));
}

#[test]
fn the_same_client_version_is_sent_in_both_places() {
    let pair = Pair::established();

    assert_eq!(pair.openings[0].client_version, "1.2.764.0");
    assert_eq!(pair.agent.client_version(), "1.2.764.0");
    assert_eq!(proto::ClientVersion::DEFAULT.to_string(), "1.2.764.0");
}

#[test]
fn a_repeated_handshake_request_gets_one_response() {
    let mut pair = Pair::new(PairOptions::default());
    pair.down.duplicate_next_of(MessageType::Output, 2);
    pair.up.duplicate_next_of(MessageType::Input, 1);
    pair.up.lose_next_of(MessageType::Acknowledge, 3);

    pair.connect("token");
    pair.settle();

    let inputs = pair.journal.up_sent.of(&MessageType::Input);
    let responses = inputs
        .iter()
        .filter(|(_, m)| m.header.payload_type == PayloadType::HandshakeResponse);
    let mut numbers: Vec<_> = responses.map(|(_, m)| m.header.seq).collect();
    numbers.dedup();
    assert_eq!(numbers, [Seq(0)]);
    assert_eq!(pair.ready.as_deref(), Some("3.3.987.0"));
}

#[test]
fn no_user_data_is_sent_before_the_agent_is_ready() {
    let mut setup = PairOptions::default();
    setup.agent.readiness = Duration::from_millis(400)..Duration::from_millis(400);
    let mut pair = Pair::new(setup);

    pair.connect("token");
    let mut early = None;
    while pair.ready.is_none() {
        early = early.or_else(|| pair.tunnel.open().ok());
        pair.now = pair.next().expect("the agent must become ready");
        pair.wake();
    }

    assert_eq!(early, None);
    assert!(pair.elapsed() > Duration::from_millis(400));
    let first = pair.open(Destination::echo());
    assert_eq!(first, StreamId(3));
}

#[test]
fn a_stream_is_refused_before_the_handshake_and_after_the_end() {
    let mut pair = Pair::new(PairOptions::default());

    let before = pair.tunnel.open();
    pair.tunnel.abandon("no network".to_owned());
    let after = pair.tunnel.open();

    assert_eq!(before, Err(OpenError::NotReady));
    let why = "no network".to_owned();
    assert_eq!(
        after,
        Err(OpenError::Ended(Reason::Lost { why: why.into() }))
    );
}

#[test]
fn the_probe_is_repeated_quickly_and_then_slower_until_it_is_acknowledged() {
    let mut setup = PairOptions::default();
    setup.agent.readiness = Duration::from_millis(300)..Duration::from_millis(300);

    let pair = setup.established();

    let probes: Vec<_> = pair.journal.up_sent.of(&MessageType::Input)[1..]
        .iter()
        .filter(|(_, message)| message.header.seq == Seq(1))
        .map(|(at, _)| *at)
        .collect();
    let pauses: Vec<_> = probes.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[..10].iter().all(|p| *p == Duration::from_millis(3)));
    assert!(pauses.is_sorted());
    assert_eq!(pauses.last(), Some(&Duration::from_millis(50)));
    assert_eq!(pair.tunnel.stats().sent, 4);
    let retransmitted = pair.tunnel.stats().retransmitted - (probes.len() as u64 - 1);
    assert!(
        retransmitted < 10,
        "the others must be acknowledged immediately"
    );
}

#[test]
fn a_message_from_the_agent_reaches_the_user() {
    let mut fixture = CoreFixture::new();

    fixture.receive(message_builder::handshake_request(0, "3.3.987.0", ""));
    fixture.receive(message_builder::handshake_complete(1, "be careful"));

    assert_eq!(fixture.events, [Event::Notice("be careful".into())]);
}

#[test]
fn a_request_for_encryption_is_answered_unsupported() {
    let mut fixture = CoreFixture::new();
    let kms =
        r#",{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"k","Challenge":"AAAA"}}"#;

    fixture.receive(message_builder::handshake_request(0, "3.3.987.0", kms));

    let response = fixture
        .sent
        .iter()
        .find(|m| m.header.kind == MessageType::Input);
    let response: HandshakeResponse = payload::decode(&response.unwrap().payload).unwrap();
    let statuses: Vec<_> = response
        .processed_client_actions
        .iter()
        .map(|action| (action.action_type.as_str(), action.action_status))
        .collect();
    assert_eq!(statuses, [("SessionType", 1), ("KMSEncryption", 3)]);
    assert_eq!(fixture.tunnel.ended(), None);
}

#[test]
fn an_agent_that_requires_encryption_is_reported_and_not_answered() {
    let mut fixture = CoreFixture::new();
    fixture.receive(message_builder::handshake_request(0, "3.3.987.0", ""));
    let kind = PayloadType::EncChallengeRequest;

    fixture.receive(message_builder::message(
        MessageType::Output,
        1,
        kind,
        br#"{"Challenge":"AAAA"}"#,
    ));

    let why = fixture.tunnel.ended().unwrap().to_string();
    assert!(why.contains("KMS"), "{why}");
    let forbidden = |m: &Message| m.header.payload_type == PayloadType::EncChallengeResponse;
    assert!(!fixture.sent.iter().any(forbidden));
}

#[test]
fn a_shell_that_starts_without_a_handshake_is_reported() {
    let mut fixture = CoreFixture::new();

    fixture.receive(message_builder::output(0, b"$ "));

    let why = fixture.tunnel.ended().unwrap().to_string();
    assert!(why.contains("without a handshake"), "{why}");
}

#[test]
fn a_restarted_handshake_is_not_answered_again() {
    let mut fixture = CoreFixture::new();
    fixture.receive(message_builder::handshake_request(0, "3.3.987.0", ""));

    fixture.receive(message_builder::handshake_request(1, "3.3.987.0", ""));

    let responses = |m: &&Message| m.header.payload_type == PayloadType::HandshakeResponse;
    assert_eq!(fixture.sent.iter().filter(responses).count(), 1);
}
