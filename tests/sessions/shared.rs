//! Connections that share a session.

use std::time::Duration;

use ssm_proxyd::sim::{EndedBy, Options, ServerKind};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::forward;
use crate::support::in_process::{InProcess, TARGET, destination, unpaced};
use crate::support::transfer::{exchange, hash_of, read_hash, request};

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_a_session_up_to_its_limit() {
    let echo = destination(ServerKind::Echo).await;
    let keys = "sessions = \"shared\"\nmax_streams = 3";
    let fixture = InProcess::with(Options::default(), &forward("f", &echo, keys)).await;
    let mut clients = Vec::new();
    for _ in 0..7 {
        let mut client = TcpStream::connect(fixture.address()).await.unwrap();
        exchange(&mut client, b"hello").await.unwrap();
        clients.push(client);
    }

    let dials = |ledger: &ssm_proxyd::sim::Snapshot| -> Vec<u64> {
        let sessions = ledger.sessions.iter();
        sessions.map(|session| session.traffic.dials).collect()
    };
    assert_eq!(dials(&fixture.simulator.ledger()), [3, 3, 1]);
    clients.clear();
    for _ in 0..20 {
        assert_eq!(
            request(fixture.address(), b"again").await.unwrap(),
            b"again"
        );
    }

    let ledger = fixture.end().await;
    assert_eq!(ledger.started, 3, "free slots must be used again");
    assert_eq!(dials(&ledger).iter().sum::<u64>(), 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_share_one_session_and_each_gets_its_own_bytes() {
    const LEN: u64 = 200_000;
    let source = destination(ServerKind::Source { len: LEN, seed: 7 }).await;
    let keys = "sessions = \"shared\"\nmax_streams = 16";
    let fixture = InProcess::with(unpaced(), &forward("f", &source, keys)).await;
    let mut clients = JoinSet::new();

    for _ in 0..40 {
        clients.spawn(read_hash(fixture.address()));
    }

    for hash in clients.join_all().await {
        assert_eq!(hash.unwrap(), hash_of(LEN, 7));
    }
    let ledger = fixture.end().await;
    assert!(
        (3..=4).contains(&ledger.started),
        "{} sessions",
        ledger.started
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_takes_over_and_the_old_one_finishes_its_streams() {
    let echo = destination(ServerKind::Echo).await;
    let keys = "sessions = \"shared\"\nmax_session_age = \"1s\"";
    let fixture = InProcess::with(Options::default(), &forward("f", &echo, keys)).await;
    let mut old = TcpStream::connect(fixture.address()).await.unwrap();
    exchange(&mut old, b"old").await.unwrap();
    let first = fixture.simulator.ledger().sessions[0].session_id.clone();

    fixture
        .until("a new session is started", |ledger| {
            ledger
                .sessions
                .get(1)
                .is_some_and(|session| session.ready_us.is_some())
        })
        .await;
    // The daemon may learn a moment later that it is ready.
    let dials = || {
        fixture
            .simulator
            .ledger()
            .session(&first)
            .unwrap()
            .traffic
            .dials
    };
    let mut before = 0;
    let mut recent = loop {
        let mut recent = TcpStream::connect(fixture.address()).await.unwrap();
        exchange(&mut recent, b"young").await.unwrap();
        if dials() == before {
            break recent;
        }
        before = dials();
    };

    exchange(&mut old, b"still here").await.unwrap();
    let ledger = fixture.simulator.ledger();
    assert_eq!(ledger.session(&first).unwrap().ended_us, None);
    drop(old);
    fixture
        .until("the old session has ended", |ledger| {
            ledger.session(&first).unwrap().ended_us.is_some()
        })
        .await;
    exchange(&mut recent, b"untouched").await.unwrap();
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_resets_its_connections_and_the_next_one_gets_another() {
    let echo = destination(ServerKind::Echo).await;
    let mut options = Options::default();
    options.agent.crash_delay = Duration::from_millis(10);
    let fixture = InProcess::with(options, &forward("f", &echo, "sessions = \"shared\"")).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(fixture.address()).await.unwrap();
        exchange(&mut client, b"hello").await.unwrap();
        clients.push(client);
    }

    fixture
        .simulator
        .inject(None, ssm_proxyd::sim::OneOffFault::KillAgent);

    for mut client in clients {
        let end = client.read(&mut [0; 1]).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(
        request(fixture.address(), b"hello").await.unwrap(),
        b"hello"
    );
    let ledger = fixture.end().await;
    let ends: Vec<_> = ledger
        .sessions
        .iter()
        .map(|session| session.ended_by)
        .collect();
    assert_eq!(ends, [Some(EndedBy::AgentFailure), Some(EndedBy::Flag)]);
}

/// The agent has one reader for all streams: while a destination does not read, and its intake is
/// full, no other bytes are delivered (docs/protocol.md section 8.5). Nothing may be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_read_delays_others_and_loses_none() {
    const LEN: usize = 24 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys =
        "sessions = \"shared\"\nupload_rate = 0\nupload_payload = 32768\nupload_window = \"1MiB\"";
    let table = format!(
        "[[forward]]\nname = \"f\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{TARGET}\"\nremote = {port}\n{keys}\n"
    );
    let fixture = InProcess::with(unpaced(), &table).await;
    let mut bulk = TcpStream::connect(fixture.address()).await.unwrap();
    let data: Vec<u8> = (0..LEN).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect();
    let expected = data.clone();
    let (mut reader, mut writer) = {
        tokio::io::AsyncWriteExt::write_all(&mut bulk, &data[..1])
            .await
            .unwrap();
        bulk.into_split()
    };
    let (mut unresponsive, _) = listener.accept().await.unwrap();
    let mut upload = JoinSet::new();
    upload.spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &data[1..])
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut writer)
            .await
            .unwrap();
        reader.read(&mut [0; 1]).await
    });
    // As much as the intake, the window and the sockets between take, and no more for a while.
    let session = |fixture: &InProcess| fixture.simulator.ledger().sessions[0].traffic.bytes_in;
    let mut before = 0;
    while session(&fixture) == 0 || session(&fixture) != before {
        before = session(&fixture);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    let mut other = TcpStream::connect(fixture.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut other, b"meanwhile")
        .await
        .unwrap();
    let mut bytes_received = vec![0; LEN];
    unresponsive.read_exact(&mut bytes_received).await.unwrap();
    let (mut received, _) = listener.accept().await.unwrap();
    let mut data = [0; 9];
    received.read_exact(&mut data).await.unwrap();

    assert_eq!(&data, b"meanwhile");
    assert!(
        bytes_received == expected,
        "every byte must be in its position"
    );
    drop((unresponsive, received, other));
    drop(upload.join_all().await);
    let ledger = fixture.end().await;
    assert_eq!(ledger.started, 1);
}
