//! Tests of refused dials: which stream the flag of the agent belongs to.

use super::*;

/// Returns what `ids` read after a refusal and the FINs of `ended`, once these are confirmed.
fn read_after_refusal(mux: &mut Mux, ended: &[StreamId], ids: &[StreamId]) -> Vec<Read> {
    mux.handle_refusal();
    for id in ended {
        let fin = Header::bare(Command::Fin, *id);
        mux.handle_output(frames(&[fin])).unwrap();
    }
    while let Some(id) = mux.poll_end() {
        mux.confirm_end(id);
    }
    ids.iter().map(|id| mux.read(*id, 9)).collect()
}

#[test]
fn a_stream_dialled_before_one_that_was_served_is_not_the_refused_one() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let ids = [(); 3].map(|()| mux.open().unwrap());
    let [silent, served, refused] = ids;
    filled(&mut mux, &mut peer, 1024);
    mux.handle_output(data(served, b"hi")).unwrap();

    // The destination of the first ends at the same time.
    let read = read_after_refusal(&mut mux, &[silent, refused], &ids);

    let hi = Read::Data(Bytes::from_static(b"hi"));
    assert_eq!(read, [Read::End, hi, Read::Lost(Reason::Refused)]);
}

#[test]
fn of_two_streams_that_may_be_the_refused_one_neither_ends_cleanly() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let ids = [(); 2].map(|()| mux.open().unwrap());
    filled(&mut mux, &mut peer, 1024);

    let read = read_after_refusal(&mut mux, &ids, &ids);

    assert_eq!(
        read,
        [Read::Lost(Reason::Refused), Read::Lost(Reason::Refused)]
    );
}

#[test]
fn a_stream_opened_after_a_refusal_is_not_the_refused_one() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let refused = mux.open().unwrap();
    filled(&mut mux, &mut peer, 1024);
    assert_eq!(
        read_after_refusal(&mut mux, &[refused], &[refused]),
        [Read::Lost(Reason::Refused)]
    );

    let later = mux.open().unwrap();
    filled(&mut mux, &mut peer, 1024);
    mux.handle_output(frames(&[Header::bare(Command::Fin, later)]))
        .unwrap();

    assert_eq!(mux.poll_end(), Some(later));
}

#[test]
fn a_refusal_belongs_to_the_stream_without_bytes_and_not_to_one_with_bytes() {
    let (mut mux, mut peer) = (Mux::new(), Decoder::new());
    let (served, refused) = (mux.open().unwrap(), mux.open().unwrap());
    filled(&mut mux, &mut peer, 1024);
    mux.handle_output(data(served, b"hi")).unwrap();
    mux.handle_refusal();

    let fins = [served, refused].map(|id| Header::bare(Command::Fin, id));
    mux.handle_output(frames(&fins)).unwrap();

    assert_eq!(mux.read(served, 9), Read::Data(Bytes::from_static(b"hi")));
    assert_eq!(mux.read(served, 9), Read::Blocked, "not confirmed");
    assert_eq!(mux.poll_end(), Some(served));
    assert_eq!(mux.poll_end(), None);
    mux.confirm_end(served);
    assert_eq!(mux.poll_event(), Some(Event::Readable(served)));
    assert_eq!(mux.read(served, 9), Read::End);
    assert_eq!(mux.read(refused, 9), Read::Lost(Reason::Refused));
}

/// Opens streams and sends a byte on each.
fn sending<const N: usize>(mux: &mut Mux) -> [StreamId; N] {
    let ids = [(); N].map(|()| mux.open().unwrap());
    for id in ids {
        assert_eq!(mux.write(id, b"x"), Write::Accepted(1));
    }
    message(mux, 1024);
    ids
}

fn finish(mux: &mut Mux, id: StreamId) {
    mux.handle_output(frames(&[Header::bare(Command::Fin, id)]))
        .unwrap();
}

const IN_DOUBT: Read = Read::Lost(Reason::RefusedOrClosed);
const REFUSED: Read = Read::Lost(Reason::Refused);

#[test]
fn of_two_streams_that_have_sent_bytes_neither_is_certainly_refused_by_one_flag() {
    let mut mux = Mux::new();
    let [first, second] = sending(&mut mux);

    let read = read_after_refusal(&mut mux, &[first], &[first, second]);
    assert_eq!(read, [Read::Blocked, Read::Blocked], "undecided, and open");
    assert_eq!(mux.upload(first), Upload::Pending);
    finish(&mut mux, second);

    assert_eq!([first, second].map(|id| mux.read(id, 9)), [IN_DOUBT; 2]);
    assert_eq!(mux.upload(first), Upload::Lost(Reason::RefusedOrClosed));
}

#[test]
fn the_only_stream_that_may_be_refused_is_certainly_refused() {
    let mut mux = Mux::new();
    let [silent, served, refused] = sending(&mut mux);
    mux.handle_output(data(served, b"hi")).unwrap();
    mux.handle_refusal();

    finish(&mut mux, refused);

    assert_eq!(mux.read(refused, 9), REFUSED);
    assert_eq!(mux.read(silent, 9), Read::Blocked);
}

#[test]
fn a_stream_is_certainly_refused_if_there_is_a_flag_for_each_pending_one() {
    let mut mux = Mux::new();
    let [first, second, third] = sending(&mut mux);

    mux.handle_refusal();
    finish(&mut mux, first);
    mux.handle_refusal();
    mux.handle_refusal();
    finish(&mut mux, second);
    finish(&mut mux, third);

    assert_eq!(
        [first, second, third].map(|id| mux.read(id, 9)),
        [REFUSED; 3]
    );
}

#[test]
fn of_a_burst_of_refused_dials_all_are_certain_once_the_last_flag_has_come() {
    let mut mux = Mux::new();
    let ids: [StreamId; 20] = sending(&mut mux);
    let (last, others) = ids.split_last().unwrap();

    for id in others {
        mux.handle_refusal();
        finish(&mut mux, *id);
        assert_eq!(mux.read(*id, 9), Read::Blocked);
    }
    assert_eq!(mux.poll_event(), None, "all of them are undecided");
    mux.handle_refusal();

    let woken: Vec<_> = std::iter::from_fn(|| mux.poll_event()).collect();
    assert_eq!(
        woken,
        others
            .iter()
            .map(|id| Event::Readable(*id))
            .collect::<Vec<_>>()
    );
    assert!(!mux.has_undecided());
    finish(&mut mux, *last);
    assert_eq!(ids.map(|id| mux.read(id, 9)), [REFUSED; 20]);
}

#[test]
fn bytes_of_a_later_stream_decide_about_an_earlier_one() {
    let mut mux = Mux::new();
    let [silent, ended, served] = sending(&mut mux);
    mux.handle_refusal();
    finish(&mut mux, ended);
    assert_eq!(mux.read(ended, 9), Read::Blocked, "it may be the third one");

    mux.handle_output(data(served, b"hi")).unwrap();

    assert_eq!(mux.read(ended, 9), REFUSED);
    assert_eq!(mux.read(silent, 9), Read::Blocked);
}

#[test]
fn a_stream_that_stays_undecided_ends_in_doubt() {
    let mut mux = Mux::new();
    let [first, second] = sending(&mut mux);
    mux.handle_refusal();
    finish(&mut mux, first);
    assert!(mux.has_undecided());
    assert_eq!(mux.read(first, 9), Read::Blocked);

    mux.end_undecided();

    assert_eq!(mux.poll_event(), Some(Event::Readable(first)));
    assert_eq!(mux.read(first, 9), IN_DOUBT);
    assert!(!mux.has_undecided());
    assert_eq!(mux.read(second, 9), Read::Blocked);
}

#[test]
fn an_undecided_stream_whose_owner_has_left_is_removed() {
    let mut mux = Mux::new();
    let [reset, left, _open] = sending(&mut mux);
    mux.handle_refusal();
    finish(&mut mux, reset);
    finish(&mut mux, left);

    mux.reset(reset);
    mux.leave(left);
    message(&mut mux, 1024);

    assert_eq!(mux.upload(left), Upload::Pending);
    mux.end_undecided();
    assert_eq!(mux.upload(left), Upload::Lost(Reason::RefusedOrClosed));
    assert!(!mux.ids().any(|id| id == reset));
}

#[test]
fn a_flag_that_may_belong_to_an_ended_stream_proves_nothing_about_a_later_one() {
    let mut mux = Mux::new();
    let [first, second] = sending(&mut mux);
    mux.handle_refusal();
    finish(&mut mux, first);
    let [third] = sending(&mut mux);
    mux.handle_refusal();

    finish(&mut mux, second);
    finish(&mut mux, third);

    let ids = [first, second, third];
    assert_eq!(ids.map(|id| mux.read(id, 9)), [IN_DOUBT; 3]);

    let [fourth] = sending(&mut mux);
    mux.handle_refusal();
    finish(&mut mux, fourth);

    assert_eq!(mux.read(fourth, 9), REFUSED, "the former flags are settled");
}
