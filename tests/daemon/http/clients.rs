//! Clients with persistent connections, slow clients, many clients, and clients that send invalid
//! requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::{Answer, Fixture};
use crate::support::daemon_process::connect;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_one_request_after_the_other() {
    let fixture = Fixture::new("").await;
    let mut client = connect(fixture.http);
    let mut lines = BufReader::new(client.try_clone().unwrap());

    // Two requests at once, of which the first has no body.
    for requests in [
        &["HEAD /status", "GET /startup"][..],
        &["POST /status", "GET /nowhere", "GET /readiness"],
    ] {
        let text: String = requests
            .iter()
            .map(|request| format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .collect();
        client.write_all(text.as_bytes()).unwrap();
        for request in requests {
            let answer = next(&mut lines, request.starts_with("HEAD"));

            let expected = match *request {
                "POST /status" => 405,
                "GET /nowhere" => 404,
                _ => 200,
            };
            assert_eq!(answer.status, expected, "{request}");
        }
    }
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_refused_without_effect_on_others() {
    let fixture = Fixture::new("").await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
    let header = format!("GET /status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let many = format!("GET /status HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(70));
    for (what, bytes, statuses) in [
        (
            "words",
            &b"hello there, who are you\r\n\r\n"[..],
            &[400][..],
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            &[400],
        ),
        ("zeros", &[0; 100], &[400]),
        ("no HTTP", b"GET /status\r\n\r\n", &[400]),
        (
            "an invalid header",
            b"GET /status HTTP/1.1\r\n\xff\xff\r\n\r\n",
            &[400],
        ),
        (
            "two lengths",
            b"GET /status HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            &[400],
        ),
        ("a long path", long.as_bytes(), &[414, 431]),
        ("a long header", header.as_bytes(), &[431]),
        ("many headers", many.as_bytes(), &[431]),
        // A client that has closed its writing side may still read.
        (
            "a whole one",
            b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
            &[200],
        ),
        // The client closes the connection: it does not wait for a timeout.
        ("half a request", b"GET /status HT", &[]),
        ("nothing", b"", &[]),
        (
            "a body that does not arrive",
            b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n",
            &[405],
        ),
    ] {
        let answer = exchanged(connect(fixture.http), bytes);

        match statuses.is_empty() {
            true => assert_eq!(answer, "", "{what}"),
            false => {
                let status = Answer::of(&answer).status;
                assert!(statuses.contains(&status), "{what}: {answer}");
            }
        }
        assert_eq!(fixture.get("/liveness").status, 200, "{what}");
    }
    fixture.ends();
}

/// A web page can point its own name at this machine; the browser sends that name as the host.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_host_is_refused() {
    let fixture = Fixture::with_http("hosts = [\"metrics.example.org\"]\n").await;
    for (host, status) in [
        ("evil.example", 421),
        ("localhost.evil.example:9187", 421),
        ("", 400),
        ("localhost, evil.example", 400),
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("metrics.example.org", 200),
    ] {
        for path in ["/status", "/metrics", "/readiness", "/startup"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = exchanged(connect(fixture.http), request.as_bytes());

            assert_eq!(Answer::of(&answer).status, status, "{host:?} {path}");
            assert!(
                !answer.contains("evil"),
                "the host must not be repeated: {answer}"
            );
        }
    }
    for (request, status) in [
        (
            "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
            421,
        ),
        (
            "GET http://localhost/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            421,
        ),
        (
            "GET http://localhost/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
            200,
        ),
        ("GET /nowhere HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (
            "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        ("GET /status HTTP/1.1\r\n\r\n", 400),
        ("GET /status HTTP/1.0\r\n\r\n", 200),
    ] {
        let answer = exchanged(connect(fixture.http), request.as_bytes());

        assert_eq!(Answer::of(&answer).status, status, "{request:?}");
    }
    fixture.ends();
}

/// More clients than are permitted, none of which sends a request. Meanwhile, and while as many
/// more connect each time, other clients are answered as usual: if each probe had to wait until
/// some of the idle ones are disconnected, ten probes would take ten times the idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_nothing_do_not_block_others() {
    let mut fixture = Fixture::new("").await;
    let mut silent = Vec::new();
    let begin = now();
    for _ in 0..10 {
        for n in 0..150 {
            let mut client = connect(fixture.http);
            if n % 2 == 0 {
                // It may have been closed already.
                let _written = client.write_all(b"GET /status HTTP/1.1\r\nX: ");
            }
            silent.push(client);
        }
        assert_eq!(fixture.get("/liveness").status, 200);
    }
    let time = now() - begin;
    assert!(time < Duration::from_secs(30), "{time:?}");

    fixture.daemon.stderr.wait_for("too many connections");
    for mut client in silent {
        let mut received = Vec::new();
        let end = client.read_to_end(&mut received);
        let kind = end.map(|_| ()).map_err(|error| error.kind());
        assert!(
            matches!(kind, Ok(()) | Err(io::ErrorKind::ConnectionReset)),
            "{kind:?}"
        );
        assert_eq!(received, b"", "no request was sent");
    }
    fixture.ends();
}

/// They send requests repeatedly, and their buffers are full of responses.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_their_responses_do_not_block_others() {
    let fixture = Fixture::new("").await;
    let mut unresponsive = Vec::new();
    for _ in 0..150 {
        let mut client = connect(fixture.http);
        client.set_nonblocking(true).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
        // As much as fits.
        let _written = client.write(&request);
        unresponsive.push(client);
    }

    for path in ["/liveness", "/metrics", "/status"] {
        assert_eq!(fixture.get(path).status, 200, "{path}");
    }
    drop(unresponsive);
    fixture.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_are_served_at_once() {
    let fixture = Fixture::new("").await;
    let address = fixture.http;
    let clients: Vec<_> = (0..200)
        .map(|_| std::thread::spawn(move || super::get(address, "/metrics").status))
        .collect();

    let statuses = clients.into_iter().map(|client| client.join().unwrap());

    assert!(
        statuses
            .collect::<Vec<_>>()
            .iter()
            .all(|status| *status == 200)
    );
    fixture.ends();
}

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Sends this and nothing more; returns everything received.
fn exchanged(mut client: TcpStream, bytes: &[u8]) -> String {
    client.write_all(bytes).unwrap();
    // The server may have responded and closed already, and unread data causes a reset.
    let _closed = client.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    let _end = client.read_to_end(&mut received);
    String::from_utf8(received).unwrap()
}

/// The next response on a persistent connection.
fn next(lines: &mut BufReader<TcpStream>, is_head: bool) -> Answer {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(lines.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let mut answer = Answer::of(&text);
    let length = answer.header("content-length").unwrap().parse().unwrap();
    assert!(length > 0);
    if !is_head {
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
    }
    answer
}
