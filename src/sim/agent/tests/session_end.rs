//! Tests of the end of a session, and of a single destination without a mux.

use super::*;

#[test]
fn the_terminate_flag_is_acknowledged_and_ends_the_session() {
    let mut bench = Bench::ready();

    bench.send(PayloadType::Flag, &[0, 0, 0, 2]);

    assert_eq!(bench.acknowledged(), [1]);
    assert_eq!(bench.end(), Some(&End::success()));
}

#[test]
fn the_end_waits_two_seconds_for_acknowledgements() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    bench.acknowledges = false;
    bench.agent.handle_read(id, Bytes::from_static(b"x"));
    bench.wait(SECOND);

    bench.send(PayloadType::Flag, &[0, 0, 0, 2]);
    bench.wait(Duration::from_millis(1_990));
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    assert!(bench.end().is_some());
}

#[test]
fn basic_mode_writes_before_it_acknowledges_and_dials_again_after_an_end() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.1.69");
    let first = bench.connect();
    bench.send(PayloadType::Output, b"one");
    assert!(bench.acknowledged().is_empty());
    bench.agent.handle_written(bench.now, first, 3);
    bench.settle();
    assert_eq!(bench.acknowledged(), [1]);

    bench
        .agent
        .handle_ended(bench.now, first, DestinationEnd::Finished);
    bench.settle();
    bench.send(PayloadType::Output, b"two");
    let second = bench.connect();

    assert_ne!(first, second);
    assert_eq!(bench.written(second), b"two");
    assert!(bench.end().is_none());
}

#[test]
fn output_of_a_connection_that_the_client_has_closed_is_discarded() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.1.69");
    let first = bench.connect();
    bench
        .agent
        .handle_read(first, Bytes::from_static(&[b'x'; 50_000]));
    bench.settle();

    bench.send(PayloadType::Flag, &[0, 0, 0, 1]);
    bench.received.clear();
    bench.send(PayloadType::Output, b"two");
    let second = bench.connect();
    bench.agent.handle_written(bench.now, second, 3);
    bench.agent.handle_read(second, Bytes::from_static(b"two"));
    bench.wait(SECOND);

    let output = bench.output(PayloadType::Output);
    assert_eq!(output.len(), 3, "nothing of the first connection");
    assert_eq!(output, b"two");
}

#[test]
fn an_old_agent_loses_nothing_while_it_dials_for_the_first_time() {
    let options = Options {
        version: Version::parse("3.0.196.0"),
        readiness: SECOND..SECOND,
        handshake_race: Race::NEVER,
        ..Options::default()
    };
    let mut bench = Bench::port(options);
    bench.answer("1.2.764.0");

    assert!(!bench.agent.wants_input(), "the dial is under way");
    let id = bench.connect();
    assert!(bench.agent.wants_input());
    bench.send(PayloadType::Output, b"hello");

    assert_eq!(bench.written(id), b"hello");
}

#[test]
fn a_refused_dial_in_basic_mode_ends_the_session_soon_and_without_a_text() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.1.69");

    bench.agent.handle_dial_failed(bench.now, bench.dial());
    bench.send(PayloadType::Output, b"anyone?");
    bench.wait(Duration::from_millis(30));
    assert!(bench.received.is_empty() && bench.end().is_none());
    bench.wait(Duration::from_millis(10));

    assert_eq!(bench.end(), Some(&End::failed("")));
}

#[test]
fn the_session_ends_after_all_output_when_sshd_closes() {
    let mut bench =
        Bench::new(Options::default(), &[("portNumber", "22")]).after_handshake("1.2.764.0");
    let id = bench.connect();

    bench
        .agent
        .handle_read(id, Bytes::from_static(&[b'x'; 5000]));
    bench
        .agent
        .handle_ended(bench.now, id, DestinationEnd::Finished);
    assert!(bench.end().is_none());
    bench.wait(SECOND);

    assert_eq!(bench.output(PayloadType::Output), [b'x'; 5000]);
    assert_eq!(bench.end(), Some(&End::success()));
}

#[test]
fn the_oldest_agents_do_not_know_the_terminate_flag() {
    let options = Options {
        version: Version::parse("2.3.722.0"),
        ..Options::default()
    };
    let mut bench = Bench::port(options).after_handshake("1.2.764.0");
    bench.connect();

    bench.send(PayloadType::Flag, &[0, 0, 0, 2]);
    bench.wait(3 * SECOND);

    assert!(bench.end().is_none());
    bench.agent.handle_channel_closed(bench.now);
    bench.settle();
    assert!(bench.end().is_some());
}

#[test]
fn a_crashed_worker_sends_nothing_until_it_is_reported() {
    let mut bench = Bench::ready();

    bench.agent.handle_crash(bench.now);
    bench.send(PayloadType::Size, b"probe");
    bench.wait(59 * SECOND);
    assert!(bench.received.is_empty() && bench.end().is_none());
    bench.wait(2 * SECOND);

    assert_eq!(bench.end(), Some(&End::failed(CRASHED)));
}

#[test]
fn the_service_ends_a_session_whose_worker_has_crashed() {
    let mut bench = Bench::ready();
    bench.agent.handle_crash(bench.now);

    bench.agent.handle_channel_closed(bench.now);
    bench.settle();

    assert_eq!(bench.end(), Some(&End::success()));
    assert_eq!(bench.agent.poll_timeout(), None);
}
