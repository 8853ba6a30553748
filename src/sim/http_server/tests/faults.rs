//! Tests of fault injection, as seen by a client.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Error;

use super::*;
use crate::sim::{
    BreakEvery, DisconnectKind, Faults, Join, OneOffFault, ReceivedData, RefusedUpgrades,
    SecondWebsocket, TokenLife,
};

pub(super) fn with(faults: Faults) -> Options {
    Options {
        faults,
        ..unpaced()
    }
}

/// Returns the close code of a websocket, or `None` if it ended without a close frame.
pub(super) async fn end(client: &mut Client) -> Option<u16> {
    let end = async {
        loop {
            match client.websocket.next().await {
                Some(Ok(Frame::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(Error::Io(_) | Error::Protocol(_))) | None => return None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    };
    let ended = tokio::time::timeout(TIMEOUT, end).await;
    ended.expect("the websocket ends")
}

pub(super) async fn post_faults(simulator: &Simulator, change: &Value) -> (u16, Value) {
    let body = change.to_string();
    let request = format!(
        "POST /simulator/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(simulator, &request).await
}

#[tokio::test]
async fn a_broken_websocket_is_resumed_after_every_kind_of_disconnect() {
    for (manner, code) in [
        (DisconnectKind::Close(1000), Some(1000)),
        (DisconnectKind::Close(1011), Some(1011)),
        (DisconnectKind::Close(1006), None),
        (DisconnectKind::Fin, None),
        (DisconnectKind::Reset, None),
    ] {
        let simulator = simulator(unpaced()).await;
        let (session, mut client) = established(&simulator, 9).await;

        assert_eq!(simulator.inject(None, OneOffFault::Break(manner)), 1);
        assert_eq!(end(&mut client).await, code, "{manner:?}");
        let mut client = resume(&simulator, &session, client.next).await;
        client.send(PayloadType::Size, b"probe").await;

        assert_eq!(client.receive_acknowledgement().await, 1, "{manner:?}");
        assert_eq!(simulator.ledger().sessions[0].lost, 1);
        simulator.shutdown().await;
    }
}

#[tokio::test]
async fn a_black_hole_loses_all_messages_and_another_websocket_replaces_it() {
    let simulator = simulator(unpaced()).await;
    let (session, mut client) = established(&simulator, 9).await;

    simulator.inject(None, OneOffFault::Break(DisconnectKind::BlackHole));
    client.send(PayloadType::Size, b"lost").await;
    let mut second = resume(&simulator, &session, 1).await;
    second.send(PayloadType::Size, b"probe").await;

    assert_eq!(second.receive_acknowledgement().await, 1);
    assert_eq!(simulator.ledger().sessions[0].traffic.duplicates_in, 0);
}

#[tokio::test]
async fn a_black_hole_sends_nothing_when_its_session_ends_or_has_another_websocket() {
    let simulator = simulator(unpaced()).await;
    let (ended, mut first) = established(&simulator, 9).await;
    let (resumed, mut second) = established(&simulator, 9).await;

    simulator.inject(None, OneOffFault::Break(DisconnectKind::BlackHole));
    let mut third = resume(&simulator, &resumed, second.next).await;
    third.ready().await;
    let id = json!({ "SessionId": ended["SessionId"] });
    assert_eq!(call(&simulator, "TerminateSession", &id).await.0, 200);
    until(|| simulator.open_sessions() == 1).await;

    for client in [&mut first, &mut second] {
        // Messages already in flight may still arrive.
        let receive = async {
            while let Some(message) = client.next().await {
                assert_ne!(message.header.kind, MessageType::ChannelClosed);
            }
        };
        let received = tokio::time::timeout(A_WHILE, receive).await;
        assert!(received.is_err(), "the websocket has closed");
    }
}

#[tokio::test]
async fn every_websocket_breaks_after_its_lifetime() {
    let every = Duration::from_millis(20);
    let manner = DisconnectKind::Close(1001);
    let simulator = simulator(with(Faults {
        break_every: Some(BreakEvery { every, manner }),
        ..Faults::default()
    }))
    .await;
    let session = start(&simulator, 9).await;

    for _ in 0..3 {
        let mut client = resume(&simulator, &session, 0).await;
        assert_eq!(end(&mut client).await, Some(1001));
    }

    assert_eq!(simulator.ledger().sessions[0].lost, 3);
}

#[tokio::test]
async fn upgrades_are_refused_the_given_number_of_times() {
    let refused = RefusedUpgrades {
        status: 503,
        times: Some(2),
    };
    let simulator = simulator(with(Faults {
        refuse_upgrades: Some(refused),
        ..Faults::default()
    }))
    .await;
    let session = start(&simulator, 9).await;
    let url = session["StreamUrl"].as_str().unwrap();

    for _ in 0..2 {
        assert_eq!(upgrade(&simulator, url).await.unwrap_err(), 503);
    }
    Client::open(&simulator, &session).await.shake_hands().await;
}

#[tokio::test]
async fn a_token_for_one_websocket_is_refused_at_the_second() {
    let simulator = simulator(with(Faults {
        token: TokenLife::SingleUse,
        ..Faults::default()
    }))
    .await;
    let (session, _first) = established(&simulator, 9).await;

    let mut second = Client::open(&simulator, &session).await;

    assert_eq!(end(&mut second).await, Some(1008));
    resume(&simulator, &session, 1)
        .await
        .send(PayloadType::Size, b"x")
        .await;
}

#[tokio::test]
async fn a_second_websocket_is_refused_if_configured() {
    let simulator = simulator(with(Faults {
        second_websocket: SecondWebsocket::Refused,
        ..Faults::default()
    }))
    .await;
    let (session, _first) = established(&simulator, 9).await;

    let url = session["StreamUrl"].as_str().unwrap();
    assert_eq!(upgrade(&simulator, url).await.unwrap_err(), 409);
}

#[tokio::test]
async fn an_agent_that_joins_late_completes_the_handshake() {
    let simulator = simulator(with(Faults {
        join: Join::AtConnect,
        ..Faults::default()
    }))
    .await;

    let (_, mut client) = established(&simulator, 9).await;
    client.send(PayloadType::Flag, &[0, 0, 0, 2]).await;
    while client.next().await.is_some() {}

    assert_eq!(simulator.open_sessions(), 0);
}

#[tokio::test]
async fn messages_beyond_the_length_or_rate_limit_break_the_websocket() {
    let simulator = simulator(with(Faults {
        max_message: Some(2000),
        max_rate: Some(50),
        ..Faults::default()
    }))
    .await;
    let (session, mut client) = established(&simulator, 9).await;

    client.send(PayloadType::Size, &[0; 4096]).await;
    assert_eq!(end(&mut client).await, Some(1009));
    let mut client = resume(&simulator, &session, 1).await;
    for _ in 0..60 {
        client.feed(PayloadType::Size, b"x").await;
    }
    drop(client.websocket.flush().await);
    assert_eq!(end(&mut client).await, Some(1008));

    let record = &simulator.ledger().sessions[0];
    assert_eq!((record.cut_off, record.lost), (2, 2));
    assert_eq!(record.traffic.peak_rate_in, 51);
}

#[tokio::test]
async fn a_stalled_destination_holds_the_client_back_and_loses_nothing() {
    let sink = Destination::start(ServerKind::Sink).await.unwrap();
    let simulator = simulator(with(Faults {
        stall: true,
        ..Faults::default()
    }))
    .await;
    let (_, client) = established(&simulator, sink.address().port()).await;
    let (mut writer, mut reader) = client.websocket.split();

    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for (seq, payload) in (1..).zip(upload(12 * 32)) {
            let frame = message(MessageType::Input, seq, 0, PayloadType::Output, &payload);
            writer.send(Frame::binary(frame)).await.unwrap();
        }
    });
    tasks.spawn(async move { while reader.next().await.is_some() {} });
    let full = |bytes: u64| (4 << 20..(4 << 20) + 40_000).contains(&bytes);
    until(|| full(simulator.ledger().sessions[0].traffic.bytes_in)).await;
    simulator.set_faults(Faults::default());
    until(|| !sink.received().is_empty()).await;

    assert!(matches!(
        &sink.received()[..],
        [ReceivedData {
            len: 12_582_912,
            ..
        }]
    ));
}

/// Builds a stream with the given number of 32 KiB chunks, from SYN to FIN.
fn upload(chunks: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut chunk = vec![1, 2, 0, 0x80, 3, 0, 0, 0];
    chunk.resize(8 + 32_768, 7);
    let open = std::iter::once(vec![1, 0, 0, 0, 3, 0, 0, 0]);
    let close = std::iter::once(vec![1, 1, 0, 0, 3, 0, 0, 0]);
    open.chain(std::iter::repeat_n(chunk, chunks)).chain(close)
}

#[tokio::test]
async fn a_crashed_agent_sends_nothing_and_is_then_reported() {
    let mut options = unpaced();
    options.agent.crash_delay = Duration::from_millis(10);
    let simulator = simulator(options).await;
    let (_, mut client) = established(&simulator, 9).await;

    simulator.inject(None, OneOffFault::KillAgent);
    while client.next().await.is_some() {}

    let record = &simulator.ledger().sessions[0];
    assert_eq!(record.ended_by, Some(EndedBy::AgentFailure));
    assert!(
        record.output.contains("ipc messaging received timeout"),
        "{}",
        record.output
    );
}

#[tokio::test]
async fn an_idle_session_is_terminated_by_the_service() {
    let simulator = simulator(with(Faults {
        idle_timeout: Some(Duration::from_millis(50)),
        ..Faults::default()
    }))
    .await;
    let (_, mut client) = established(&simulator, 9).await;

    let mut last = None;
    while let Some(message) = client.next().await {
        last = Some(message.header.kind);
    }

    assert_eq!(last, Some(MessageType::ChannelClosed));
    assert_eq!(simulator.ledger().sessions[0].ended_by, Some(EndedBy::Idle));
}

#[tokio::test]
async fn pause_publication_reaches_the_client() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;

    simulator.inject(None, OneOffFault::PauseClient);

    while client.next().await.unwrap().header.kind != MessageType::PausePublication {}
}

#[tokio::test]
async fn faults_are_changed_over_http() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;
    let on = json!({
        "faults": { "api": { "ResumeSession": { "code": "AccessDeniedException" } } },
        "inject": [{ "break": "reset" }],
    });

    assert_eq!(
        post_faults(&simulator, &on).await,
        (200, json!({ "sessions": 1 }))
    );
    assert_eq!(end(&mut client).await, None);
    let id = json!({ "SessionId": "any" });
    assert_eq!(
        call(&simulator, "ResumeSession", &id).await.1["__type"],
        "AccessDeniedException"
    );
    let (status, _) = post_faults(&simulator, &json!({ "faults": { "api": null } })).await;

    assert_eq!((status, simulator.faults()), (200, Faults::default()));
}

#[tokio::test]
async fn an_invalid_request_is_reported_and_changes_nothing() {
    let simulator = simulator(unpaced()).await;
    for bad in [
        json!({ "fault": {} }),
        json!({ "blows": ["dance"] }),
        json!({ "faults": { "stall": 1 } }),
    ] {
        assert_eq!(post_faults(&simulator, &bad).await.0, 400, "{bad}");
    }

    assert_eq!(simulator.faults(), Faults::default());
}

/// Long enough for messages sent at once; later ones are not received.
const A_WHILE: Duration = Duration::from_millis(300);
