//! Tests of the message layout, its limits, and invalid input.

use super::*;

fn message(kind: MessageType, payload: &'static [u8]) -> Message {
    Message {
        header: Header {
            kind,
            created: 1_503_434_274_948,
            seq: Seq(7),
            flags: 0,
            id: MessageId::from_random([9; 16]),
            payload_type: PayloadType::Output,
        },
        payload: Bytes::from_static(payload),
    }
}

#[test]
fn an_encoded_message_decodes_to_itself() {
    let original = message(MessageType::Input, b"payload");

    assert_eq!(Message::decode(original.encode()), Ok(original));
}

#[test]
fn every_shorter_frame_is_an_error() {
    let whole = message(MessageType::Input, b"").encode();

    for len in 0..whole.len() {
        assert!(Message::decode(whole.slice(..len)).is_err(), "{len} bytes");
    }
}

#[test]
fn a_type_padded_with_nuls_is_understood() {
    let mut bytes = message(MessageType::Output, b"x").encode().to_vec();
    for byte in &mut bytes[4..36] {
        if *byte == b' ' {
            *byte = 0;
        }
    }

    let decoded = Message::decode(bytes.into()).unwrap();

    assert_eq!(decoded.header.kind, MessageType::Output);
}

#[test]
fn a_longer_header_moves_the_payload() {
    let mut bytes = message(MessageType::Output, b"tail").encode().to_vec();
    bytes[..4].copy_from_slice(&118u32.to_be_bytes());
    let digest = Sha256::digest(b"il");
    bytes[80..112].copy_from_slice(&digest);

    let decoded = Message::decode(bytes.into()).unwrap();

    assert_eq!(&decoded.payload[..], b"il");
}

#[test]
fn a_header_length_outside_the_frame_is_an_error() {
    for got in [0, 115, 200, u32::MAX] {
        let mut bytes = message(MessageType::Output, b"tail").encode().to_vec();
        bytes[..4].copy_from_slice(&got.to_be_bytes());

        let error = Message::decode(bytes.into()).unwrap_err();

        assert_eq!(error, DecodeError::HeaderLength { got, len: 124 });
    }
}

#[test]
fn a_changed_payload_is_an_error() {
    let mut bytes = message(MessageType::Output, b"tail").encode().to_vec();
    bytes[121] ^= 1;

    assert_eq!(Message::decode(bytes.into()), Err(DecodeError::Digest));
}

#[test]
fn an_unverified_decoding_accepts_a_changed_payload() {
    let mut bytes = message(MessageType::Input, b"tail").encode().to_vec();
    bytes[121] = b'e';

    let decoded = Message::decode_unverified(bytes.into()).unwrap();

    assert_eq!(&decoded.payload[..], b"teil");
}

#[test]
fn publication_messages_need_no_date_and_no_payload() {
    let mut bytes = message(MessageType::PausePublication, b"")
        .encode()
        .to_vec();
    bytes[..4].fill(0);
    bytes[40..56].fill(0xff);
    bytes[40..48].fill(0);
    bytes.truncate(FIXED_LEN);

    let decoded = Message::decode(bytes.into()).unwrap();

    assert_eq!(decoded.header.kind, MessageType::PausePublication);
}

#[test]
fn a_blank_type_a_zero_date_and_a_negative_number_are_errors() {
    let whole = message(MessageType::Input, b"x").encode().to_vec();
    let with = |range: std::ops::Range<usize>, byte: u8| {
        let mut bytes = whole.clone();
        bytes[range].fill(byte);
        Message::decode(bytes.into()).unwrap_err()
    };

    assert_eq!(with(4..36, b' '), DecodeError::NoType);
    assert_eq!(with(40..48, 0), DecodeError::NoDate);
    assert_eq!(with(48..56, 0xff), DecodeError::NegativeSeq { got: -1 });
}

#[test]
fn a_message_displays_itself_in_one_line() {
    assert_eq!(
        message(MessageType::Output, b"12345").to_string(),
        "output_stream_data seq=7 Output 5 B"
    );
}

#[test]
fn a_foreign_name_with_a_line_break_displays_itself_in_one_line() {
    let message = message(MessageType::Other("two\nlines".to_owned()), b"");

    assert_eq!(message.to_string(), "two\\nlines seq=7 Output 0 B");
}
