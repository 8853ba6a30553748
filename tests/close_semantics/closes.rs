//! Either side closes, one direction or both, cleanly or with a reset.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{End, Fixture, Kind, each, pattern, read_to_end};
use crate::support::in_process::unpaced;
use crate::support::transfer::abort;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_written_one_by_one_arrive_at_the_destination() {
    each(async |kind| {
        let fixture = Fixture::plain(kind).await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(5000);

        for byte in &data {
            client.send(&[*byte]).await;
        }
        drop(client);
        let (received, end) = read_to_end(&mut destination).await;

        assert!(received == data, "{kind:?}: {} bytes", received.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_written_one_by_one_arrive_at_the_client() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(5000);

        for byte in &data {
            destination.write_all(&[*byte]).await.unwrap();
        }
        drop(destination);
        let (received, end) = client.read_to_end().await;

        assert!(received == data, "{kind:?}: {} bytes", received.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_arrives_before_the_client_has_sent_anything() {
    each(async |kind| {
        let fixture = Fixture::plain(kind).await;
        let (mut client, mut destination) = fixture.pair().await;

        destination.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        assert_eq!(client.read(11).await, b"SSH-2.0-x\r\n", "{kind:?}");
        client.send(b"SSH-2.0-y\r\n").await;
        drop(client);

        let (received, end) = read_to_end(&mut destination).await;
        assert_eq!(
            (&received[..], end),
            (&b"SSH-2.0-y\r\n"[..], End::Fin),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closes_gets_its_long_response_and_then_the_end() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "half_close_timeout = \"1s\"").await;
        let (mut client, mut destination) = fixture.pair().await;
        let answer = pattern(3_000_000);

        client.send(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        let sent = answer.clone();
        let writer = async move {
            destination.write_all(&sent).await.unwrap();
        };
        let ((), (received, end)) = tokio::join!(writer, client.read_to_end());

        assert!(received == answer, "{kind:?}: {} bytes", received.len());
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closes_and_then_closes_is_noticed() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "half_close_timeout = \"1h\"").await;
        let (mut client, mut destination) = fixture.pair().await;

        client.send(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        destination.write_all(b"half an answer").await.unwrap();
        client.read(14).await;
        drop(client);

        let (_, end) = read_to_end(&mut destination).await;
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_aborts_while_it_sends_ends_its_session() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(100_000);

        client.send(&data).await;
        destination.read_exact(&mut [0; 1000]).await.unwrap();
        client.abort();

        // The agent has no reset: received bytes are followed by an end.
        let (rest, end) = read_to_end(&mut destination).await;
        assert!(data[1000..].starts_with(&rest), "{kind:?}");
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_aborts_while_it_receives_ends_its_session() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(100_000);

        destination.write_all(&data[..50_000]).await.unwrap();
        client.read(1000).await;
        client.abort();
        let refused = loop {
            if let Err(error) = destination.write_all(&data).await {
                break error.kind();
            }
        };

        let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(expected.contains(&refused), "{kind:?}: {refused}");
        fixture.end().await;
    })
    .await;
}

/// An agent closes a stream in the same way after an end and after a reset (docs/protocol.md
/// section
/// 8.5), so the two cannot be distinguished here.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_aborts_looks_like_one_that_ends() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(100_000);

        destination.write_all(&data).await.unwrap();
        client.read(1000).await;
        abort(destination);

        let (rest, end) = client.read_to_end().await;
        assert!(data[1000..].starts_with(&rest), "{kind:?}");
        assert_eq!(end, End::Fin, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_aborts_while_the_client_sends_is_an_end() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;

        client.send(&pattern(50_000)).await;
        destination.read_exact(&mut [0; 1000]).await.unwrap();
        abort(destination);

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Fin),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_ends_while_the_client_sends_is_an_end_after_every_byte() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let answer = pattern(300_000);

        client.send(b"question").await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        let sent = answer.clone();
        let writer = async move {
            destination.write_all(&sent).await.unwrap();
        };
        let ((), (received, end)) = tokio::join!(writer, client.read_to_end());
        assert!(received == answer, "{kind:?}: {} bytes", received.len());
        assert_eq!(end, End::Fin, "{kind:?}");

        // Its session is over, and its further data is discarded for a while.
        fixture
            .in_process
            .until("the session ends", |l| l.open_sessions() == 0)
            .await;
        client.send(b"never received").await;
        let refused = client.write_to_end().await;
        let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(expected.contains(&refused), "{kind:?}: {refused}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_close_at_once() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;

        for _ in 0..10 {
            let (mut client, mut destination) = fixture.pair().await;
            client.send(b"ping").await;
            destination.read_exact(&mut [0; 4]).await.unwrap();
            destination.write_all(b"pong").await.unwrap();
            assert_eq!(client.read(4).await, b"pong", "{kind:?}");

            drop((client, destination));
        }

        let ledger = fixture.end().await;
        assert_eq!(ledger.started, 10, "{kind:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_half_close_at_once() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "").await;

        for _ in 0..10 {
            let (mut client, mut destination) = fixture.pair().await;
            client.send(b"ping").await;
            destination.read_exact(&mut [0; 4]).await.unwrap();
            destination.write_all(b"pong").await.unwrap();

            client.half_close().await;
            destination.shutdown().await.unwrap();

            let (received, end) = client.read_to_end().await;
            assert_eq!((&received[..], end), (&b"pong"[..], End::Fin), "{kind:?}");
            assert_eq!(read_to_end(&mut destination).await.1, End::Fin, "{kind:?}");
        }
        fixture.end().await;
    })
    .await;
}

/// TCP does not tell its peer that it will not read; a Unix socket does.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_sends_has_every_byte_delivered() {
    let fixture = Fixture::new(Kind::Unix, unpaced(), "").await;
    let (mut client, mut destination) = fixture.pair().await;
    let data = pattern(2_000_000);
    let super::fixture::Client::Unix(stream) = &client else {
        panic!("a Unix socket")
    };
    socket2::SockRef::from(stream)
        .shutdown(std::net::Shutdown::Read)
        .unwrap();

    destination.write_all(b"never read").await.unwrap();
    let expected = data.clone();
    let writer = async move {
        client.send(&data).await;
        drop(client);
    };
    let ((), (received, end)) = tokio::join!(writer, read_to_end(&mut destination));

    assert!(received == expected, "{} bytes", received.len());
    assert_eq!(end, End::Fin);
    fixture.end().await;
}
