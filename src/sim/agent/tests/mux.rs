//! Tests of streams: dials, ends, the budget, and errors that end all streams.

use super::*;

#[test]
fn the_clients_fin_closes_after_all_is_written() {
    let mut bench = Bench::ready();
    bench.frames(&[
        (Command::Syn, 3, b""),
        (Command::Psh, 3, b"hello"),
        (Command::Fin, 3, b""),
    ]);
    let id = bench.connect();
    assert_eq!(bench.written(id), b"hello");

    bench.agent.handle_written(bench.now, id, 4);
    assert!(!bench.events.contains(&Event::Close(id)));
    bench.agent.handle_written(bench.now, id, 1);
    bench.wait(SECOND);

    assert!(bench.events.contains(&Event::Close(id)));
    assert_eq!(bench.output(PayloadType::Output), fin(3));
}

#[test]
fn the_end_of_a_destination_follows_its_output_and_later_input_is_discarded() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();

    bench.agent.handle_read(id, Bytes::from_static(b"bye"));
    bench
        .agent
        .handle_ended(bench.now, id, DestinationEnd::Finished);
    bench.wait(SECOND);
    bench.frames(&[(Command::Psh, 3, b"late"), (Command::Fin, 3, b"")]);
    bench.wait(SECOND);

    let mut expected = vec![1, 2, 3, 0, 3, 0, 0, 0];
    expected.extend_from_slice(b"bye");
    expected.extend_from_slice(&fin(3));
    assert_eq!(bench.output(PayloadType::Output), expected);
    assert!(bench.written(id).is_empty());
}

#[test]
fn a_refused_dial_is_a_flag_and_then_a_fin() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b""), (Command::Psh, 3, b"lost")]);

    bench.agent.handle_dial_failed(bench.now, bench.dial());
    bench.wait(SECOND);

    let output = bench
        .received
        .iter()
        .filter(|m| m.header.kind == MessageType::Output);
    let output: Vec<_> = output
        .map(|m| (m.header.payload_type, m.payload.to_vec()))
        .collect();
    let flag = (PayloadType::Flag, vec![0, 0, 0, 3]);
    assert_eq!(output, [flag, (PayloadType::Output, fin(3).to_vec())]);
}

#[test]
fn dials_are_made_one_after_the_other() {
    let mut bench = Bench::ready();

    bench.frames(&[(Command::Syn, 3, b""), (Command::Syn, 5, b"")]);
    assert_eq!(bench.events.len(), 1, "one dial");
    let first = bench.connect();

    assert_ne!(bench.dial(), first);
}

#[test]
fn a_full_budget_stops_all_reading_until_the_destination_takes_some() {
    let mut bench = Bench::ready();
    bench.frames(&[(Command::Syn, 3, b"")]);
    let id = bench.connect();
    let data = vec![0; 60_000];

    let mut sent = 0;
    while bench.agent.wants_input() {
        bench.frames(&[(Command::Psh, 3, &data)]);
        sent += data.len();
    }

    assert!(
        (4 << 20..(4 << 20) + data.len()).contains(&sent),
        "{sent} bytes"
    );
    bench.agent.handle_written(bench.now, id, data.len());
    assert!(bench.agent.wants_input());
}

#[test]
fn a_bad_frame_ends_the_session_with_a_fin_if_a_stream_is_open() {
    for open in [true, false] {
        let mut bench = Bench::ready();
        if open {
            bench.frames(&[(Command::Syn, 3, b"")]);
        }

        bench.send(PayloadType::Output, &[2, 0, 0, 0, 3, 0, 0, 0]);
        bench.frames(&[(Command::Syn, 5, b"")]);
        assert!(bench.end().is_none());
        bench.wait(SECOND / 100);

        let expected = End::failed("");
        assert_eq!(bench.end(), open.then_some(&expected));
        let fins = if open { fin(3).to_vec() } else { Vec::new() };
        assert_eq!(bench.output(PayloadType::Output), fins);
        // The mux continues to acknowledge until it has ended.
        let last = if open { 3 } else { 2 };
        assert_eq!(bench.acknowledged().last(), Some(&last));
    }
}

#[test]
fn an_old_client_is_kept_alive_and_its_session_ends_when_it_stops_sending() {
    let mut bench = Bench::port(Options::default()).after_handshake("1.2.0.0");

    bench.wait(29 * SECOND);
    assert!(
        bench.output(PayloadType::Output).starts_with(&[1, 3, 0, 0]),
        "NOPs"
    );
    assert!(bench.end().is_none());
    bench.wait(2 * SECOND);

    assert_eq!(bench.end().unwrap().outcome, Outcome::Failed);
}
