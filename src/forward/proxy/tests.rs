//! Requests of clients, valid and hostile.

use fastrand::Rng;

use super::*;

/// Decodes bytes that come at once. Returns what is known at the end, and the rest.
fn decode(bytes: &[u8]) -> (Decoded, Vec<u8>) {
    decode_in(bytes.chunks(bytes.len().max(1)))
}

fn decode_in<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Decoded, Vec<u8>) {
    let mut handshake = Handshake::default();
    let mut decoded = handshake.poll();
    let mut rest: Vec<u8> = Vec::new();
    for chunk in chunks {
        match decoded {
            Decoded::Incomplete => handshake.handle_input(chunk),
            Decoded::Greeted(_) => unreachable!("polled below"),
            Decoded::Request(_) | Decoded::Rejected(_) => {
                rest.extend(chunk);
                continue;
            }
        }
        decoded = handshake.poll();
        if let Decoded::Greeted(answer) = decoded {
            assert_eq!(answer, [5, 0]);
            decoded = handshake.poll();
        }
    }
    let mut received = handshake.into_rest();
    received.extend(rest);
    (decoded, received)
}

fn socks5(address: &[u8], port: u16) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, 1, 0];
    bytes.extend(address);
    bytes.extend(port.to_be_bytes());
    bytes
}

fn socks5_name(name: &[u8], port: u16) -> Vec<u8> {
    let mut address = vec![3, u8::try_from(name.len()).unwrap()];
    address.extend(name);
    socks5(&address, port)
}

fn socks4a(name: &[u8], port: u16) -> Vec<u8> {
    let mut bytes = vec![4, 1];
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0, 0, 7]);
    bytes.extend(b"user\0");
    bytes.extend(name);
    bytes.push(0);
    bytes
}

fn connect(authority: &str) -> Vec<u8> {
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: other:1\r\nProxy-X: y\r\n\r\n");
    head.into_bytes()
}

fn destination(bytes: &[u8]) -> String {
    let decoded = decode(bytes).0;
    let Decoded::Request(request) = decoded else {
        panic!("{decoded:?} for {bytes:?}");
    };
    request.destination.to_string()
}

fn status(bytes: &[u8]) -> Status {
    let decoded = decode(bytes).0;
    let Decoded::Rejected(rejection) = decoded else {
        panic!("{decoded:?} for {:?}", String::from_utf8_lossy(bytes));
    };
    rejection.status
}

#[test]
fn a_request_of_each_protocol_has_its_destination() {
    let v6 = [&[4][..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[7]].concat();
    let mapped = [&[4][..], &[0; 10], &[0xff, 0xff, 10, 0, 0, 7]].concat();
    for (bytes, expected) in [
        (socks5_name(b"db.internal", 5432), "db.internal:5432"),
        (socks5_name(b"10.0.0.7", 1), "10.0.0.7:1"),
        (socks5_name(b"2001:db8::7", 1), "[2001:db8::7]:1"),
        (socks5_name(b"LocalHost.", 1), "localhost:1"),
        (socks5_name(b"::ffff:127.0.0.1", 1), "localhost:1"),
        (socks5(&[1, 10, 0, 0, 7], 443), "10.0.0.7:443"),
        (socks5(&[1, 127, 0, 0, 1], 443), "localhost:443"),
        (socks5(&v6, 443), "[2001:db8::7]:443"),
        (socks5(&mapped, 443), "10.0.0.7:443"),
        (socks4a(b"db.internal.", 5432), "db.internal.:5432"),
        (vec![4, 1, 1, 187, 10, 0, 0, 7, 0], "10.0.0.7:443"),
        (connect("db.internal:443"), "db.internal:443"),
        (connect("10.0.0.7:443"), "10.0.0.7:443"),
        (connect("[2001:db8::7]:443"), "[2001:db8::7]:443"),
        (connect("[::1]:443"), "localhost:443"),
        (b"CONNECT a:1 HTTP/1.0\n\n".to_vec(), "a:1"),
    ] {
        assert_eq!(destination(&bytes), expected);
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_what_follows_is_kept() {
    for mut bytes in [
        socks5_name(b"db.internal", 5432),
        socks4a(b"db.internal", 5432),
        connect("db.internal:5432"),
    ] {
        let length = bytes.len();
        bytes.extend(b"more");

        let (at_once, rest) = decode(&bytes);
        assert_eq!(rest, b"more");
        let (in_bytes, rest) = decode_in(bytes.chunks(1));
        assert_eq!(rest, b"more");
        let (incomplete, _) = decode(&bytes[..length - 1]);

        assert!(matches!(incomplete, Decoded::Incomplete), "{bytes:?}");
        let (Decoded::Request(one), Decoded::Request(other)) = (at_once, in_bytes) else {
            panic!("no request: {bytes:?}");
        };
        assert_eq!(one, other);
    }
}

#[test]
fn hostile_hosts_are_rejected() {
    let long = "a".repeat(255);
    let labels = vec!["a"; 127].join(".") + ".a";
    for host in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "-a",
        "a-",
        "a b",
        "a\tb",
        "a\nb",
        "a\0b",
        "a@b",
        "a/b",
        "a%00b",
        "user:pass@db",
        "http://db",
        "\u{1b}[2J",
        "b\u{fc}cher.example",
        "a,b",
        "*",
        "*.internal",
        "a'b",
        "a;b",
        "$(reboot)",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0X7F000001",
        "0x",
        "1.0x7f",
        "0177.0.0.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "10.0.0.1:80",
        "fe80::1%1",
        "fe80::1%eth0",
        ":",
        &long,
        &labels,
    ] {
        if !host.contains('\0') {
            assert_eq!(
                status(&socks4a(host.as_bytes(), 1)),
                Status::BadRequest,
                "{host:?}"
            );
        }
        assert_eq!(
            status(&socks5_name(host.as_bytes(), 1)),
            Status::BadRequest,
            "{host:?}"
        );
        assert_eq!(
            status(&connect(&format!("{host}:1"))),
            Status::BadRequest,
            "{host:?}"
        );
    }
    for host in ["127.0.0.2", "0.0.0.0", "::", "::ffff:127.0.0.9"] {
        assert_eq!(
            status(&socks5_name(host.as_bytes(), 1)),
            Status::Denied,
            "{host}"
        );
    }
    assert_eq!(status(&socks5(&[1, 0, 0, 0, 0], 1)), Status::Denied);
    assert_eq!(status(&[4, 1, 0, 1, 0, 0, 0, 0, 0]), Status::Denied);
}

#[test]
fn other_commands_methods_and_protocols_are_rejected() {
    for (bytes, expected) in [
        (
            &[5, 1, 0, 5, 2, 0, 1, 1, 1, 1, 1, 0, 1][..],
            Status::Unsupported,
        ),
        (
            &[5, 1, 0, 5, 3, 0, 1, 1, 1, 1, 1, 0, 1],
            Status::Unsupported,
        ),
        (&[5, 1, 0, 5, 1, 0, 2], Status::UnknownAddressType),
        (&[5, 1, 0, 4, 1, 0, 1], Status::BadRequest),
        (
            &[5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 0, 0],
            Status::BadRequest,
        ),
        (&[5, 1, 2], Status::BadRequest),
        (&[5, 0], Status::BadRequest),
        (&[4, 2, 0, 1, 1, 1, 1, 1], Status::Unsupported),
        (&[0x16, 3, 1], Status::BadRequest),
        (&[0], Status::BadRequest),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", Status::MethodNotAllowed),
        (b"connect a:1 HTTP/1.1\r\n\r\n", Status::MethodNotAllowed),
        (b"CONNECT a HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT a: HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT a:0 HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT a:+1 HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT a:65536 HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT ::1:443 HTTP/1.1\r\n\r\n", Status::BadRequest),
        (b"CONNECT [db]:443 HTTP/1.1\r\n\r\n", Status::BadRequest),
        (
            b"CONNECT a:1 HTTP/1.1\r\nbad header\r\n\r\n",
            Status::BadRequest,
        ),
        (b"SSH-2.0-x\r\n", Status::BadRequest),
    ] {
        assert_eq!(status(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn what_is_incomplete_is_bounded() {
    let head = |bytes: usize| {
        let name = "x: ".to_owned() + &"y".repeat(bytes);
        format!("CONNECT a:1 HTTP/1.1\r\n{name}").into_bytes()
    };
    assert!(matches!(decode(&head(16_000)).0, Decoded::Incomplete));
    assert_eq!(status(&head(16_400)), Status::TooLarge);
    let many = "a: b\r\n".repeat(101);
    let many = format!("CONNECT a:1 HTTP/1.1\r\n{many}\r\n");
    assert_eq!(status(many.as_bytes()), Status::TooLarge);
    let user = [&[4, 1, 0, 1, 1, 1, 1, 1][..], &[b'u'; 256]].concat();
    assert_eq!(status(&user), Status::BadRequest);
    assert!(matches!(decode(&user[..8 + 255]).0, Decoded::Incomplete));
}

/// Whatever comes, and in whatever pieces: the same result, a bound on what is kept, and only
/// destinations that a configuration could have.
#[test]
fn arbitrary_input_is_a_request_a_rejection_or_incomplete() {
    for seed in 0..20_000 {
        let mut rng = Rng::with_seed(seed);
        let mut bytes = match rng.u8(..5) {
            0 => socks5_name(b"db.internal", 5432),
            1 => socks5(&[1, 10, 0, 0, 7], 443),
            2 => socks4a(b"db.internal", 5432),
            3 => connect("[2001:db8::7]:443"),
            _ => Vec::new(),
        };
        for _ in 0..rng.usize(..6) {
            let at = rng.usize(..=bytes.len());
            match rng.u8(..4) {
                0 => bytes.insert(at, rng.u8(..)),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] = rng.u8(..),
                _ => bytes.extend((0..rng.usize(..300)).map(|_| rng.u8(..))),
            }
        }

        let (at_once, rest) = decode(&bytes);
        let size = rng.usize(1..=7);
        let (in_pieces, other_rest) = decode_in(bytes.chunks(size));

        match (&at_once, &in_pieces) {
            (Decoded::Incomplete, Decoded::Incomplete) => assert!(rest.len() < 17_000),
            (Decoded::Request(one), Decoded::Request(other)) => {
                assert_eq!((one, rest), (other, other_rest), "seed {seed}");
                let text = one.destination.to_string();
                assert_eq!(text.parse(), Ok(one.destination.clone()), "seed {seed}");
            }
            // An HTTP head is invalid as soon as one of its bytes is.
            (Decoded::Rejected(one), Decoded::Rejected(other)) => {
                assert_eq!(one.protocol, other.protocol, "seed {seed}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

#[test]
fn a_reply_to_http_has_the_reason_and_its_length() {
    let why = "not \"allowed\"".into();

    let text = reply(Protocol::Http, Status::Denied, &why, "ask");

    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert_eq!(body, "ssm-proxyd: not \"allowed\"\nhint: ask\n");
    let refused = reply(Protocol::Http, Status::MethodNotAllowed, &why, "");
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.contains("\r\nAllow: CONNECT\r\n"), "{refused}");
}

#[test]
fn a_response_to_head_has_no_body() {
    let decoded = decode(b"HEAD http://db.internal/ HTTP/1.1\r\nHost: db.internal\r\n\r\n").0;

    let Decoded::Rejected(Rejection {
        protocol: Some(protocol),
        status,
        why,
    }) = decoded
    else {
        panic!("{decoded:?}");
    };
    let answer = String::from_utf8(reply(protocol, status, &why, "")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains("Content-Length: 0"), "{answer}");
}
