//! Conversations of valid, truncated, huge and arbitrary input.

mod arbitrary;
mod http_requests;

use std::time::Duration;

use super::*;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::telemetry::{ConnectionRecord, EndReason, Phase, Stage, StageTimes};

fn record(reason: EndReason, class: ErrorClass, error: &str) -> ConnectionRecord {
    ConnectionRecord {
        id: 1,
        reason,
        phase: Phase::Connecting(Stage::Queued),
        class: Some(class),
        sent: 0,
        received: 0,
        duration: Duration::ZERO,
        stages: StageTimes::default(),
        resumes: 0,
        longest_stall: Duration::ZERO,
        peer: Printable::default(),
        target: "i-0123456789abcdef0".into(),
        node: None,
        destination: "db.internal:5432".into(),
        session: None,
        error: Some(error.into()),
        hint: class.remedy().into(),
        explained: None,
    }
}

pub(in crate::forward) fn offline() -> ConnectionRecord {
    record(
        EndReason::SessionNotStarted,
        ErrorClass::TargetNotConnected,
        "StartSession: i-0123456789abcdef0 is not connected",
    )
}

fn explanation(record: &ConnectionRecord) -> Explanation {
    Explanation::of(record, "orders", true).unwrap()
}

fn conversation(protocol: ClientProtocol) -> Conversation {
    Conversation::new(protocol, explanation(&offline()))
}

/// Sends the bytes at once, and returns what the client gets, and whether the connection ends.
fn respond(protocol: ClientProtocol, bytes: &[u8]) -> (Vec<u8>, Step) {
    let (sent, steps) = run(&mut conversation(protocol), [bytes]);
    (sent, steps.into_iter().next_back().unwrap())
}

fn run<'a>(
    conversation: &mut Conversation,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<Step>) {
    let (mut sent, mut steps) = (Vec::new(), Vec::new());
    for part in parts {
        let mut step = conversation.handle_bytes(part);
        while let Step::Send(bytes) = step {
            sent.extend(bytes);
            step = conversation.handle_bytes(b"");
        }
        if let Step::End(message) = &step {
            sent.extend(message);
        }
        let is_last = step != Step::Read;
        steps.push(step);
        if is_last {
            break;
        }
    }
    (sent, steps)
}

fn startup() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 28, 0, 3, 0, 0];
    packet.extend(b"user\0a\0database\0\0\0\0");
    packet.resize(28, 0);
    packet
}

/// A complete request.
fn request(protocol: ClientProtocol) -> Vec<u8> {
    match protocol {
        ClientProtocol::Postgres => startup(),
        ClientProtocol::Mysql
        | ClientProtocol::Redis
        | ClientProtocol::Http
        | ClientProtocol::Ssh => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    }
}

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
const CANCEL_REQUEST: &[u8] = &[0, 0, 0, 16, 4, 210, 22, 46, 1, 2, 3, 4, 5, 6, 7, 8];
const CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

#[test]
fn a_startup_packet_gets_an_error_response() {
    let (sent, _) = respond(ClientProtocol::Postgres, &startup());

    assert_eq!(sent[0], b'E');
    let length = u32::from_be_bytes(sent[1..5].try_into().unwrap());
    assert_eq!(length as usize + 1, sent.len());
    let fields: Vec<_> = sent[5..].split(|byte| *byte == 0).collect();
    let fields: Vec<_> = fields.iter().map(|f| String::from_utf8_lossy(f)).collect();
    let remedy = ErrorClass::TargetNotConnected.remedy();
    assert_eq!(
        fields,
        [
            "SFATAL",
            "VFATAL",
            "C57P03",
            "Mssm-proxyd: forward orders: StartSession: i-0123456789abcdef0 is not connected",
            "Dtarget i-0123456789abcdef0, destination db.internal:5432, class TargetNotConnected",
            &format!("H{remedy}"),
            "",
            "",
        ]
    );
}

#[test]
fn encryption_is_declined_before_the_error_response() {
    for requests in [
        &[SSL_REQUEST][..],
        &[GSSENC_REQUEST],
        &[GSSENC_REQUEST, SSL_REQUEST],
    ] {
        let bytes = [&requests.concat(), &startup()[..]].concat();
        let parts: Vec<&[u8]> = bytes.chunks(1).collect();

        let (at_once, end) = respond(ClientProtocol::Postgres, &bytes);
        let (bytewise, _) = run(&mut conversation(ClientProtocol::Postgres), parts);

        let (declined, message) = at_once.split_at(requests.len());
        assert!(declined.iter().all(|byte| *byte == b'N'), "{declined:?}");
        assert_eq!(end, Step::End(message.to_vec()));
        assert_eq!(bytewise, at_once);
    }
}

#[test]
fn clients_that_expect_no_message_are_reset() {
    let endless_requests = SSL_REQUEST.repeat(3);
    for (protocol, bytes) in [
        (ClientProtocol::Postgres, CANCEL_REQUEST),
        (ClientProtocol::Postgres, CLIENT_HELLO),
        (ClientProtocol::Postgres, &endless_requests),
        (ClientProtocol::Postgres, &[0, 0, 0, 7, 0, 3, 0, 0]),
        (ClientProtocol::Postgres, &[0, 0, 0x27, 0x11, 0, 3, 0, 0]),
        (ClientProtocol::Postgres, &[0, 0, 0, 9, 0, 2, 0, 0, 0]),
        (ClientProtocol::Postgres, b"GET / HTTP/1.1\r\n\r\n"),
        (ClientProtocol::Redis, CLIENT_HELLO),
        (ClientProtocol::Http, CLIENT_HELLO),
        (ClientProtocol::Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (ClientProtocol::Http, b"SSH-2.0-OpenSSH_9.2\r\n"),
    ] {
        let (_, end) = respond(protocol, bytes);
        assert_eq!(end, Step::Reset, "{protocol:?} {bytes:?}");
    }
    let (declined, _) = respond(ClientProtocol::Postgres, &endless_requests);
    assert_eq!(declined, b"NN");
}

#[test]
fn mysql_clients_get_an_error_packet_at_once() {
    let (sent, _) = respond(ClientProtocol::Mysql, b"");

    assert_eq!(
        usize::from(sent[0]) + (usize::from(sent[1]) << 8),
        sent.len() - 4
    );
    assert_eq!(sent[2..7], [0, 0, 0xff, 0x86, 0x04]);
    let text = std::str::from_utf8(&sent[7..]).unwrap();
    assert!(text.len() < 512);
    let expected = "ssm-proxyd: forward orders: StartSession: i-0123456789abcdef0 is not connected; hint: check that ";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_redis_command_gets_an_error_reply_of_one_line() {
    for command in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n", b"*2\r\n$4\r"] {
        let (sent, _) = respond(ClientProtocol::Redis, command);

        let text = String::from_utf8(sent).unwrap();
        assert!(
            text.starts_with("-ERR ssm-proxyd: forward orders: "),
            "{text}"
        );
        assert!(text.ends_with(", class TargetNotConnected)\r\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
    assert_eq!(respond(ClientProtocol::Redis, b"*1").1, Step::Read);
}

#[test]
fn an_ssh_client_gets_lines_and_a_disconnect_message() {
    let (sent, _) = respond(ClientProtocol::Ssh, b"");

    let marker = b"SSH-2.0-ssm-proxyd\r\n";
    let at = sent
        .windows(marker.len())
        .position(|part| part == marker)
        .unwrap();
    let lines = std::str::from_utf8(&sent[..at]).unwrap();
    assert_eq!(lines.matches("\r\n").count(), 3);
    assert!(
        lines
            .split("\r\n")
            .all(|line| line.len() < 255 && !line.starts_with("SSH-"))
    );
    let packet = &sent[at + marker.len()..];
    assert_eq!(packet.len() % 8, 0);
    let (length, padding) = (
        usize::from(packet[3]) + (usize::from(packet[2]) << 8),
        packet[4],
    );
    assert_eq!(length + 4, packet.len());
    assert!((4..12).contains(&padding));
    assert_eq!(packet[5..10], [1, 0, 0, 0, 7]);
    let end = packet.len() - usize::from(padding);
    let description = std::str::from_utf8(&packet[14..end - 4]).unwrap();
    assert!(
        description.starts_with("ssm-proxyd: forward orders: "),
        "{description}"
    );
}

#[test]
fn texts_are_cut_and_stay_on_one_line() {
    let error = format!(
        "{}\r\nSSH-2.0-x\r\n\0{}",
        "ä".repeat(300),
        "🦀".repeat(3000)
    );
    let mut record = record(
        EndReason::SessionNotStarted,
        ErrorClass::AccessDenied,
        &error,
    );
    record.hint = "ü".repeat(5000).into();
    record.destination = "\u{202e}\n".repeat(700).into();
    for protocol in ClientProtocol::ALL {
        let mut conversation = Conversation::new(protocol, explanation(&record));
        let request = request(protocol);

        let (sent, steps) = run(&mut conversation, [&request[..]]);

        assert!(matches!(steps[0], Step::End(_)), "{protocol:?}");
        assert!(sent.len() < 16_000, "{protocol:?}: {}", sent.len());
        if matches!(protocol, ClientProtocol::Mysql) {
            assert!(std::str::from_utf8(&sent[7..]).unwrap().len() <= 511);
        }
    }
}

#[test]
fn clients_on_other_machines_get_no_names() {
    let record = record(
        EndReason::SessionNotStarted,
        ErrorClass::AccessDenied,
        "User: arn:aws:iam::111122223333:user/me is not authorized",
    );

    for protocol in ClientProtocol::ALL {
        let explanation = Explanation::of(&record, "orders", false).unwrap();
        let mut conversation = Conversation::new(protocol, explanation);
        let request = request(protocol);
        let (sent, _) = run(&mut conversation, [&request[..]]);
        let sent = String::from_utf8_lossy(&sent);
        assert!(sent.contains("AWS denied the call"), "{sent}");
        for secret in ["arn:", "1111", "i-0123", "db.internal"] {
            assert!(!sent.contains(secret), "{sent}");
        }
    }
}

#[test]
fn ends_that_are_not_failures_or_follow_bytes_of_the_destination_are_not_explained() {
    for reason in EndReason::ALL {
        let mut record = record(*reason, ErrorClass::TimedOut, "late");
        let is_explained = Explanation::of(&record, "orders", true).is_some();
        // The client has gone, or is that of a proxy, which answers in its own protocol.
        let is_other = matches!(
            reason,
            EndReason::UploadIncomplete | EndReason::RequestDenied | EndReason::RequestInvalid
        );
        let expected = reason.is_failure() && !is_other || *reason == EndReason::Stopped;
        assert_eq!(is_explained, expected, "{reason}");
        record.received = 1;
        assert!(Explanation::of(&record, "orders", true).is_none());
    }
}

#[test]
fn a_stop_is_explained_without_an_error() {
    let mut record = record(EndReason::Stopped, ErrorClass::Stopping, "");
    (record.class, record.error, record.hint) = (None, None, Printable::default());

    let explanation = explanation(&record);

    assert_eq!(
        explanation.cause(),
        "ssm-proxyd: forward orders: the forward is stopping"
    );
    assert_eq!(
        explanation.hint,
        "connect again when it has been started again"
    );
    assert!(explanation.is_temporary);
}
