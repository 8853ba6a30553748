//! A session that is lost, and one that is only interrupted.

use std::time::Duration;

use ssm_proxyd::sim::{DisconnectKind, Faults, OneOffFault, Options, RefusedUpgrades};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{End, Fixture, Kind, each, pattern, read_to_end};
use crate::support::in_process::unpaced;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_a_reset_and_not_an_end() {
    each(async |kind| {
        let fixture = Fixture::new(kind, expiring(), "").await;
        let (mut client, mut destination) = fixture.pair().await;
        let data = pattern(100_000);

        client.send(b"question").await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        destination.write_all(&data).await.unwrap();
        let mut received = client.read(1000).await;
        assert_eq!(
            fixture
                .in_process
                .simulator
                .inject(None, OneOffFault::KillAgent),
            1
        );

        let (rest, end) = client.read_to_end().await;
        received.extend(rest);
        assert!(data.starts_with(&received), "{kind:?}");
        assert_eq!(end, End::Reset, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_whose_session_is_lost_sees_a_reset() {
    each(async |kind| {
        let fixture = Fixture::new(kind, expiring(), "").await;
        let (mut client, mut destination) = fixture.pair().await;

        client.send(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        assert_eq!(
            fixture
                .in_process
                .simulator
                .inject(None, OneOffFault::KillAgent),
            1
        );

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

/// A limitation of Unix sockets, documented in the README.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sent_nothing_sees_a_reset_over_tcp_only() {
    each(async |kind| {
        let fixture = Fixture::new(kind, expiring(), "").await;
        let (mut client, mut destination) = fixture.pair().await;

        destination.write_all(b"half a banner").await.unwrap();
        assert_eq!(client.read(13).await, b"half a banner", "{kind:?}");
        assert_eq!(
            fixture
                .in_process
                .simulator
                .inject(None, OneOffFault::KillAgent),
            1
        );

        let (_, end) = client.read_to_end().await;
        let expected = match kind {
            Kind::Tcp => End::Reset,
            Kind::Unix => End::Fin,
        };
        assert_eq!(end, expected, "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_is_refused_is_a_reset() {
    each(async |kind| {
        // Slow, so that the client is connected before it is refused.
        let options = Options {
            api_delay: Duration::from_millis(300),
            ..Options::default()
        };
        let mut fixture = Fixture::new(kind, options, "").await;
        fixture.close_destination();

        let mut client = fixture.connect().await;
        client.send(b"question").await;

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_daemon_is_a_reset() {
    each(async |kind| {
        let fixture = Fixture::plain(kind).await;
        let (mut client, mut destination) = fixture.pair().await;
        client.send(b"question").await;
        destination.read_exact(&mut [0; 8]).await.unwrap();

        fixture.in_process.end().await;

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        assert_eq!(read_to_end(&mut destination).await.1, End::Fin, "{kind:?}");
    })
    .await;
}

/// Without a websocket, a missing response cannot be detected.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_gets_its_response_after_an_outage_longer_than_its_timeout() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "half_close_timeout = \"1s\"").await;
        let (mut client, mut destination) = fixture.pair().await;

        client.send(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        outage(&fixture).await;
        destination.write_all(b"answer").await.unwrap();
        drop(destination);

        let (received, end) = client.read_to_end().await;
        assert_eq!((&received[..], end), (&b"answer"[..], End::Fin), "{kind:?}");
        fixture.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_final_bytes_of_a_client_arrive_after_an_outage_longer_than_its_timeout() {
    each(async |kind| {
        let fixture = Fixture::new(kind, unpaced(), "half_close_timeout = \"1s\"").await;
        let (mut client, mut destination) = fixture.pair().await;
        client.send(b"first ").await;
        destination.read_exact(&mut [0; 6]).await.unwrap();

        let writer = async {
            fixture
                .in_process
                .until("the websocket is broken", |l| {
                    !l.refused_upgrades.is_empty()
                })
                .await;
            client.send(b"last words").await;
            drop(client);
        };
        tokio::join!(outage(&fixture), writer);

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

/// An agent whose end is noticed immediately.
fn expiring() -> Options {
    let mut options = unpaced();
    options.agent.crash_delay = Duration::ZERO;
    options
}

/// Breaks the websocket and refuses others for longer than a second.
async fn outage(fixture: &Fixture) {
    let faults = Faults {
        refuse_upgrades: Some(RefusedUpgrades {
            status: 503,
            times: None,
        }),
        ..Faults::default()
    };
    fixture.in_process.simulator.set_faults(faults);
    let broken = OneOffFault::Break(DisconnectKind::Fin);
    assert_eq!(fixture.in_process.simulator.inject(None, broken), 1);
    // The backoff of this number of attempts is longer than a second and a half in total.
    fixture
        .in_process
        .until("the outage lasts", |l| {
            l.refused_upgrades.get(&503) >= Some(&6)
        })
        .await;
    fixture.in_process.simulator.set_faults(Faults::default());
}
