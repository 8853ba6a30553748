//! Tests of FINs, resets and limits.

use super::*;

fn opened() -> Stream {
    let mut stream = Stream::new();
    stream.sent_open();
    stream
}

#[test]
fn a_fin_is_held_until_that_of_the_agent_is_received() {
    let mut stream = opened();

    stream.finish();
    assert_eq!(stream.intent(), NextFrame::Nothing);
    stream.handle_data(b"answer");
    stream.handle_finish();

    assert_eq!(stream.intent(), NextFrame::Finish);
    assert_eq!(stream.read(99).as_deref(), Some(&b"answer"[..]));
    assert_eq!(stream.theirs(), RemoteSide::Ending);
    stream.confirm_end();
    assert_eq!(stream.theirs(), RemoteSide::Ended);
}

#[test]
fn a_reset_sends_what_was_written_and_then_one_fin() {
    let mut stream = Stream::new();
    stream.write(b"last bytes");

    stream.reset();

    assert_eq!(stream.intent(), NextFrame::Open);
    stream.sent_open();
    assert_eq!(stream.intent(), NextFrame::Data);
    let mut sent = BytesMut::new();
    assert_eq!(stream.drain_into(4, &mut sent), 4);
    assert_eq!(stream.drain_into(99, &mut sent), 6);
    assert_eq!(&sent[..], b"last bytes");
    assert_eq!(stream.intent(), NextFrame::Finish);
    stream.sent_finish();
    assert_eq!(stream.intent(), NextFrame::Nothing);
    assert!(!stream.is_over());
    stream.handle_finish();
    assert!(!stream.is_over(), "the FIN is not confirmed");
    stream.confirm_end();
    assert!(stream.is_over());
}

#[test]
fn a_stream_that_never_opened_needs_no_fin() {
    let mut stream = Stream::new();

    stream.reset();

    assert_eq!(stream.intent(), NextFrame::Nothing);
    assert!(stream.is_over());
}

#[test]
fn a_second_reset_changes_nothing() {
    let mut stream = opened();
    stream.reset();
    stream.sent_finish();

    stream.reset();

    assert!(!stream.is_over(), "the agent's FIN is still to come");
    stream.handle_finish();
    assert!(!stream.is_over(), "the FIN is not confirmed");
    stream.confirm_end();
    assert!(stream.is_over());
}

#[test]
fn bytes_received_after_the_local_side_disconnected_are_dropped() {
    let mut stream = opened();
    stream.handle_data(b"abc");

    assert_eq!(stream.reset(), 3);
    assert_eq!(stream.handle_data(b"late"), 0);
    assert_eq!(stream.read(9), None);
}

#[test]
fn unread_bytes_are_kept_in_few_blocks() {
    let mut stream = opened();
    let written: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[1]).collect();

    for byte in &written {
        stream.handle_data(&[*byte]);
    }

    assert_eq!(stream.inbox.len(), 1 + 200_000 / BLOCK);
    let read: Vec<_> = std::iter::from_fn(|| stream.read(1000)).flatten().collect();
    assert!(read == written);
    assert_eq!(stream.unread(), 0);
}

#[test]
fn the_outbox_is_bounded() {
    let mut stream = opened();

    assert_eq!(stream.write(&vec![0; MAX_UNSENT + 5]), Some(MAX_UNSENT));
    assert_eq!(stream.write(b"x"), Some(0));
    assert_eq!(stream.unsent(), MAX_UNSENT);
}

#[test]
fn nothing_is_written_after_the_destination_ended() {
    let mut stream = opened();

    stream.handle_refusal();

    assert_eq!(stream.write(b"x"), None);
    assert_eq!(stream.theirs(), RemoteSide::Refused);
}

#[test]
fn a_refusal_after_bytes_were_sent_is_undecided_at_first() {
    for (is_certain, reason) in [(true, Reason::Refused), (false, Reason::RefusedOrClosed)] {
        let mut stream = opened();
        stream.write(b"x");
        stream.drain_into(1, &mut BytesMut::new());

        stream.handle_refusal();

        assert_eq!(stream.write(b"x"), None);
        assert_eq!(stream.theirs(), RemoteSide::Undecided);
        assert_eq!(stream.upload(), Upload::Pending);
        stream.decide_refusal(is_certain);
        assert_eq!(stream.theirs(), RemoteSide::Refused);
        assert_eq!(stream.upload(), Upload::Lost(reason));
    }
}

#[test]
fn a_byte_does_not_keep_its_message_in_memory() {
    let message = Bytes::from(vec![7; 1 << 20]);
    let mut stream = opened();

    stream.handle_data(&message.slice(..1));

    assert!(message.is_unique(), "the stream holds a part of it");
    assert_eq!(stream.read(9).as_deref(), Some(&[7][..]));
}

#[test]
fn a_stream_without_unread_bytes_holds_no_buffer() {
    let mut stream = opened();
    for _ in 0..100 {
        stream.handle_data(&[7; 1000]);
    }

    while stream.read(1000).is_some() {}

    assert_eq!(stream.tail.capacity(), 0);
}
