//! Tests of the handshake, from the request to the first acknowledgement of data.

use super::*;

#[test]
fn the_first_message_is_the_request_with_a_syn() {
    let mut bench = Bench::port(Options::default());

    bench.settle();

    let first = &bench.received[0];
    assert_eq!((first.header.seq, first.header.flags), (Seq(0), SYN));
    assert_eq!(first.header.payload_type, PayloadType::HandshakeRequest);
    let request: payload::HandshakeRequest = payload::decode(&first.payload).unwrap();
    assert_eq!(request.agent_version, "3.3.987.0");
}

#[test]
fn an_unanswered_handshake_fails_after_fifteen_seconds() {
    let mut bench = Bench::port(Options::default());

    bench.wait(Duration::from_millis(14_990));
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    let End { outcome, output } = bench.end().unwrap();
    assert_eq!(*outcome, Outcome::Failed);
    assert!(
        output.starts_with("\n----------ERROR-------\nEncountered error while initiating handshake. Handshake timed out."),
        "{output:?}"
    );
}

#[test]
fn a_failed_action_ends_the_session_with_its_error() {
    let mut bench = Bench::port(Options::default());

    let body = br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":2,"Error":"no"}]}"#;
    bench.send(PayloadType::HandshakeResponse, body);

    let output = &bench.end().unwrap().output;
    let expected = "\n----------ERROR-------\nEncountered error while initiating handshake. \
        SessionType failed on client with status 2 error: no";
    assert_eq!(output, expected);
}

#[test]
fn data_before_the_handshake_is_acknowledged_and_lost() {
    let mut bench = Bench::port(Options::default());

    bench.frames(&[(Command::Syn, 3, b"")]);
    let mut bench = bench.after_handshake("1.2.764.0");
    bench.frames(&[(Command::Psh, 3, b"x")]);

    assert!(bench.events.is_empty());
    assert_eq!(
        bench.agent.stats().violations[&Violation::DataBeforeHandshake],
        1
    );
}

#[test]
fn nothing_is_acknowledged_until_the_plugin_is_ready() {
    let mut bench = Bench::port(Options::default());
    bench.answer("1.2.764.0");

    bench.send_as(1, PayloadType::Size, b"probe");
    assert_eq!(bench.acknowledged(), [0]);
    bench.wait(Duration::from_millis(10));
    bench.send_as(1, PayloadType::Size, b"probe");

    assert_eq!(bench.acknowledged(), [0, 1]);
}

/// Measured: 17 of 1000 (docs/protocol.md, section 5.1).
#[test]
fn some_agents_acknowledge_and_discard_data_right_after_the_handshake() {
    let discarding = (0..1000).filter(|seed| {
        let mut bench = Bench::port(Options::default());
        bench.agent.rng = fastrand::Rng::with_seed(*seed);
        bench.answer("1.2.764.0");
        bench.send_as(1, PayloadType::Size, b"probe");
        bench.acknowledged() == [0, 1]
    });

    let count = discarding.count();
    assert!((5..=60).contains(&count), "{count}");
}

#[test]
fn a_second_response_stops_the_agent_permanently() {
    let mut bench = Bench::ready();

    bench.answer("1.2.764.0");
    bench.send_as(2, PayloadType::Size, b"probe");
    bench.wait(60 * SECOND);

    assert!(bench.acknowledged().is_empty());
    assert!(!bench.agent.wants_input());
    bench.agent.handle_channel_closed(bench.now);
    bench.settle();
    assert!(bench.end().is_some());
}

#[test]
fn a_host_that_cannot_be_dialled_ends_the_session_after_the_handshake() {
    let mut bench = Bench::port(Options::default());
    bench.agent.job.refusal = Some("lookup db: no such host".to_owned());

    bench.answer("1.2.764.0");

    assert_eq!(bench.end(), Some(&End::failed("lookup db: no such host")));
    assert!(!bench.output(PayloadType::HandshakeComplete).is_empty());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut bench = Bench::ready();
        bench.frames(&[(Command::Syn, 3, b"")]);
        bench.received.pop().unwrap().header.id
    };

    assert_eq!(run(), run());
}
