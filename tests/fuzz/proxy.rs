//! The target of the handshake of a proxy: SOCKS5, SOCKS4a and HTTP CONNECT.

use ssm_proxyd::forward::proxy::{Decoded, Handshake, Protocol, Status, reply};

/// A handshake has the same result in any fragmentation (the first byte chooses it), keeps few bytes
/// of an incomplete request, and each request and reply is well-formed.
pub(super) fn proxy_handshake(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else {
        return;
    };
    let whole = shake_hands(input, input.len().max(1));
    let pieces = shake_hands(input, usize::from(cut) % 40 + 1);

    assert_eq!(whole.greeted, pieces.greeted, "the fragmentation {cut}");
    match (&whole.end, &pieces.end) {
        // A head is invalid as soon as one of its bytes is, and a limit may be reached before.
        (Decoded::Rejected(one), Decoded::Rejected(other)) if is_http(one.protocol) => {
            assert!(is_http(other.protocol));
        }
        (one, other) => assert_eq!(one, other, "the fragmentation {cut}"),
    }
    check(&whole, input);
    check(&pieces, input);
}

fn is_http(protocol: Option<Protocol>) -> bool {
    matches!(protocol, Some(Protocol::Http | Protocol::HttpHead))
}

/// What was decoded, and what was not consumed.
struct Outcome {
    greeted: usize,
    end: Decoded,
    rest: Vec<u8>,
}

/// Feeds pieces of this size until the end of the handshake.
fn shake_hands(input: &[u8], size: usize) -> Outcome {
    let mut handshake = Handshake::default();
    let (mut greeted, mut fed) = (0, 0);
    let end = loop {
        match handshake.poll() {
            Decoded::Greeted(answer) => {
                assert_eq!(answer, [5, 0]);
                greeted += 1;
            }
            Decoded::Incomplete if fed < input.len() => {
                let end = input.len().min(fed + size);
                handshake.handle_input(&input[fed..end]);
                fed = end;
            }
            end @ (Decoded::Incomplete | Decoded::Request(_) | Decoded::Rejected(_)) => break end,
        }
    };
    let mut rest = handshake.into_rest();
    if end == Decoded::Incomplete {
        assert!(rest.len() < MAX_INCOMPLETE, "{} bytes", rest.len());
    }
    rest.extend(&input[fed..]);
    Outcome { greeted, end, rest }
}

fn check(outcome: &Outcome, input: &[u8]) {
    assert!(outcome.greeted <= 1);
    match &outcome.end {
        Decoded::Incomplete => {}
        Decoded::Greeted(_) => unreachable!("it goes on after a greeting"),
        Decoded::Request(request) => {
            assert_eq!(outcome.greeted == 1, request.protocol == Protocol::Socks5);
            assert!(input.ends_with(&outcome.rest), "what follows is kept");
            assert!(outcome.rest.len() < input.len());
            let text = request.destination.to_string();
            assert!(text.len() < 300 && text.is_ascii(), "{text:?}");
            assert!(!text.contains(|c: char| c.is_control() || c == ' '));
            assert_eq!(text.parse(), Ok(request.destination.clone()));
        }
        Decoded::Rejected(rejection) => {
            let why = rejection.why.to_string();
            assert!(!why.contains(char::is_control), "{why:?}");
            let Some(protocol) = rejection.protocol else {
                return;
            };
            let answer = reply(protocol, rejection.status, &rejection.why, "");
            check_answer(protocol, rejection.status, &answer);
        }
    }
}

/// An answer refuses, in the protocol of its request, and cannot be taken for two.
fn check_answer(protocol: Protocol, status: Status, answer: &[u8]) {
    match protocol {
        Protocol::Socks5Greeting => assert_eq!(answer, [5, 0xff]),
        Protocol::Socks5 => assert!(answer.len() == 10 && answer[0] == 5 && answer[1] != 0),
        Protocol::Socks4 => assert!(answer.len() == 8 && answer[..2] == [0, 0x5b]),
        Protocol::Http | Protocol::HttpHead => {
            let text = str::from_utf8(answer).expect("an answer must be UTF-8");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head must end");
            let mut lines = head.lines();
            let first = lines.next().unwrap_or_default();
            assert!(first.starts_with("HTTP/1.1 4") || first.starts_with("HTTP/1.1 5"));
            let length = format!("Content-Length: {}", body.len());
            match protocol == Protocol::HttpHead {
                true => assert_eq!(body, ""),
                false => assert!(lines.any(|line| line == length), "{head}"),
            }
            assert_eq!(
                head.contains("\r\nAllow: CONNECT\r\n"),
                status == Status::MethodNotAllowed
            );
            assert!(body.len() < 1000, "{body}");
        }
    }
}

/// A head of HTTP is the longest request.
const MAX_INCOMPLETE: usize = 16 * 1024 + 40;
