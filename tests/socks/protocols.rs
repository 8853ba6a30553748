//! What clients of each protocol send and get.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ssm_proxyd::sim::ServerKind;

use super::{
    answer, echo, exchange, http, open, patient, proxy, socks4a, socks5_name, socks5_reply,
};
use crate::support::daemon_process::{assert_echo, assert_reset};
use crate::support::in_process::{InProcess, destination, resolving};

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_reaches_names_and_addresses() {
    let (simulator, daemon) = echo(
        "\"*.internal:7\", \"10.0.0.0/8:*\", \"[2001:db8::/32]:7\"",
        "",
    )
    .await;
    let address = daemon.address();
    let v6 = [&[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7, 0, 7]].concat();
    for (greeting, request, expected) in [
        (true, socks5_name("echo.internal", 7), &[5, 0][..]),
        (true, socks5_name("10.1.2.3", 7), &[5, 0]),
        (true, vec![5, 1, 0, 1, 10, 1, 2, 3, 0, 7], &[5, 0]),
        (true, v6, &[5, 0]),
        (false, socks4a("echo.internal", 7), &[0, 0x5a]),
        (false, vec![4, 1, 0, 7, 10, 1, 2, 3, b'u', 0], &[0, 0x5a]),
        (false, http("echo.internal:7"), b"HTTP/1.1 200 "),
        (false, http("10.1.2.3:7"), b"HTTP/1.1 200 "),
        (false, http("[2001:db8::7]:7"), b"HTTP/1.1 200 "),
    ] {
        let mut client = patient(address);
        if greeting {
            assert_eq!(exchange(&mut client, &[5, 2, 2, 0], 2), [5, 0]);
        }
        let length = match expected.len() {
            2 if greeting => 10,
            2 => 8,
            _ => b"HTTP/1.1 200 Connection established\r\n\r\n".len(),
        };
        let answer = exchange(&mut client, &request, length);

        assert!(answer.starts_with(expected), "{request:?}: {answer:?}");
        assert_echo(&mut client, b"hello");
    }
    let log = daemon.stop(&simulator);
    for destination in ["echo.internal:7", "10.1.2.3:7", "[2001:db8::7]:7"] {
        let line = format!("destination={destination}");
        assert!(log.contains(&line), "{line}: {log}");
    }
    assert_eq!(simulator.ledger().started, 9, "one for each connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_at_once_reaches_the_destination() {
    let (simulator, daemon) = echo("\"echo.internal:7\"", "").await;
    let socks5 = [&[5, 1, 0][..], &socks5_name("echo.internal", 7)].concat();
    for (request, length) in [
        (socks5, 12),
        (socks4a("echo.internal", 7), 8),
        (http("echo.internal:7"), 39),
    ] {
        let request = [&request[..], b"early"].concat();
        let mut client = patient(daemon.address());

        let answer = exchange(&mut client, &request, length + 5);

        assert!(answer.ends_with(b"early"), "{answer:?}");
        assert_echo(&mut client, b"late");
    }
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_in_single_bytes_and_the_client_may_half_close() {
    let (simulator, daemon) = echo("\"echo.internal:7\"", "").await;
    let mut client = patient(daemon.address());
    client.set_nodelay(true).unwrap();

    for byte in http("echo.internal:7") {
        client.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 39];
    client.read_exact(&mut answer).unwrap();
    client.write_all(b"last words").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = [0; 10];
    client.read_exact(&mut rest).unwrap();

    assert_eq!(&rest, b"last words");
    drop(client);
    daemon.stop(&simulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_permits_is_denied_in_the_protocol_of_the_client() {
    let (simulator, daemon) = echo("\"echo.internal:7\", \"10.1.2.3:7\"", "").await;
    let address = daemon.address();

    assert_eq!(socks5_reply(address, "echo.internal", 8), 2);
    assert_eq!(socks5_reply(address, "other.internal", 7), 2);
    // Rules with names and with addresses do not cover each other.
    assert_eq!(socks5_reply(address, "10.1.2.4", 7), 2);
    assert_eq!(socks5_reply(address, "localhost", 7), 2);
    assert_eq!(
        answer(address, &socks4a("other.internal", 7)),
        [0, 0x5b, 0, 0, 0, 0, 0, 0]
    );
    let text = String::from_utf8(answer(address, &http("other.internal:7"))).unwrap();
    assert!(text.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{text}");
    assert!(
        text.contains("ssm-proxyd: denied: other.internal:7\n"),
        "{text}"
    );
    assert!(
        text.contains("hint: if this destination is intended, add it to `allow`"),
        "{text}"
    );

    let log = daemon.stop(&simulator);
    assert!(log.contains("reason=\"request_denied\""), "{log}");
    assert!(log.contains("destination=other.internal:7"), "{log}");
    assert!(log.contains("class=DestinationDenied"), "{log}");
    assert_eq!(simulator.ledger().started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_methods_other_than_connect_are_explained() {
    let (simulator, daemon) = echo("\"*:*\"", "").await;
    let address = daemon.address();

    let bind = answer(address, &[5, 1, 0, 5, 2, 0, 1, 10, 1, 2, 3, 0, 7]);
    assert_eq!(bind[..4], [5, 0, 5, 7]);
    let udp = answer(address, &[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(udp[..4], [5, 0, 5, 7]);
    assert_eq!(answer(address, &[5, 1, 2]), [5, 0xff]);
    assert_eq!(answer(address, &[4, 2, 0, 7, 10, 1, 2, 3, 0])[1], 0x5b);
    let get = answer(
        address,
        b"GET http://echo.internal/ HTTP/1.1\r\nHost: echo.internal\r\n\r\n",
    );
    let get = String::from_utf8(get).unwrap();
    assert!(get.starts_with("HTTP/1.1 405 "), "{get}");
    assert!(get.contains("\r\nAllow: CONNECT\r\n"), "{get}");
    assert!(get.contains("only CONNECT is supported"), "{get}");

    let head = answer(address, b"HEAD http://echo.internal/ HTTP/1.1\r\n\r\n");
    assert!(head.starts_with(b"HTTP/1.1 405 ") && head.ends_with(b"\r\n\r\n"));
    let http2 = answer(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(http2.starts_with(b"HTTP/1.1 400 "));
    let mut tls = patient(address);
    tls.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .unwrap();
    assert_reset(tls);

    let log = daemon.stop(&simulator);
    assert!(log.contains("UDP ASSOCIATE is not supported"), "{log}");
    assert!(log.contains("TLS, although this proxy"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_the_target_itself() {
    let (simulator, daemon) = echo("\"localhost:*\"", "").await;
    let server = destination(ServerKind::Echo).await;
    let port = server.address().port();

    for name in ["localhost", "127.0.0.1", "::1"] {
        assert_echo(&mut open(daemon.address(), name, port), b"here");
    }

    daemon.stop(&simulator);
    let documents: Vec<_> = simulator
        .ledger()
        .sessions
        .iter()
        .map(|one| one.document.clone())
        .collect();
    assert_eq!(documents, ["AWS-StartPortForwardingSession"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let echo = destination(ServerKind::Echo).await;
    let options = resolving("echo.internal", echo.address());
    let listen = format!("unix:{}", path.display());
    let tables = proxy("\"echo.internal:7\"", "").replace("127.0.0.1:0", &listen);
    let fixture = InProcess::with(options, &tables).await;

    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(&http("echo.internal:7")).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 44];
    client.read_exact(&mut answer).unwrap();

    assert!(answer.ends_with(b"\r\n\r\nhello"));
    drop(client);
    fixture.end().await;
}
