//! Arbitrary and malicious input to a proxy.

use std::io::{Read, Write};

use fastrand::Rng;

use super::{answer, echo, http, open, patient, socks4a, socks5_name, socks5_reply};
use crate::support::daemon_process::assert_echo;

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_host_gets_past_the_rules() {
    let (simulator, daemon) = echo("\"*.internal:*\", \"10.0.0.0/8:*\"", "").await;
    let address = daemon.address();
    let long = "a".repeat(255);
    for host in [
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "0x7f.0.0.internal.1",
        "a@b.internal",
        "a b.internal",
        "a\0.internal",
        "\u{1b}[31m.internal",
        "a\r\nb.internal",
        "",
        ".",
        "..internal",
        &long,
        "*.internal",
        "10.0.0.1:22",
        "[10.0.0.1]",
        "fe80::1%eth0",
        "b\u{fc}cher.internal",
    ] {
        assert_eq!(socks5_reply(address, host, 22), 1, "{host:?}");
        if !host.contains('\0') {
            assert_eq!(answer(address, &socks4a(host, 22))[1], 0x5b, "{host:?}");
        }
        let text = answer(address, &http(&format!("{host}:22")));
        assert!(
            text.starts_with(b"HTTP/1.1 400 "),
            "{host:?}: {}",
            String::from_utf8_lossy(&text)
        );
    }
    for host in [
        "127.0.0.1",
        "localhost",
        "::1",
        "0.0.0.0",
        "127.0.0.9",
        "::ffff:127.0.0.1",
    ] {
        assert_eq!(socks5_reply(address, host, 22), 2, "{host}");
    }
    let log = daemon.stop(&simulator);
    assert!(!log.contains('\u{1b}') && log.lines().count() < 60, "{log}");
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_bytes_neither_stop_the_proxy_nor_flood_its_log() {
    let (simulator, daemon) = echo("\"echo.internal:7\"", "connect_timeout = \"1s\"\n").await;
    let seed = 0x50c5;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);

    for _ in 0..600 {
        let mut bytes = match rng.u8(..4) {
            0 => [&[5, 1, 0][..], &socks5_name("echo.internal", 8)].concat(),
            1 => socks4a("echo.internal", 8),
            2 => http("echo.internal:8"),
            _ => (0..rng.usize(..600)).map(|_| rng.u8(..)).collect(),
        };
        for _ in 0..rng.usize(..4) {
            if let Some(byte) = bytes.get_mut(rng.usize(..40)) {
                *byte = rng.u8(..);
            }
        }
        bytes.truncate(rng.usize(..=bytes.len()));
        let mut client = patient(daemon.address());
        // It may be reset while it sends.
        let _sent = client.write_all(&bytes);
        let _half = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _end = client.read_to_end(&mut answer);
        assert!(answer.len() < 1000, "{answer:?}");
    }
    let head = vec![b'A'; 1 << 20];
    let text = answer_of(
        &daemon,
        &[b"CONNECT a:1 HTTP/1.1\r\nx: ", &head[..]].concat(),
    );
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 431 "),
        "{text}"
    );
    assert_echo(
        &mut open(daemon.address(), "echo.internal", 7),
        b"still here",
    );

    let log = daemon.stop(&simulator);
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 60, "{log}");
    assert_eq!(simulator.ledger().started, 1);
}

/// The answer to a client that sends more than is read.
fn answer_of(daemon: &crate::support::daemon_process::DaemonProcess, bytes: &[u8]) -> String {
    let mut client = patient(daemon.address());
    let _sent = client.write_all(bytes);
    let mut answer = Vec::new();
    let _end = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
