//! The modules of the daemon over real sockets, with the real SDK, against the simulator.

use std::io;
use std::time::Duration;

use ssm_proxyd::sim::{ApiFault, EndedBy, Operation, Options, ServerKind, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::free_address::free_address;
use crate::support::in_process::{InProcess, TARGET, daemon, destination, unpaced, until};
use crate::support::transfer::{
    MIB, hash_of, read_end, read_hash, request, request_until_served, send,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_response_use_a_signed_session_of_their_own() {
    let web = destination(ServerKind::Http).await;
    let mut options = Options {
        require_signature: true,
        ..Options::default()
    };
    options
        .resolver
        .insert("web.internal", Some(80), web.address())
        .unwrap();
    let fixture = InProcess::new(options, "remote = \"web.internal:80\"").await;

    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.unwrap();
    drop(client);

    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    fixture
        .until("the session ends with its connection", |l| {
            l.open_sessions() == 0
        })
        .await;
    let ledger = fixture.end().await;
    let [session] = &ledger.sessions[..] else {
        panic!("one session: {ledger:#?}")
    };
    assert_eq!(session.target, TARGET);
    assert_eq!(
        session.document,
        "AWS-StartPortForwardingSessionToRemoteHost"
    );
    assert_eq!(session.parameters["host"], ["web.internal"]);
    assert_eq!(session.parameters["portNumber"], ["80"]);
    // Followed by a marker that identifies sessions whose response was lost.
    assert!(session.reason.starts_with("tests, forward f ["));
    assert_eq!(session.opening_version, "1.2.764.0");
    assert_eq!(session.handshake_version, "1.2.764.0");
    assert_eq!(session.ended_by, Some(EndedBy::Flag));
    assert!(
        session.terminate_called,
        "the flag comes before the API call"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_100_mib_is_complete() {
    let source = destination(ServerKind::Source {
        len: 100 * MIB,
        seed: 1,
    })
    .await;
    let fixture = InProcess::to(unpaced(), &source).await;

    let hash = read_hash(fixture.address()).await.unwrap();

    assert_eq!(hash, hash_of(100 * MIB, 1));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_100_mib_is_complete() {
    let sink = destination(ServerKind::Sink).await;
    let port = sink.address().port();
    let keys = format!(
        "remote = {port}\nupload_rate = 0\nupload_payload = 32768\nupload_window = \"4MiB\""
    );
    let fixture = InProcess::new(unpaced(), &keys).await;

    send(fixture.address(), 100 * MIB, 2).await.unwrap();

    until("the destination has read the end", || {
        !sink.received().is_empty()
    })
    .await;
    let received = &sink.received()[0];
    assert_eq!(received.len, 100 * MIB);
    assert_eq!(received.sha256, hash_of(100 * MIB, 2));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_concurrent_connections_have_a_session_each() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = InProcess::to(Options::default(), &echo).await;
    let address = fixture.address();
    let mut clients = JoinSet::new();

    for n in 0..64u8 {
        clients.spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            let data = vec![n; 5000];
            client.write_all(&data).await.unwrap();
            let mut echoed = vec![0; data.len()];
            client.read_exact(&mut echoed).await.unwrap();
            assert_eq!(echoed, data, "connection {n}");
            client
        });
    }
    let open = clients.join_all().await;

    assert_eq!(fixture.simulator.open_sessions(), 64);
    drop(open);
    fixture
        .until("every session ends with its connection", |l| {
            l.open_sessions() == 0
        })
        .await;
    let ledger = fixture.end().await;
    assert_eq!(ledger.started, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_dial_is_a_reset() {
    let remote = format!("remote = {}", free_address().port());
    let fixture = InProcess::new(Options::default(), &remote).await;

    let end = read_end(fixture.address(), b"").await;

    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_a_reset() {
    let fixture = InProcess::new(Options::default(), "remote = \"nowhere.internal:5432\"").await;

    let end = read_end(fixture.address(), b"").await;

    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let ledger = fixture.end().await;
    assert!(
        ledger.sessions[0].output.contains("no such host"),
        "{ledger:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_start_is_a_reset_and_the_next_connection_is_served() {
    let echo = destination(ServerKind::Echo).await;
    for (code, times) in [
        ("TargetNotConnected", 1),
        ("InvalidDocument", 1),
        ("AccessDeniedException", 1),
        ("ExpiredTokenException", 1),
        // It is retried twice.
        ("InternalServerError", 3),
    ] {
        let fixture = InProcess::to(Options::default(), &echo).await;
        let fault = ApiFault {
            code: code.to_owned(),
            times: Some(times),
        };
        fixture.simulator.fail(Operation::StartSession, fault);

        let refused = read_end(fixture.address(), b"x").await;
        let served = request_until_served(fixture.address(), b"hello").await;

        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset,
            "{code}"
        );
        assert_eq!(served, b"hello", "{code}");
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_gets_its_response_and_then_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fixture = InProcess::new(Options::default(), &format!("remote = {port}")).await;

    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    client.write_all(b"question\n").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut question = [0; 9];
    server.read_exact(&mut question).await.unwrap();
    let answer = vec![7; 300_000];
    server.write_all(&answer).await.unwrap();
    drop(server);
    let mut bytes_received = Vec::new();
    client.read_to_end(&mut bytes_received).await.unwrap();

    assert_eq!(&question, b"question\n");
    assert!(
        bytes_received == answer,
        "{} of {} bytes",
        bytes_received.len(),
        answer.len()
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_is_reset_after_its_idle_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = format!("remote = {port}\nhalf_close_timeout = \"1s\"");
    let fixture = InProcess::new(Options::default(), &keys).await;

    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    client.write_all(b"question\n").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    server.read_to_end(&mut seen).await.unwrap();
    let end = client.read(&mut [0]).await;

    assert_eq!(seen, b"question\n");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_ends_its_session_at_once_and_its_bytes_arrive() {
    let sink = destination(ServerKind::Sink).await;
    let fixture = InProcess::to(Options::default(), &sink).await;

    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    client.write_all(b"last words").await.unwrap();
    drop(client);

    until("the destination has read the end", || {
        !sink.received().is_empty()
    })
    .await;
    assert_eq!(sink.received()[0].len, 10);
    fixture
        .until("the session ends", |l| {
            l.started == 1 && l.open_sessions() == 0
        })
        .await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_arrives_before_the_client_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fixture = InProcess::new(Options::default(), &format!("remote = {port}")).await;

    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let mut banner = [0; 11];
    client.read_exact(&mut banner).await.unwrap();

    assert_eq!(&banner, b"SSH-2.0-x\r\n");
    drop(client);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_sessions_of_open_connections_and_resets_them() {
    let echo = destination(ServerKind::Echo).await;
    let fixture = InProcess::to(Options::default(), &echo).await;
    let mut client = TcpStream::connect(fixture.address()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();

    fixture.end().await;

    let end = client.read(&mut [0]).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_sessions_start_leaves_no_session() {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(300),
        ..Options::default()
    };
    let fixture = InProcess::to(options, &echo).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(fixture.address()).await.unwrap());
    }
    fixture
        .until("StartSession is in flight", |l| !l.calls.is_empty())
        .await;

    let ledger = fixture.end().await;

    assert!(ledger.started >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works_with_the_bundle_and_fails_without() {
    let echo = destination(ServerKind::Echo).await;
    let simulator = Simulator::start(Options {
        tls: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), simulator.certificate_pem().unwrap()).unwrap();
    let port = echo.address().port();
    let forward =
        format!("[[forward]]\nname = \"f\"\nlisten = 0\ntarget = \"{TARGET}\"\nremote = {port}\n");
    let with_bundle = daemon(&simulator, Some(bundle.path()), &forward).await;
    let without_bundle = daemon(&simulator, None, &forward).await;

    let served = request(with_bundle.addresses()[0].1[0], b"hello").await;
    let refused = request(without_bundle.addresses()[0].1[0], b"hello").await;

    assert_eq!(served.unwrap(), b"hello");
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    with_bundle.stop().await;
    without_bundle.stop().await;
    assert_eq!(simulator.ledger().started, 1);
    assert_eq!(simulator.open_sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait_for_a_permit() {
    let echo = destination(ServerKind::Echo).await;
    let keys = format!("remote = {}\nmax_connections = 1", echo.address().port());
    let fixture = InProcess::new(Options::default(), &keys).await;
    let first = TcpStream::connect(fixture.address()).await.unwrap();
    fixture
        .until("the first has a session", |l| l.started == 1)
        .await;

    let mut second = TcpStream::connect(fixture.address()).await.unwrap();
    second.write_all(b"x").await.unwrap();
    fixture
        .until("the first is ready", |l| l.sessions[0].ready_us.is_some())
        .await;
    assert_eq!(fixture.simulator.ledger().started, 1);
    drop(first);
    second.read_exact(&mut [0]).await.unwrap();

    drop(second);
    fixture.end().await;
}
