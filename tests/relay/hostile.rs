//! Hostile programs on the relay's port, and a hostile relay.

use std::io::ErrorKind;

use ssm_proxyd::bundle::handshake::{Handshake, HandshakeDecoder, Hello, RefusalClass, VERSION};
use ssm_proxyd::bundle::ids::BundleId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Daemon, OPTIONS, Relay, connected, in_time, listener};
use crate::support::payload::pattern;
use ssm_proxyd::bundle_driver::StripeOutcome;

fn hello(id: u8, stripe: u32) -> Vec<u8> {
    let hello = Hello {
        version: VERSION,
        features: 0,
        bundle: BundleId::new([id; 16]),
        stripe,
        complete: 0,
    };
    Handshake::Hello(hello).encode().to_vec()
}

/// Sends bytes and returns everything up to the end of the connection.
async fn answer(relay: &Relay, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    match in_time(stream.read_to_end(&mut all)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    all
}

fn refusal(bytes: &[u8]) -> (RefusalClass, String) {
    let mut input = bytes;
    match HandshakeDecoder::default().decode(&mut input) {
        Ok(Some(Handshake::Refused(class, text))) => (class, text.to_string()),
        other => panic!("{other:?}"),
    }
}

async fn assert_serves(relay: &Relay) {
    let daemon = Daemon::with(relay.address, 99, OPTIONS).await;
    let (flow, mut destination) = connected(&daemon).await;
    flow.write_all(b"x").await.unwrap();
    let mut byte = [0];
    in_time(destination.read_exact(&mut byte)).await.unwrap();
    daemon.handle.close();
    in_time(daemon.handle.ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_and_nonsense_get_no_answer() {
    let relay = Relay::local();

    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSMRELAY\x02\x01\x00\x0c____________",
        b"SSMRELAY\x01\x01\xff\xff",
        &pattern(3, 100_000),
    ] {
        assert_eq!(answer(&relay, bytes).await, b"");
    }

    assert_serves(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripe_of_an_unknown_bundle_and_an_old_version_are_refused() {
    let relay = Relay::start(&["--allow", "127.0.0.0/8:*", "--max-bundles", "1"]);

    let (class, text) = refusal(&answer(&relay, &hello(7, 5)).await);
    assert_eq!(class, RefusalClass::UnknownBundle);
    assert!(text.contains("restarted"), "{text}");
    let mut old = hello(7, 0);
    old[9] = 0;
    assert_eq!(
        refusal(&answer(&relay, &old).await).0,
        RefusalClass::Version
    );

    let mut first = TcpStream::connect(relay.address).await.unwrap();
    first.write_all(&hello(8, 0)).await.unwrap();
    in_time(first.read_exact(&mut [0; 24])).await.unwrap();
    let (class, text) = refusal(&answer(&relay, &hello(9, 0)).await);
    assert_eq!(class, RefusalClass::TooManyBundles);
    assert!(text.contains("--max-bundles"), "{text}");
    // A bundle without stripes and flows makes room.
    drop(first);
    let welcomed = async {
        loop {
            let mut stream = TcpStream::connect(relay.address).await.unwrap();
            stream.write_all(&hello(9, 0)).await.unwrap();
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            if head[8] == 2 {
                return;
            }
        }
    };
    in_time(welcomed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_a_daemon_out() {
    let relay = Relay::local();
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"SSMREL").await.unwrap();
        }
        silent.push(stream);
    }

    assert_serves(&relay).await;

    for mut stream in silent {
        let ended = in_time(stream.read(&mut [0])).await;
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_records_end_their_bundle_only() {
    let relay = Relay::local();
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;
    let mut random = fastrand::Rng::with_seed(5);

    for n in 0..60 {
        let mut bytes = hello(50 + n, 0);
        for _ in 0..random.usize(1..50) {
            // Often a valid header with a nonsensical body, or the reverse.
            let len = random.u16(0..300);
            let mut record = vec![random.u8(0..13), u8::from(random.u8(..) == 0)];
            record.extend(len.to_be_bytes());
            record.extend(random.u32(0..4).to_be_bytes());
            record.extend(random.u64(0..20).to_be_bytes());
            record.extend((0..len).map(|_| random.u8(..)));
            bytes.extend(record);
        }
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        // The relay may close at any byte.
        drop(stream.write_all(&bytes).await);
        drop(stream.shutdown().await);
        let mut all = Vec::new();
        drop(in_time(stream.read_to_end(&mut all)).await);
    }

    flow.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    in_time(destination.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_program_is_named_in_the_error() {
    let (listener, address) = listener().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        drop(stream.read(&mut [0; 100]).await);
    });
    let (handle, driver) = ssm_proxyd::bundle_driver::daemon(BundleId::new([1; 16]), OPTIONS);
    tasks.spawn(async move { drop(driver.run().await) });

    let stripe = TcpStream::connect(address).await.unwrap();
    let outcome = in_time(handle.connect_stripe(stripe).unwrap().ended()).await;

    assert!(matches!(outcome, StripeOutcome::Closed(_)));
    assert!(
        outcome.to_string().contains("SSH-2.0-OpenSSH_9.9"),
        "{outcome}"
    );
    assert!(handle.end().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_relay_ends_the_bundle_and_never_a_connection_cleanly() {
    for seed in 0..20 {
        let (listener, address) = listener().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = b"SSMRELAY\x02\x01\x00\x0c".to_vec();
                bytes.extend([0; 12]);
                for _ in 0..20 {
                    bytes.extend([random.u8(0..13), 0, 0, random.u8(0..20)]);
                    bytes.extend((0..20).map(|_| random.u8(0..3)));
                }
                drop(stream.write_all(&bytes).await);
                let mut buffer = [0; 1000];
                while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
            }
        });
        let daemon = Daemon::with(address, 1, OPTIONS).await;

        let opened = in_time(daemon.handle.open("db", 1)).await;

        assert!(opened.is_err(), "seed {seed}");
        in_time(daemon.handle.ended()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_return_is_forgotten_after_a_time() {
    let relay = Relay::start(&["--allow", "127.0.0.0/8:*", "--keep", "300ms"]);
    let daemon = Daemon::of(&relay).await;
    let (flow, mut destination) = connected(&daemon).await;

    daemon.agent.set_offline(true);
    daemon.agent.cut_all();
    let error = in_time(destination.read(&mut [0])).await.unwrap_err();
    daemon.agent.set_offline(false);

    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(super::read_all(&flow).await, None);
}
