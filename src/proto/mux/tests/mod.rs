//! Tests of scheduling and wake-ups.

mod refusals;

use super::*;

/// Returns the next message as `peer` reads it.
fn filled(mux: &mut Mux, peer: &mut Decoder, max: usize) -> Vec<FrameEvent> {
    peer.push(message(mux, max));
    std::iter::from_fn(|| peer.poll().unwrap()).collect()
}

fn message(mux: &mut Mux, max: usize) -> Bytes {
    let mut draft = Draft::with_capacity(max);
    mux.fill(&mut draft, max, Seq(0));
    assert!(draft.len() <= max);
    draft.payload().split_off(draft_header()).freeze()
}

/// Offset of the payload in an encoded draft.
fn draft_header() -> usize {
    crate::wire::message::HEADER_LEN
}

fn frames(headers: &[Header]) -> Bytes {
    headers
        .iter()
        .flat_map(|header| header.encode())
        .collect::<Vec<_>>()
        .into()
}

fn data(id: StreamId, text: &'static [u8]) -> Bytes {
    let header = Header::push(id, u16::try_from(text.len()).unwrap()).encode();
    [&header[..], text].concat().into()
}

#[test]
fn a_stream_opens_with_its_first_bytes() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();
    mux.write(id, b"hello");

    let pieces = filled(&mut mux, &mut peer, 1024);

    assert_eq!(id, StreamId(3));
    assert_eq!(
        pieces,
        [
            FrameEvent::Open(id),
            FrameEvent::Data(id, Bytes::from_static(b"hello"))
        ]
    );
    assert!(!mux.has_output());
}

#[test]
fn streams_take_turns() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let (bulk, key) = (mux.open().unwrap(), mux.open().unwrap());
    filled(&mut mux, &mut peer, 1024);
    mux.write(bulk, &[7; 100_000]);
    filled(&mut mux, &mut peer, 1024);
    mux.write(key, b"k");

    let pieces = filled(&mut mux, &mut peer, 1024);

    assert_eq!(pieces[0], FrameEvent::Data(key, Bytes::from_static(b"k")));
    assert!(matches!(&pieces[1], FrameEvent::Data(id, _) if *id == bulk));
    mux.assert_invariants();
}

#[test]
fn many_interactive_streams_leave_half_of_the_bytes_to_the_others() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let bulk = mux.open().unwrap();
    let crowd: Vec<_> = (0..10).map(|_| mux.open().unwrap()).collect();
    filled(&mut mux, &mut peer, 1024);
    mux.write(bulk, &[7; 100_000]);
    filled(&mut mux, &mut peer, 1024);

    let mut of_bulk = 0;
    for _ in 0..20 {
        for id in &crowd {
            if mux.streams[id].unsent() == 0 {
                mux.write(*id, &[1; 100]);
            }
        }
        let pieces = filled(&mut mux, &mut peer, 1024);
        let lens = pieces.iter().map(|piece| match piece {
            FrameEvent::Data(id, data) if *id == bulk => data.len(),
            FrameEvent::Data(..) | FrameEvent::Open(_) | FrameEvent::Finish(_) => 0,
        });
        of_bulk += lens.sum::<usize>();
    }

    assert!(of_bulk >= 20 * 400, "{of_bulk}");
    mux.assert_invariants();
}

#[test]
fn a_stream_that_sends_much_goes_behind_the_others() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let (one, two) = (mux.open().unwrap(), mux.open().unwrap());
    for id in [one, two] {
        mux.write(id, &[7; 5000]);
    }
    let mut order = Vec::new();
    while mux.has_output() {
        let pieces = filled(&mut mux, &mut peer, 1024);
        order.extend(pieces.iter().filter_map(|piece| match piece {
            FrameEvent::Data(id, _) => Some(*id),
            FrameEvent::Open(_) | FrameEvent::Finish(_) => None,
        }));
        mux.assert_invariants();
    }

    order.dedup();
    let (first, rest) = order.split_at(2);
    assert_eq!(first, [one, two]);
    assert!(rest.chunks(2).all(|pair| pair[0] == one), "{order:?}");
}

#[test]
fn a_blocked_reader_is_woken_once() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();
    filled(&mut mux, &mut peer, 1024);
    assert_eq!(mux.read(id, 9), Read::Blocked);

    mux.handle_output(data(id, b"a")).unwrap();
    mux.handle_output(data(id, b"b")).unwrap();

    assert_eq!(mux.poll_event(), Some(Event::Readable(id)));
    assert_eq!(mux.poll_event(), None);
}

#[test]
fn a_full_outbox_wakes_its_writer_when_half_of_it_has_left() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();
    assert_eq!(
        mux.write(id, &vec![1; MAX_UNSENT]),
        Write::Accepted(MAX_UNSENT)
    );
    assert_eq!(mux.write(id, b"x"), Write::Full);

    let mut sent = 0;
    while mux.poll_event().is_none() {
        filled(&mut mux, &mut peer, 32 * 1024);
        sent += 32 * 1024;
    }

    assert!((MAX_UNSENT / 2..MAX_UNSENT).contains(&sent), "{sent}");
}

#[test]
fn a_stream_that_both_sides_closed_is_forgotten() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();
    filled(&mut mux, &mut peer, 1024);
    mux.handle_output(data(id, b"unread")).unwrap();

    mux.leave(id);
    assert_eq!(filled(&mut mux, &mut peer, 1024), [FrameEvent::Finish(id)]);
    assert_eq!(mux.upload(id), Upload::Pending);
    mux.handle_output(frames(&[Header::bare(Command::Fin, id)]))
        .unwrap();
    assert_eq!(mux.upload(id), Upload::Pending, "the FIN is not confirmed");
    mux.confirm_end(id);

    assert_eq!(mux.poll_event(), Some(Event::Readable(id)));
    assert_eq!(mux.upload(id), Upload::Delivered);
    assert!(!mux.is_empty(), "its owner may ask again");
    mux.reset(id);
    assert!(mux.is_empty());
    assert_eq!(mux.read(id, 9), Read::Lost(Reason::Finished));
    assert_eq!(mux.write(id, b"x"), Write::Closed);
    mux.assert_invariants();
}

#[test]
fn a_stream_that_was_left_before_its_syn_was_sent_sends_nothing() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();

    mux.leave(id);

    mux.assert_invariants();
    assert_eq!(mux.upload(id), Upload::Delivered, "nothing was written");
    assert_eq!(filled(&mut mux, &mut peer, 1024), []);
    mux.reset(id);
    assert!(mux.is_empty());
}

#[test]
fn data_for_unknown_streams_is_ignored() {
    let mut mux = Mux::new();
    let unknown_key = StreamId(99);

    mux.handle_output(data(unknown_key, b"x")).unwrap();
    mux.handle_output(frames(&[Header::bare(Command::Syn, unknown_key)]))
        .unwrap();
    mux.handle_output(frames(&[Header::bare(Command::Fin, unknown_key)]))
        .unwrap();

    assert!(mux.is_empty() && mux.wants_input());
}

#[test]
fn a_local_program_that_does_not_read_stops_the_input() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let id = mux.open().unwrap();
    filled(&mut mux, &mut peer, 1024);
    let mut came = 0;

    while mux.wants_input() {
        mux.handle_output(data(id, &[1; 10_000])).unwrap();
        came += 10_000;
    }
    assert!((MAX_UNREAD_OF_STREAM..MAX_UNREAD_OF_STREAM + 10_000).contains(&came));
    while let Read::Data(_) = mux.read(id, 1 << 20) {}

    assert!(mux.wants_input());
    mux.assert_invariants();
}

#[test]
fn a_message_that_is_processed_twice_breaks_the_mux_and_delivers_no_byte_twice() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (messages, sent) = conversation(&mut rng);
        let twice = rng.usize(..messages.len());
        let mut peer = Decoder::new();
        let mut received: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
        let mut outcome = Ok(());

        // Nothing that follows is needed to detect it.
        for message in messages[..=twice].iter().chain(&messages[twice..=twice]) {
            peer.push(message.clone());
            outcome = receive(&mut peer, &mut received);
            if outcome.is_err() {
                break;
            }
        }

        assert!(outcome.is_err(), "seed {seed}: number {twice}");
        for (id, received) in received {
            assert!(sent[&id].starts_with(&received), "seed {seed}: stream {id}");
        }
    }
}

#[test]
fn the_highest_stream_id_is_within_the_limit_of_the_replay_guard() {
    let mut mux = Mux::new();

    let last = std::iter::from_fn(|| mux.open()).last();

    assert_eq!(last, Some(StreamId(65_535)));
}

/// What a few streams send: the messages, and the bytes of each stream.
fn conversation(rng: &mut fastrand::Rng) -> (Vec<Bytes>, BTreeMap<StreamId, Vec<u8>>) {
    let mut mux = Mux::new();
    let mut messages = Vec::new();
    let mut sent: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
    for n in 0..rng.u8(2..40) {
        match (rng.u32(..8), sent.keys().next_back().copied()) {
            (0, _) | (_, None) => {
                let id = mux.open().unwrap();
                sent.insert(id, Vec::new());
            }
            (1, Some(id)) => mux.reset(id),
            (2, _) => mux.send_nop(),
            (_, Some(id)) => {
                let bytes = vec![n; rng.usize(1..300)];
                if let Write::Accepted(taken) = mux.write(id, &bytes) {
                    sent.get_mut(&id).unwrap().extend(&bytes[..taken]);
                }
            }
        }
        let max = [64, 100, 1024][rng.usize(..3)];
        messages.extend(mux.has_output().then(|| message(&mut mux, max)));
    }
    (messages, sent)
}

fn receive(
    peer: &mut Decoder,
    received: &mut BTreeMap<StreamId, Vec<u8>>,
) -> Result<(), FrameError> {
    while let Some(piece) = peer.poll()? {
        if let FrameEvent::Data(id, data) = piece {
            received.entry(id).or_default().extend(data);
        }
    }
    Ok(())
}

/// Messages of a mux whose agent may discard, each with `sizes` bytes of data; the last ones are
/// sent after the agent's answer.
fn in_discard_phase(sizes: &[usize]) -> Vec<Bytes> {
    let mut mux = Mux::new();
    mux.enter_discard_phase();
    let id = mux.open().unwrap();
    let messages = sizes.iter().enumerate().map(|(at, size)| {
        if at == sizes.len() - 3 {
            mux.handle_output(data(id, b"answer")).unwrap();
            assert!(!mux.may_discard());
        }
        match size {
            0 => mux.send_nop(),
            _ => assert_eq!(mux.write(id, &vec![1; *size]), Write::Accepted(*size)),
        }
        message(&mut mux, 1024)
    });
    messages.collect()
}

/// Decodes messages as a peer. Returns the streams it opens, and whether its mux is then broken.
fn processed<'a>(messages: impl Iterator<Item = &'a Bytes>) -> (Vec<StreamId>, bool) {
    let (mut peer, mut opened) = (Decoder::new(), Vec::new());
    for message in messages {
        peer.push(message.clone());
        loop {
            match peer.poll() {
                Ok(Some(FrameEvent::Open(id))) => opened.push(id),
                Ok(Some(FrameEvent::Data(..) | FrameEvent::Finish(_))) => {}
                Ok(None) => break,
                Err(_) => return (opened, true),
            }
        }
    }
    (opened, false)
}

/// Sizes with which every message has every position of the replay guard.
fn sizes(seed: usize) -> Vec<usize> {
    (0..20)
        .map(|at| [1, 0, 7, 8, 300][(at + seed) % 5])
        .collect()
}

#[test]
fn messages_of_the_discard_phase_are_decoded_without_loss() {
    for seed in 0..5 {
        let messages = in_discard_phase(&sizes(seed));

        let (opened, is_broken) = processed(messages.iter());

        assert_eq!((opened, is_broken), (vec![StreamId(3)], false));
    }
}

#[test]
fn the_mux_of_an_agent_that_discarded_the_first_messages_breaks_with_a_stream_open() {
    for seed in 0..5 {
        let messages = in_discard_phase(&sizes(seed));
        for discarded in 1..messages.len() - 3 {
            let (opened, is_broken) = processed(messages[discarded..].iter().take(1));

            assert!(is_broken, "seed {seed}, {discarded} discarded");
            assert_eq!(opened, [StreamId(1)]);
        }
    }
}

#[test]
fn a_message_of_the_discard_phase_that_is_processed_twice_breaks_the_mux_at_once() {
    for seed in 0..5 {
        let messages = in_discard_phase(&sizes(seed));
        for twice in 0..messages.len() {
            let until = messages[..=twice].iter().chain([&messages[twice]]);

            let (_, is_broken) = processed(until);

            assert!(is_broken, "seed {seed}, message {twice}");
        }
    }
}
