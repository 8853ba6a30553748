//! The bytes of a connection, and its end.

use std::time::Duration;

use ssm_proxyd::proto::{Read, Reason, Upload, Write};
use ssm_proxyd::wire::message::MessageType;
use ssm_proxyd::wire::smux::{Command, Decoder, FrameEvent, StreamId};

use crate::support::agent_destination::{Destination, State};
use crate::support::client::End;
use crate::support::pair::Pair;
use crate::support::pair_options::PairOptions;
use crate::support::payload::{assert_prefix, assert_whole, pattern};

#[test]
fn an_echo_returns_what_is_written() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::echo());

    pair.write(stream, &pattern(1, 200_000));
    pair.settle();

    assert_whole(pair.local(stream).received(), &pattern(1, 200_000));
    assert_eq!(pair.local(stream).end(), None);
    assert_eq!(pair.tunnel.stats().bytes_sent, 200_000);
    assert_eq!(pair.tunnel.stats().bytes_received, 200_000);
}

#[test]
fn the_end_of_a_destination_arrives_after_its_last_byte() {
    for len in [0, 1, 1016, 1017, 50_000] {
        let mut pair = Pair::established();

        let stream = pair.open(Destination::source(pattern(1, len)));
        pair.settle();

        assert_whole(pair.local(stream).received(), &pattern(1, len));
        assert_eq!(pair.local(stream).end(), Some(&End::Clean), "{len} bytes");
        assert_eq!(pair.destination(stream).state(), State::Ended);
        assert!(pair.tunnel.is_quiet());
    }
}

#[test]
fn a_half_close_keeps_the_response() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::answering(5, pattern(2, 30_000)));

    pair.write(stream, b"query");
    pair.finish(stream);
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"query");
    assert_whole(pair.local(stream).received(), &pattern(2, 30_000));
    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    assert_eq!(
        commands(&pair, stream),
        [Command::Syn, Command::Psh, Command::Fin]
    );
}

#[test]
fn a_finish_alone_sends_no_fin_and_no_more_bytes() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.finish(stream);

    let late = pair.tunnel.write(stream, b"x");
    pair.run_for(Duration::from_secs(60));

    assert_eq!(late, Write::Closed);
    assert_eq!(commands(&pair, stream), [Command::Syn]);
    assert_eq!(pair.destination(stream).state(), State::Open);
}

#[test]
fn an_upload_is_delivered_once_the_agent_has_closed_after_it() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());

    pair.write(stream, &pattern(1, 90_000));
    pair.abandon(stream);
    assert_eq!(pair.tunnel.upload(stream), Upload::Pending);
    pair.settle();

    assert_whole(pair.destination(stream).received(), &pattern(1, 90_000));
    assert_eq!(pair.tunnel.upload(stream), Upload::Delivered);
    pair.reset(stream);
    pair.settle();
    assert!(pair.tunnel.is_quiet(), "the stream must be removed");
}

/// The agent acknowledges what it drops, after its FIN; such an acknowledgement does not confirm
/// delivery.
#[test]
fn an_upload_is_truncated_if_the_destination_ends_before_it_is_acknowledged() {
    for abandons in [false, true] {
        let mut pair = Pair::established();
        let stream = pair.open(Destination::answering(5, b"enough".to_vec()));

        pair.write(stream, &pattern(1, 200_000));
        if abandons {
            pair.abandon(stream);
        }
        pair.settle();

        assert!(pair.destination(stream).received().len() < 200_000);
        let upload = match abandons {
            true => pair.tunnel.upload(stream),
            false => pair.local(stream).upload().unwrap().clone(),
        };
        assert_eq!(upload, Upload::CutShort, "{abandons}");
    }
}

#[test]
fn bytes_sent_before_a_fin_and_acknowledged_after_it_are_not_delivered() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::answering(5, b"answer".to_vec()));
    pair.settle();

    pair.write(stream, b"query");
    pair.run_for(Duration::from_millis(15));
    pair.write(stream, b"too late");
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"query");
    assert_eq!(pair.local(stream).upload(), Some(&Upload::CutShort));
}

#[test]
fn an_upload_of_a_destination_that_ends_after_it_is_delivered() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::answering(5, b"answer".to_vec()));

    pair.write(stream, b"query");
    pair.settle();

    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    assert_eq!(pair.local(stream).upload(), Some(&Upload::Delivered));
}

#[test]
fn an_upload_for_a_refused_dial_or_a_closed_tunnel_is_lost() {
    let mut pair = Pair::established();
    let refused = pair.open(Destination::refusing());
    let open = pair.open(Destination::sink());
    pair.write(refused, b"for nobody");
    pair.write(open, b"x");
    pair.abandon(refused);
    pair.settle();
    pair.close();
    pair.settle();

    // The other stream was pending as well when the agent reported a refused dial.
    let refusal = Upload::Lost(Reason::RefusedOrClosed);
    assert_eq!(pair.tunnel.upload(refused), refusal);
    let closed = Upload::Lost(Reason::Finished);
    assert_eq!(
        pair.local(open).upload(),
        Some(&closed),
        "the session must be ended by us"
    );
}

#[test]
fn a_reset_delivers_what_was_written_and_then_one_fin() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());

    pair.write(stream, &pattern(1, 90_000));
    pair.reset(stream);
    pair.settle();

    assert_whole(pair.destination(stream).received(), &pattern(1, 90_000));
    assert_eq!(pair.destination(stream).state(), State::Closed);
    let commands = commands(&pair, stream);
    let fins = commands.iter().filter(|c| **c == Command::Fin).count();
    assert_eq!((fins, commands.last()), (1, Some(&Command::Fin)));
    assert!(pair.tunnel.is_quiet());
    assert_eq!(pair.tunnel.read(stream, 9), Read::Lost(Reason::Finished));
}

#[test]
fn a_reset_before_the_first_byte_is_an_empty_stream() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());

    pair.reset(stream);
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"");
    assert_eq!(pair.destination(stream).state(), State::Closed);
    assert!(pair.tunnel.is_quiet());
}

#[test]
fn both_ends_may_close_at_once() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::answering(3, b"bye".to_vec()));
    pair.write(stream, b"bye");
    pair.run_for(Duration::from_millis(15));

    pair.reset(stream);
    pair.settle();

    assert_eq!(pair.destination(stream).received(), b"bye");
    assert!(pair.tunnel.is_quiet());
    assert_eq!(pair.closed, None);
}

#[test]
fn a_destination_that_aborts_ends_the_stream_after_its_last_byte() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::abrupt(100, pattern(2, 3000)));

    pair.write(stream, &pattern(1, 80_000));
    pair.settle();

    assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    let sent = pair.destination(stream).sent().to_vec();
    assert_whole(pair.local(stream).received(), &sent);
    assert_prefix(&pattern(1, 80_000), pair.destination(stream).received());
    assert!(pair.tunnel.is_quiet());
}

#[test]
fn a_banner_arrives_before_the_client_sends() {
    let mut pair = Pair::established();

    let stream = pair.open(Destination::greeting(b"220 ready\r\n".to_vec()));
    pair.settle();

    assert_eq!(pair.local(stream).received(), b"220 ready\r\n");
}

#[test]
fn every_byte_arrives_with_read_buffers_of_every_size() {
    for chunk in [1, 7, 1024, 1 << 20] {
        let mut pair = Pair::established();
        let stream = pair.open(Destination::source(pattern(2, 40_000)).in_chunks_of(chunk));
        pair.local(stream).read_by(chunk);

        pair.settle();

        assert_whole(pair.local(stream).received(), &pattern(2, 40_000));
        assert_eq!(pair.local(stream).end(), Some(&End::Clean));
    }
}

#[test]
fn one_byte_writes_share_messages() {
    let mut pair = Pair::established();
    let stream = pair.open(Destination::sink());
    pair.settle();
    let before = pair.tunnel.stats().sent;

    for byte in pattern(1, 5000) {
        pair.local(stream).write(&[byte]);
    }
    pair.settle();

    assert_whole(pair.destination(stream).received(), &pattern(1, 5000));
    assert_eq!(pair.tunnel.stats().sent - before, 5);
}

#[test]
fn dials_are_made_one_after_the_other() {
    let mut pair = Pair::established();
    let slow = pair.open(Destination::echo().dialled_in(Duration::from_secs(3)));
    let next = pair.open(Destination::echo());
    pair.write(slow, b"slow");
    pair.write(next, b"next");

    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.destination(next).state(), State::Waiting);
    pair.settle();

    assert_eq!(pair.local(slow).received(), b"slow");
    assert_eq!(pair.local(next).received(), b"next");
}

#[test]
fn an_unanswered_dial_does_not_disturb_open_streams() {
    let mut pair = Pair::established();
    let open = pair.open(Destination::echo());
    pair.settle();
    let hole = pair.open(Destination::black_hole());
    pair.write(hole, b"anybody?");

    pair.write(open, &pattern(1, 50_000));
    pair.settle();

    assert_whole(pair.local(open).received(), &pattern(1, 50_000));
    assert_eq!(pair.local(hole).end(), None);
}

#[test]
fn many_streams_carry_their_own_bytes() {
    let mut setup = PairOptions::default();
    setup.options.upload_rate = 0;
    let mut pair = setup.established();

    let streams: Vec<_> = (0..32).map(|_| pair.open(Destination::echo())).collect();
    for (n, stream) in (0..).zip(&streams) {
        pair.write(*stream, &pattern(n, 9_000));
    }
    pair.settle();

    for (n, stream) in (0..).zip(streams) {
        assert_whole(pair.local(stream).received(), &pattern(n, 9_000));
        pair.reset(stream);
    }
    pair.settle();
    assert!(pair.tunnel.is_quiet());
}

#[test]
fn a_stream_number_is_never_used_twice() {
    let mut pair = Pair::established();
    let mut ids = Vec::new();

    for _ in 0..5 {
        let stream = pair.open(Destination::source(b"x".to_vec()));
        pair.settle();
        ids.push(stream);
    }

    assert_eq!(ids, [3, 5, 7, 9, 11].map(StreamId));
}

/// The sent commands of a stream, in order, with data joined.
fn commands(pair: &Pair, stream: StreamId) -> Vec<Command> {
    let mut decoder = Decoder::new();
    let mut commands = Vec::new();
    let mut expected = 1;
    for (_, message) in pair.journal.up_sent.of(&MessageType::Input) {
        if message.header.seq.0 != expected {
            continue;
        }
        expected += 1;
        decoder.push(message.payload);
        while let Some(piece) = decoder.poll().unwrap() {
            let (command, id) = match piece {
                FrameEvent::Open(id) => (Command::Syn, id),
                FrameEvent::Finish(id) => (Command::Fin, id),
                FrameEvent::Data(id, _) => (Command::Psh, id),
            };
            if id == stream {
                commands.push(command);
            }
        }
    }
    commands.dedup_by(|one, other| one == other && *one == Command::Psh);
    commands
}
