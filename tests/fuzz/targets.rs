//! The targets: properties that hold for any bytes.
//!
//! None may panic, and whatever was decoded must decode to the same value after it is encoded. They
//! need nothing of the test harness, so that libFuzzer can run them too: include this file in a
//! crate of cargo-fuzz and write `fuzz_target!(|data: &[u8]| targets::message(data))`.

use bytes::Bytes;
use fastrand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ssm_proxyd::wire::message::{HEADER_LEN, Message, MessageType};
use ssm_proxyd::wire::payload::{
    self, Acknowledge, ChannelClosed, Flag, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    JsonKeys, OpenDataChannel, SessionType,
};
use ssm_proxyd::wire::smux::{Command, Decoder, FrameError, FrameEvent, Header, StreamId};

/// A message is an error or survives its encoding.
pub(super) fn message(data: &[u8]) {
    let message = match Message::decode(Bytes::copy_from_slice(data)) {
        Ok(message) => message,
        Err(error) => return assert_one_line(&error.to_string()),
    };

    assert_one_line(&message.to_string());
    assert!(HEADER_LEN + message.payload.len() <= data.len().max(HEADER_LEN));
    assert!(
        data.ends_with(&message.payload),
        "the payload must be the rest"
    );
    let name = message.header.kind.as_str();
    assert!((1..=32).contains(&name.chars().count()), "{name:?}");
    let encoded = message.encode();
    assert_eq!(encoded.len(), HEADER_LEN + message.payload.len());
    // An unknown name with non-ASCII characters is kept for display and is not encoded again.
    if !matches!(&message.header.kind, MessageType::Other(name) if !name.is_ascii()) {
        assert_eq!(Message::decode(encoded), Ok(message));
    }
}

/// Like [`message`], but with a corrected digest, so that damage to a payload gets past it.
pub(super) fn message_sealed(data: &[u8]) {
    let mut sealed = data.to_vec();
    if let Some((length, _)) = data.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let digest = Sha256::digest(data.get(length.saturating_add(4)..).unwrap_or_default());
        if let Some(field) = sealed.get_mut(80..112) {
            field.copy_from_slice(&digest);
        }
    }
    message(&sealed);
}

pub(super) fn open_data_channel(data: &[u8]) {
    json::<OpenDataChannel>(data);
}

/// The fast decoder of an acknowledgement returns the same as the complete one.
pub(super) fn acknowledge(data: &[u8]) {
    let short = payload::decode_acknowledge(data).ok();
    let long = payload::decode::<Acknowledge>(data).ok();

    assert_eq!(short.map(|body| body.seq), long.map(|body| body.seq));
    json::<Acknowledge>(data);
}

pub(super) fn handshake_request(data: &[u8]) {
    json::<HandshakeRequest>(data);
}

pub(super) fn session_type(data: &[u8]) {
    json::<SessionType>(data);
}

pub(super) fn handshake_response(data: &[u8]) {
    json::<HandshakeResponse>(data);
}

pub(super) fn handshake_complete(data: &[u8]) {
    json::<HandshakeComplete>(data);
}

pub(super) fn channel_closed(data: &[u8]) {
    json::<ChannelClosed>(data);
}

/// Four bytes are a flag, and nothing else is one.
pub(super) fn flag(data: &[u8]) {
    let encoded = Flag::decode(data).map(Flag::encode);

    assert_eq!(
        encoded.as_ref().map(<[u8; 4]>::as_slice),
        Some(data).filter(|data| data.len() == 4)
    );
}

/// A header is an error or encodes to its eight bytes.
pub(super) fn frame_header(data: &[u8]) {
    let Some((bytes, _)) = data.split_first_chunk::<{ Header::LEN }>() else {
        return;
    };

    match Header::decode(*bytes) {
        Ok(header) => {
            assert_one_line(&header.to_string());
            assert_eq!(header.encode(), *bytes);
        }
        Err(error) => assert_one_line(&error.to_string()),
    }
}

/// Frames are the same in any fragmentation (the first byte chooses it), and survive their
/// encoding.
pub(super) fn smux(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else {
        return;
    };
    let mut rng = Rng::with_seed(u64::from(cut));
    let mut cuts = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rng.usize(1..=rest.len().min(40)));
        cuts.push(head);
        rest = tail;
    }

    let (whole, error) = frames([input]);
    let encoded = encode(&whole);

    assert_eq!(
        (whole.clone(), error),
        frames(cuts),
        "the fragmentation {cut} changes the result"
    );
    assert!(
        encoded.len() <= input.len(),
        "more bytes came out than went in"
    );
    assert_eq!(frames([encoded.as_slice()]), (whole, None));
}

/// A body is an error or survives its encoding.
fn json<T: DeserializeOwned + Serialize + JsonKeys>(data: &[u8]) {
    let body: T = match payload::decode(data) {
        Ok(body) => body,
        Err(error) => return assert_one_line(&error.to_string()),
    };

    let text = payload::encode(&body);
    let again: T = payload::decode(&text).expect("encoded bodies must decode");
    let value: Value = serde_json::from_slice(&text).expect("encoded bodies must be JSON");
    if !has_fraction(&value) {
        assert_eq!(payload::encode(&again), text);
    }
}

/// True if a number in it may lose its last digit when it is encoded and decoded.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// All pieces in order, with chunks of one stream joined, and the error that ended them.
fn frames<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for cut in cuts {
        decoder.push(Bytes::copy_from_slice(cut));
        loop {
            match decoder.poll() {
                Ok(Some(piece)) => join(&mut frames, piece, cut.len()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn join(frames: &mut Vec<Frame>, piece: FrameEvent, longest: usize) {
    let frame = match piece {
        FrameEvent::Open(stream) => (Command::Syn, stream.0, Vec::new()),
        FrameEvent::Finish(stream) => (Command::Fin, stream.0, Vec::new()),
        FrameEvent::Data(stream, chunk) => {
            assert!(
                (1..=longest).contains(&chunk.len()),
                "{} bytes",
                chunk.len()
            );
            (Command::Psh, stream.0, chunk.to_vec())
        }
    };
    match frames.last_mut() {
        Some((Command::Psh, stream, data)) if frame.0 == Command::Psh && *stream == frame.1 => {
            data.extend(frame.2);
        }
        _ => frames.push(frame),
    }
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (command, stream, data) in frames {
        let stream = StreamId(*stream);
        if *command != Command::Psh {
            bytes.extend(Header::bare(*command, stream).encode());
        }
        for chunk in data.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(chunk.len()).expect("the chunks must be short enough");
            bytes.extend(Header::push(stream, length).encode());
            bytes.extend(chunk);
        }
    }
    bytes
}

/// The content of a piece: command, stream, data.
type Frame = (Command, u32, Vec<u8>);

#[track_caller]
fn assert_one_line(text: &str) {
    assert!(!text.contains(['\n', '\r']), "{text:?}");
}
