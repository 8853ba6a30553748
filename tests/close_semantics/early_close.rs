//! A client that closes before its session is ready, or sends nothing.

use std::time::Duration;

use ssm_proxyd::sim::Options;
use tokio::io::AsyncWriteExt;

use super::fixture::{End, Fixture, each, read_to_end};

/// A delay of StartSession during which a client can disconnect.
fn slow_to_start() -> Options {
    Options {
        api_delay: Duration::from_millis(300),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_connects_and_disconnects_at_once_leaves_no_session() {
    each(async |kind| {
        let fixture = Fixture::plain(kind).await;

        for n in 0..40 {
            let client = fixture.connect().await;
            if n % 2 == 0 {
                client.abort();
            }
        }

        fixture
            .in_process
            .until("no session is left", |l| l.open_sessions() == 0)
            .await;
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_destination_is_dialled_for_a_client_that_disconnects_during_session_start() {
    each(async |kind| {
        let fixture = Fixture::new(kind, slow_to_start(), "").await;

        let client = fixture.connect().await;
        fixture
            .in_process
            .until("StartSession is in flight", |l| !l.calls.is_empty())
            .await;
        drop(client);

        fixture
            .in_process
            .until("the session has started", |l| l.started == 1)
            .await;
        let ledger = fixture.end().await;
        assert_eq!(ledger.sessions[0].traffic.dials, 0, "{kind:?}: {ledger:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_client_that_disconnects_during_session_start_is_delivered() {
    each(async |kind| {
        let fixture = Fixture::new(kind, slow_to_start(), "").await;

        let mut client = fixture.connect().await;
        fixture
            .in_process
            .until("StartSession is in flight", |l| !l.calls.is_empty())
            .await;
        client.send(b"last words").await;
        drop(client);

        let mut destination = fixture.accept().await;
        let (received, end) = read_to_end(&mut destination).await;
        assert_eq!(
            (&received[..], end),
            (&b"last words"[..], End::Fin),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closes_at_once_gets_the_response() {
    each(async |kind| {
        let fixture = Fixture::new(kind, slow_to_start(), "").await;

        let mut client = fixture.connect().await;
        client.half_close().await;
        let mut destination = fixture.accept().await;
        destination.write_all(b"welcome\r\n").await.unwrap();
        drop(destination);

        let (received, end) = client.read_to_end().await;
        assert_eq!(
            (&received[..], end),
            (&b"welcome\r\n"[..], End::Fin),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_accepts_and_closes_at_once_is_an_end_and_not_a_reset() {
    each(async |kind| {
        let fixture = Fixture::plain(kind).await;

        for sent in [&b""[..], b"hello"] {
            let mut client = fixture.connect().await;
            client.send(sent).await;
            drop(fixture.accept().await);

            let outcome = client.read_to_end().await;
            assert_eq!(outcome, (Vec::new(), End::Fin), "{kind:?} {sent:?}");
        }
        fixture.end().await;
    })
    .await;
}
