//! Tests of data channels over real sockets.

use super::*;

#[tokio::test]
async fn bytes_are_carried_to_a_destination_and_back() {
    let simulator = simulator(unpaced()).await;
    let echo = Destination::start(ServerKind::Echo).await.unwrap();
    let session = start(&simulator, echo.address().port()).await;
    let mut client = Client::open(&simulator, &session).await;
    client.shake_hands().await;

    let mut frames = vec![1, 0, 0, 0, 3, 0, 0, 0, 1, 2, 5, 0, 3, 0, 0, 0];
    frames.extend_from_slice(b"hello");
    let seq = client.next;
    loop {
        // Not acknowledged until the plugin is ready, so it is sent until it is acknowledged.
        client.next = seq;
        client.send(PayloadType::Output, &frames).await;
        let message = client.next().await.unwrap();
        if message.header.kind == MessageType::Acknowledge && acknowledged(&message) == 1 {
            break;
        }
    }
    let answer = client.receive(PayloadType::Output).await;

    assert_eq!(
        &answer[..],
        [&[1, 2, 5, 0, 3, 0, 0, 0][..], b"hello"].concat()
    );
    client.send(PayloadType::Flag, &[0, 0, 0, 2]).await;
    while client.next().await.is_some() {}
    let ledger = simulator.ledger();
    assert_eq!(ledger.open_sessions(), 0);
    assert_eq!(ledger.sessions[0].ended_by, Some(EndedBy::Flag));
    assert_eq!(ledger.sessions[0].violations.len(), 0);
    simulator.shutdown().await;
}

#[tokio::test]
async fn terminate_reaches_the_client_and_ends_the_session() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let mut client = Client::open(&simulator, &session).await;
    client.shake_hands().await;
    let id = json!({ "SessionId": session["SessionId"] });

    assert_eq!(
        call(&simulator, "TerminateSession", &id).await,
        (200, id.clone())
    );
    let mut last = None;
    while let Some(message) = client.next().await {
        last = Some(message.header.kind);
    }

    assert_eq!(last, Some(MessageType::ChannelClosed));
    assert_eq!(simulator.open_sessions(), 0);
    assert_eq!(call(&simulator, "TerminateSession", &id).await.0, 200);
    let (status, resumed) = call(&simulator, "ResumeSession", &id).await;
    assert_eq!((status, resumed["TokenValue"].as_str()), (200, Some("")));
    let url = session["StreamUrl"].as_str().unwrap();
    assert_eq!(upgrade(&simulator, url).await.unwrap_err(), 410);
}

#[tokio::test]
async fn messages_that_only_the_service_may_send_are_rejected() {
    let simulator = simulator(unpaced()).await;
    let (_, mut client) = established(&simulator, 9).await;
    client.ready().await;

    for kind in [
        MessageType::ChannelClosed,
        MessageType::PausePublication,
        MessageType::StartPublication,
    ] {
        let stray = message(kind, 0, 0, PayloadType::None, b"{}");
        client.websocket.send(Frame::binary(stray)).await.unwrap();
    }
    client.next = 2;
    client.ready().await;

    let record = &simulator.ledger().sessions[0];
    assert_eq!(record.ended_by, None);
    assert_eq!(record.violations["unexpected_message_type"], 3);
}

#[tokio::test]
async fn a_second_websocket_with_a_new_token_replaces_the_first() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let mut first = Client::open(&simulator, &session).await;
    first.shake_hands().await;

    let id = json!({ "SessionId": session["SessionId"] });
    let (_, resumed) = call(&simulator, "ResumeSession", &id).await;
    let mut second = Client::open(&simulator, &resumed).await;
    second.next = first.next;
    second.send(PayloadType::Size, b"probe").await;

    assert_eq!(
        second.next().await.unwrap().header.kind,
        MessageType::Acknowledge
    );
    while first.next().await.is_some() {}
    assert_eq!(simulator.ledger().sessions[0].attached, 2);
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_first_message_close_the_websocket() {
    let simulator = simulator(unpaced()).await;
    let session = start(&simulator, 9).await;
    let url = session["StreamUrl"].as_str().unwrap();

    let mut guess = Client {
        websocket: upgrade(&simulator, url).await.unwrap(),
        next: 0,
        acknowledges: true,
    };
    guess.present(&json!("guess")).await;
    let mut hasty = Client {
        websocket: upgrade(&simulator, url).await.unwrap(),
        next: 0,
        acknowledges: true,
    };
    hasty.send(PayloadType::Size, b"probe").await;

    assert!(guess.next().await.is_none());
    assert!(hasty.next().await.is_none());
    assert_eq!(simulator.ledger().sessions[0].attached, 0);
}
