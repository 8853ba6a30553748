//! Tests of order, acknowledgement, retransmission, pace and pauses.

use std::collections::BTreeSet;

use super::*;

#[test]
fn early_messages_are_acknowledged_at_once_and_processed_in_order() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    let push = |byte: u8| [1, 2, 1, 0, 3, 0, 0, 0, byte];

    bench.send_as(3, PayloadType::Output, &push(b'b'));
    assert!(bench.written(id).is_empty());
    bench.send_as(2, PayloadType::Output, &push(b'a'));

    assert_eq!(bench.acknowledged(), [1, 3, 2]);
    assert_eq!(bench.written(id), b"ab");
}

#[test]
fn a_duplicate_is_acknowledged_again_except_by_old_agents() {
    for (version, expected) in [("3.3.987.0", 2), ("3.2.1040.0", 1)] {
        let options = Options {
            version: Version::parse(version),
            ..Options::default()
        };
        let mut bench = Bench::port(options).after_handshake("1.2.764.0");

        bench.send_as(1, PayloadType::Size, b"probe");
        bench.send_as(1, PayloadType::Size, b"probe");

        assert_eq!(bench.acknowledged().len(), expected, "{version}");
    }
}

#[test]
fn the_pace_is_kept_in_messages_of_1024_bytes() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();

    let start = bench.now;
    while bench.now < start + 10 * SECOND {
        while bench.agent.wants_read(id) {
            bench
                .agent
                .handle_read(id, Bytes::from_static(&[0; 16_384]));
        }
        bench.wait(Duration::from_millis(10));
    }

    let sizes = bench.received.iter().map(|m| m.payload.len());
    assert_eq!(sizes.max(), Some(1024));
    let bytes = bench.output(PayloadType::Output).len();
    let rate = f64::from(u32::try_from(bytes).unwrap()) / 10.0 / 1_048_576.0;
    assert!((0.60..=0.69).contains(&rate), "{rate} MiB/s");
}

#[test]
fn only_the_oldest_lost_message_is_retransmitted() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.acknowledges = false;
    bench.agent.handle_read(id, Bytes::from_static(&[0; 4096]));

    bench.wait(2 * SECOND);

    let data = bench
        .received
        .iter()
        .filter(|m| m.header.kind == MessageType::Output);
    let front = data.clone().map(|m| m.header.seq).min().unwrap();
    let again = data.clone().filter(|m| m.header.seq == front).count();
    assert!(again > 3, "{again} times");
    assert_eq!(data.count(), again + 4, "all others went once");
}

/// Measured: 5 to 10 of 3080 (docs/protocol.md, section 0.2).
#[test]
fn a_few_messages_of_a_download_without_faults_are_retransmitted() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.received.clear();

    let count = |bench: &Bench| {
        let data = bench.received.iter().map(|m| &m.header);
        let data = data.filter(|header| header.payload_type == PayloadType::Output);
        let numbers = data.map(|header| header.seq).collect::<Vec<_>>();
        let distinct = numbers.iter().collect::<BTreeSet<_>>().len();
        (distinct, numbers.len() - distinct)
    };
    for _ in 0..1000 {
        if count(&bench).0 >= 3080 {
            break;
        }
        while bench.agent.wants_read(id) {
            let bytes = Bytes::from_static(&[0; 16_384]);
            bench.agent.handle_read(id, bytes);
        }
        bench.wait(Duration::from_millis(10));
    }

    let (distinct, duplicates) = count(&bench);
    assert!(distinct >= 3080, "{distinct}");
    assert!((2..=20).contains(&duplicates), "{duplicates}");
}

#[test]
fn a_pause_stops_data_until_any_message_arrives() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.received.clear();

    let pause = message(MessageType::PausePublication, 0, PayloadType::None, b"").encode();
    bench.agent.handle_message(bench.now, pause);
    bench.agent.handle_read(id, Bytes::from_static(b"x"));
    bench.wait(SECOND);
    assert!(bench.received.is_empty());
    bench.send(PayloadType::Size, b"probe");
    bench.wait(SECOND);

    assert!(!bench.output(PayloadType::Output).is_empty());
}

#[test]
fn a_wrong_digest_is_accepted_unless_digests_are_required() {
    for (digests, expected) in [
        (Digests::Ignored, 1),
        (Digests::Recorded, 1),
        (Digests::Required, 0),
    ] {
        let options = Options {
            digests,
            ..Options::default()
        };
        let mut bench = Bench::port(options).after_handshake("1.2.764.0");
        let mut frame = message(MessageType::Input, 1, PayloadType::Size, b"probe")
            .encode()
            .to_vec();
        frame[120] ^= 1;

        bench.agent.handle_message(bench.now, frame.into());
        bench.settle();

        assert_eq!(bench.acknowledged().len(), expected, "{digests:?}");
        let noted = bench
            .agent
            .stats()
            .violations
            .contains_key(&Violation::BadDigest);
        assert_eq!(noted, digests != Digests::Ignored);
    }
}

#[test]
fn a_disconnected_agent_keeps_reading_and_loses_its_output() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.received.clear();

    bench.agent.handle_disconnected(bench.now);
    bench.agent.handle_read(id, Bytes::from_static(&[0; 3000]));
    bench.wait(SECOND);
    assert!(bench.received.is_empty());
    bench.agent.handle_connected(bench.now);
    bench.wait(2 * SECOND);

    assert_eq!(bench.output(PayloadType::Output).len(), 3008);
}

#[test]
fn old_agents_acknowledge_before_they_process() {
    for (version, expected) in [("3.0.655.0", 0), ("3.0.654.0", 1)] {
        let options = Options {
            version: Version::parse(version),
            ..Options::default()
        };
        let mut bench = Bench::port(options).after_handshake("1.1.69");
        bench.connect();

        bench.send(PayloadType::Output, b"not yet written");

        assert_eq!(bench.acknowledged().len(), expected, "{version}");
    }
}

#[test]
fn early_input_is_lost_by_old_agents_only() {
    for (version, acknowledged, dials) in [("3.0.655.0", 2, 0), ("3.0.654.0", 3, 1)] {
        let options = Options {
            version: Version::parse(version),
            ..Options::default()
        };
        let mut bench = Bench::port(options);
        bench.answer("1.2.764.0");

        bench.send(PayloadType::Size, b"too soon");
        bench.wait(SECOND);
        bench.frames(&[(Command::Syn, 3, b"")]);

        // Early messages are acknowledged on arrival and wait for the refused one.
        assert_eq!(bench.acknowledged().len(), acknowledged, "{version}");
        assert_eq!(bench.agent.stats().dials, dials, "{version}");
    }
}

#[test]
fn all_lost_messages_are_retransmitted_at_once_if_configured() {
    let options = Options {
        pace: SendRate::Unlimited,
        retransmission: Retransmission::All,
        ..Options::default()
    };
    let mut bench = Bench::port(options).after_handshake("1.2.764.0");
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.agent.handle_disconnected(bench.now);
    bench
        .agent
        .handle_read(id, Bytes::from_static(&[0; 32_000]));
    bench.wait(Duration::from_millis(10));
    bench.agent.handle_connected(bench.now);

    bench.wait(Duration::from_millis(500));

    assert_eq!(bench.output(PayloadType::Output).len(), 32_008);
}

#[test]
fn without_a_pace_the_window_limits_unacknowledged_messages() {
    let options = Options {
        pace: SendRate::Unlimited,
        window: Some(50_000),
        ..Options::default()
    };
    let mut bench = Bench::port(options).after_handshake("1.2.764.0");
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.acknowledges = false;

    bench
        .agent
        .handle_read(id, Bytes::from_static(&[0; 200_000]));
    bench.settle();

    let sent = bench.output(PayloadType::Output).len();
    assert!((40_000..52_000).contains(&sent), "{sent} bytes");
}
