//! Websockets that break under open connections, over real sockets.

mod many_connections;

use std::io;
use std::time::Duration;

use ssm_proxyd::sim::agent::Retransmission;
use ssm_proxyd::sim::{
    ApiFault, DisconnectKind, Faults, OneOffFault, Operation, Options, RefusedUpgrades, ServerKind,
    TokenLife, seeded_bytes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::in_process::{InProcess, broken_every, destination, unpaced, until};
use crate::support::transfer::{MIB, exchange, hash_of, read_hash, request, send};

/// A fixture with an echo, and a connection that has exchanged bytes once.
async fn conversation(options: Options) -> (InProcess, TcpStream, ssm_proxyd::sim::Destination) {
    let echo = destination(ServerKind::Echo).await;
    let fixture = InProcess::to(options, &echo).await;
    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    assert_eq!(exchange(&mut client, b"before").await.unwrap(), b"before");
    (fixture, client, echo)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_survives_every_end_of_its_websocket() {
    for manner in [
        DisconnectKind::Close(1000),
        DisconnectKind::Close(1001),
        DisconnectKind::Close(1011),
        DisconnectKind::Fin,
        DisconnectKind::Reset,
    ] {
        let (fixture, mut client, _echo) = conversation(Options::default()).await;

        assert_eq!(
            fixture.simulator.inject(None, OneOffFault::Break(manner)),
            1
        );
        let answer = exchange(&mut client, b"after").await;

        assert_eq!(answer.unwrap(), b"after", "{manner:?}");
        drop(client);
        let ledger = fixture.end().await;
        assert_eq!(ledger.sessions[0].attached, 2, "{manner:?}");
        assert_eq!(
            ledger.sessions[0].upgrade_signatures,
            ["valid", "valid"],
            "{manner:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_websocket_is_detected_on_retry_now() {
    let (fixture, mut client, _echo) = conversation(Options::default()).await;
    fixture
        .simulator
        .inject(None, OneOffFault::Break(DisconnectKind::BlackHole));

    fixture.daemon.retry_now();
    let answer = exchange(&mut client, b"after").await;

    assert_eq!(answer.unwrap(), b"after");
    drop(client);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_or_expired_resume_is_retried() {
    for code in [
        "ThrottlingException",
        "ExpiredTokenException",
        "InternalServerError",
        "AccessDeniedException",
        "TargetNotConnected",
    ] {
        let (fixture, mut client, _echo) = conversation(Options::default()).await;
        let fault = ApiFault {
            code: code.to_owned(),
            times: Some(2),
        };
        fixture.simulator.fail(Operation::ResumeSession, fault);

        fixture
            .simulator
            .inject(None, OneOffFault::Break(DisconnectKind::Reset));
        let answer = exchange(&mut client, b"after").await;

        assert_eq!(answer.unwrap(), b"after", "{code}");
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_resets_its_client() {
    let (fixture, mut client, _echo) = conversation(Options::default()).await;
    let fault = ApiFault {
        code: "DoesNotExistException".to_owned(),
        times: None,
    };
    fixture.simulator.fail(Operation::ResumeSession, fault);

    let closed = OneOffFault::Break(DisconnectKind::Close(1000));
    fixture.simulator.inject(None, closed);
    let end = client.read(&mut [0]).await;

    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_resets_the_client() {
    let mut options = Options::default();
    options.agent.crash_delay = Duration::from_millis(10);
    let (fixture, mut client, _echo) = conversation(options).await;

    fixture.simulator.inject(None, OneOffFault::KillAgent);
    let end = client.read(&mut [0]).await;

    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_agent_would_duplicate_is_a_reset() {
    let sink = destination(ServerKind::Sink).await;
    let fixture = InProcess::to(Options::default(), &sink).await;
    let (mut receiver, mut says) = TcpStream::connect(fixture.address())
        .await
        .unwrap()
        .into_split();
    let mut upload = JoinSet::new();
    upload.spawn(async move {
        for chunk in seeded_bytes(8 * MIB, 9) {
            says.write_all(&chunk).await?;
        }
        Ok::<_, io::Error>(says)
    });
    fixture
        .until("the upload is in progress", |ledger| {
            ledger.sessions[..]
                .first()
                .is_some_and(|session| session.traffic.messages_in > 500)
        })
        .await;

    let away = Duration::from_millis(100);
    fixture
        .simulator
        .inject(None, OneOffFault::AgentAwayAmidMessage(away));
    let received = receiver.read(&mut [0]).await;
    let sent = upload.join_next().await.unwrap().unwrap();

    // A socket reports a reset once: to the first call.
    let output = received
        .err()
        .or_else(|| sent.err())
        .expect("a reset must be reported");
    assert_eq!(output.kind(), io::ErrorKind::ConnectionReset);
    until("the destination was closed", || !sink.received().is_empty()).await;
    let received = &sink.received()[0];
    assert_eq!(
        received.sha256,
        hash_of(received.len, 9),
        "the data must be a prefix of the upload"
    );
    let ledger = fixture.simulator.ledger();
    assert_eq!(ledger.sessions[0].traffic.unacknowledged_in, 1);
    fixture.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_dials_are_retried() {
    let refused = RefusedUpgrades {
        status: 503,
        times: Some(3),
    };
    let faults = Faults {
        refuse_upgrades: Some(refused.clone()),
        ..Faults::default()
    };
    let (fixture, mut client, _echo) = conversation(Options {
        faults: faults.clone(),
        ..Options::default()
    })
    .await;

    fixture.simulator.set_faults(faults);
    fixture
        .simulator
        .inject(None, OneOffFault::Break(DisconnectKind::Reset));

    assert_eq!(exchange(&mut client, b"after").await.unwrap(), b"after");
    drop(client);
    let ledger = fixture.end().await;
    assert_eq!(ledger.refused_upgrades[&503], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_works_with_single_use_tokens_and_without_replay() {
    let faults = Faults {
        token: TokenLife::SingleUse,
        ..broken_every(100, DisconnectKind::Close(1000))
    };
    let options = Options {
        faults,
        gateway_buffer: 0,
        ..unpaced()
    };
    let echo = destination(ServerKind::Echo).await;
    let fixture = InProcess::to(options, &echo).await;
    let mut client = TcpStream::connect(fixture.address()).await.unwrap();

    for n in 0..50u8 {
        assert_eq!(exchange(&mut client, &[n; 700]).await.unwrap(), [n; 700]);
    }

    drop(client);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_without_a_start_times_out() {
    let (fixture, mut client, _echo) = conversation(Options::default()).await;

    fixture.simulator.inject(None, OneOffFault::PauseClient);

    assert_eq!(exchange(&mut client, b"after").await.unwrap(), b"after");
    drop(client);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_stay_below_the_rate_limit_of_the_gateway() {
    let sink = destination(ServerKind::Sink).await;
    let faults = Faults {
        max_rate: Some(945),
        ..Faults::default()
    };
    let fixture = InProcess::to(
        Options {
            faults,
            ..Options::default()
        },
        &sink,
    )
    .await;

    send(fixture.address(), 4 * MIB, 3).await.unwrap();

    until("the destination has read the end", || {
        !sink.received().is_empty()
    })
    .await;
    assert_eq!(sink.received()[0].sha256, hash_of(4 * MIB, 3));
    let ledger = fixture.end().await;
    assert_eq!(
        ledger.sessions[0].attached, 1,
        "the websocket must stay connected"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_200_mib_completes_while_the_websocket_breaks_every_200_ms() {
    let sink = destination(ServerKind::Sink).await;
    // At this rate it takes at least 3.2 s, and so ten disconnects on the fastest machine.
    let keys = format!(
        "remote = {}\nupload_rate = 2000\nupload_payload = 32768\nupload_window = \"4MiB\"",
        sink.address().port()
    );
    let options = Options {
        faults: broken_every(200, DisconnectKind::Reset),
        ..unpaced()
    };
    let fixture = InProcess::new(options, &keys).await;

    send(fixture.address(), 200 * MIB, 4).await.unwrap();

    until("the destination has read the end", || {
        !sink.received().is_empty()
    })
    .await;
    assert_eq!(sink.received()[0].len, 200 * MIB);
    assert_eq!(sink.received()[0].sha256, hash_of(200 * MIB, 4));
    let ledger = fixture.end().await;
    assert!(
        ledger.sessions[0].attached > 10,
        "the websocket must break: {}",
        ledger.sessions[0].attached
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_200_mib_completes_while_the_websocket_breaks_every_200_ms() {
    let source = destination(ServerKind::Source {
        len: 200 * MIB,
        seed: 5,
    })
    .await;
    let mut options = Options {
        faults: broken_every(200, DisconnectKind::Reset),
        ..unpaced()
    };
    options.agent.retransmission = Retransmission::All;
    let fixture = InProcess::to(options, &source).await;

    let hash = read_hash(fixture.address()).await.unwrap();

    assert_eq!(hash, hash_of(200 * MIB, 5));
    let ledger = fixture.end().await;
    assert!(
        ledger.sessions[0].attached > 3,
        "the websocket must break: {}",
        ledger.sessions[0].attached
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_10_mib_from_a_realistic_agent_completes_while_the_websocket_breaks() {
    let source = destination(ServerKind::Source {
        len: 10 * MIB,
        seed: 6,
    })
    .await;
    let options = Options {
        faults: broken_every(2000, DisconnectKind::Close(1000)),
        ..Options::default()
    };
    let fixture = InProcess::to(options, &source).await;

    let hash = read_hash(fixture.address()).await.unwrap();

    assert_eq!(hash, hash_of(10 * MIB, 6));
    let ledger = fixture.end().await;
    assert!(
        ledger.sessions[0].attached > 5,
        "the websocket must break: {}",
        ledger.sessions[0].attached
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_works_while_others_break() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        faults: broken_every(50, DisconnectKind::Reset),
        ..Options::default()
    };
    let fixture = InProcess::to(options, &echo).await;

    for _ in 0..20 {
        assert_eq!(
            request(fixture.address(), b"hello").await.unwrap(),
            b"hello"
        );
    }

    fixture.end().await;
}
