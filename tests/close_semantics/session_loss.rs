//! A session that is lost, and one that only seems to be.

use std::time::Duration;

use ssm_proxyd::sim::{Faults, Manner, OneOffFault, Options, RefusedUpgrades};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{End, Kind, Scene, each, pattern, read_to_end};
use crate::support::in_process::unpaced;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_is_a_reset_and_no_end() {
    each(async |kind| {
        let scene = Scene::new(kind, mortal(), "").await;
        let (mut client, mut destination) = scene.pair().await;
        let words = pattern(100_000);

        client.say(b"question").await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        destination.write_all(&words).await.unwrap();
        let mut came = client.read(1000).await;
        assert_eq!(
            scene.stage.simulator.inject(None, OneOffFault::KillAgent),
            1
        );

        let (rest, end) = client.read_to_end().await;
        came.extend(rest);
        assert!(words.starts_with(&came), "{kind:?}");
        assert_eq!(end, End::Reset, "{kind:?}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_whose_session_is_lost_sees_a_reset() {
    each(async |kind| {
        let scene = Scene::new(kind, mortal(), "").await;
        let (mut client, mut destination) = scene.pair().await;

        client.say(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        assert_eq!(
            scene.stage.simulator.inject(None, OneOffFault::KillAgent),
            1
        );

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        scene.end().await;
    })
    .await;
}

/// The limit of a Unix socket, as the README tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_said_nothing_sees_a_reset_over_tcp_alone() {
    each(async |kind| {
        let scene = Scene::new(kind, mortal(), "").await;
        let (mut client, mut destination) = scene.pair().await;

        destination.write_all(b"half a banner").await.unwrap();
        assert_eq!(client.read(13).await, b"half a banner", "{kind:?}");
        assert_eq!(
            scene.stage.simulator.inject(None, OneOffFault::KillAgent),
            1
        );

        let (_, end) = client.read_to_end().await;
        let expected = match kind {
            Kind::Tcp => End::Reset,
            Kind::Unix => End::Fin,
        };
        assert_eq!(end, expected, "{kind:?}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_is_refused_is_a_reset() {
    each(async |kind| {
        // Slow, so that the client is there before it is refused.
        let options = Options {
            api_delay: Duration::from_millis(300),
            ..Options::default()
        };
        let mut scene = Scene::new(kind, options, "").await;
        scene.close_destination();

        let mut client = scene.connect().await;
        client.say(b"question").await;

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_daemon_is_a_reset() {
    each(async |kind| {
        let scene = Scene::plain(kind).await;
        let (mut client, mut destination) = scene.pair().await;
        client.say(b"question").await;
        destination.read_exact(&mut [0; 8]).await.unwrap();

        scene.stage.end().await;

        assert_eq!(
            client.read_to_end().await,
            (Vec::new(), End::Reset),
            "{kind:?}"
        );
        assert_eq!(read_to_end(&mut destination).await.1, End::Fin, "{kind:?}");
    })
    .await;
}

/// While there is no websocket, nobody can say that an answer does not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_gets_its_answer_after_an_outage_longer_than_its_timeout() {
    each(async |kind| {
        let scene = Scene::new(kind, unpaced(), "half_close_timeout = \"1s\"").await;
        let (mut client, mut destination) = scene.pair().await;

        client.say(b"question").await;
        client.half_close().await;
        destination.read_exact(&mut [0; 8]).await.unwrap();
        outage(&scene).await;
        destination.write_all(b"answer").await.unwrap();
        drop(destination);

        let (came, end) = client.read_to_end().await;
        assert_eq!((&came[..], end), (&b"answer"[..], End::Fin), "{kind:?}");
        scene.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_client_arrive_after_an_outage_longer_than_its_timeout() {
    each(async |kind| {
        let scene = Scene::new(kind, unpaced(), "half_close_timeout = \"1s\"").await;
        let (mut client, mut destination) = scene.pair().await;
        client.say(b"first ").await;
        destination.read_exact(&mut [0; 6]).await.unwrap();

        let speech = async {
            scene
                .stage
                .until("the websocket is broken", |l| {
                    !l.refused_upgrades.is_empty()
                })
                .await;
            client.say(b"last words").await;
            drop(client);
        };
        tokio::join!(outage(&scene), speech);

        let (came, end) = read_to_end(&mut destination).await;
        assert_eq!((&came[..], end), (&b"last words"[..], End::Fin), "{kind:?}");
        scene.end().await;
    })
    .await;
}

/// An agent whose death is noticed at once.
fn mortal() -> Options {
    let mut options = unpaced();
    options.agent.crash_delay = Duration::ZERO;
    options
}

/// Breaks the websocket and refuses others for longer than a second.
async fn outage(scene: &Scene) {
    let faults = Faults {
        refuse_upgrades: Some(RefusedUpgrades {
            status: 503,
            times: None,
        }),
        ..Faults::default()
    };
    scene.stage.simulator.set_faults(faults);
    let broken = OneOffFault::Break(Manner::Fin);
    assert_eq!(scene.stage.simulator.inject(None, broken), 1);
    // The pauses between so many attempts are longer than a second and a half together.
    scene
        .stage
        .until("it lasts", |l| l.refused_upgrades.get(&503) >= Some(&6))
        .await;
    scene.stage.simulator.set_faults(Faults::default());
}
