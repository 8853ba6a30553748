//! Tests of the encoding of records.

use super::decoder::is_host;
use super::*;
use crate::bundle::error::RecordError;
use crate::bundle::limits::{MAX_BODY, MAX_DATA, MAX_HOST};

fn destination(host: &str) -> Destination {
    Destination {
        host: Printable::new(host),
        port: 5432,
    }
}

fn frames() -> Vec<Frame> {
    let numbered = [
        Record::Open(destination("db.internal"), 262_144),
        Record::Open(destination("/run/größe/.s.PGSQL"), 0),
        Record::Opened(8192),
        Record::Failed(FailureClass::Refused, "connection refused".into()),
        Record::Failed(FailureClass::Other, Printable::default()),
        Record::Data {
            offset: 1 << 40,
            bytes: Bytes::from_static(b"x"),
        },
        Record::Data {
            offset: 0,
            bytes: vec![7; MAX_DATA].into(),
        },
        Record::Fin(9),
        Record::Reset,
        Record::Credit(u64::MAX),
    ];
    let others = [
        Record::Ack(Ack {
            count: 3,
            complete: 77,
            is_saturated: true,
        }),
        Record::Ping(1),
        Record::Pong(2),
        Record::Goodbye(GoodbyeClass::Error, "overlapping data".into()),
    ];
    let numbered = (1..).zip(numbered).map(|(number, record)| Frame {
        flow: FlowId(5),
        number,
        record,
    });
    let others = others.into_iter().map(|record| Frame {
        flow: FlowId::NONE,
        number: 0,
        record,
    });
    numbered.chain(others).collect()
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        encode(frame.flow, frame.number, &frame.record, &mut out);
    }
    out
}

fn decode_all(decoder: &mut Decoder, mut input: &[u8]) -> Result<Vec<Frame>, RecordError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input)? {
        frames.push(frame);
    }
    assert!(input.is_empty());
    Ok(frames)
}

#[test]
fn records_are_decoded_as_they_were_encoded_wherever_the_bytes_are_cut() {
    let bytes = encoded(&frames());

    for cut in [1, 2, 3, 7, 15, 16, 17, 1000, bytes.len()] {
        let mut decoder = Decoder::default();
        let pieces = bytes.chunks(cut);
        let decoded: Vec<Frame> = pieces
            .flat_map(|piece| decode_all(&mut decoder, piece).unwrap())
            .collect();
        assert!(decoded == frames(), "cut {cut}");
    }
}

#[test]
fn the_layout_is_that_of_the_specification() {
    let open = Frame {
        flow: FlowId(2),
        number: 3,
        record: Record::Open(destination("db"), 0x0004_0000),
    };

    let expected = [
        &[1, 0, 0, 8][..],
        &[0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0, 0, 3],
        &[0, 4, 0, 0, 0x15, 0x38],
        b"db",
    ];
    assert_eq!(encoded(&[open]), expected.concat());
}

#[test]
fn invalid_headers_are_errors_before_the_body_arrives() {
    let header = |kind, flags, len: u16, flow: u32, number: u64| {
        let mut header = vec![kind, flags];
        header.extend(len.to_be_bytes());
        header.extend(flow.to_be_bytes());
        header.extend(number.to_be_bytes());
        header
    };
    let too_long = u16::try_from(MAX_BODY + 1).unwrap();
    for bytes in [
        header(0, 0, 0, 1, 1),
        header(12, 0, 0, 1, 1),
        header(DATA, 1, 9, 1, 1),
        header(ACK, 2, 16, 0, 0),
        header(DATA, 0, 8, 1, 1),
        header(DATA, 0, too_long, 1, 1),
        header(DATA, 0, 9, 0, 1),
        header(DATA, 0, 9, 1, 0),
        header(ACK, 0, 16, 0, 1),
        header(ACK, 0, 16, 1, 0),
        header(ACK, 0, 15, 0, 0),
        header(OPEN, 0, 6, 1, 1),
        header(OPEN, 0, 262, 1, 1),
        header(GOODBYE, 0, 514, 0, 0),
    ] {
        assert!(
            Decoder::default().decode(&mut &bytes[..]).is_err(),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_host_that_could_mislead_a_reader_is_an_error() {
    for host in ["", " db", "db\n", "d\u{202e}b", "\u{1b}[2J"] {
        assert!(!is_host(host), "{host:?}");
    }
    assert!(!is_host(&"x".repeat(MAX_HOST + 1)));

    let mut bytes = encoded(&[Frame {
        flow: FlowId(1),
        number: 1,
        record: Record::Open(destination("db"), 0),
    }]);
    *bytes.last_mut().unwrap() = 0xff;
    let fault = decode_all(&mut Decoder::default(), &bytes).unwrap_err();
    assert_eq!(fault.to_string(), "invalid host \"d\u{fffd}\"");
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let long: Printable = "ä".repeat(400).as_str().into();
    let frame = Frame {
        flow: FlowId(1),
        number: 1,
        record: Record::Failed(FailureClass::Other, long),
    };

    let decoded = decode_all(&mut Decoder::default(), &encoded(&[frame])).unwrap();

    let text = "ä".repeat(256).as_str().into();
    assert_eq!(decoded[0].record, Record::Failed(FailureClass::Other, text));
}

#[test]
fn any_bytes_are_records_or_an_error() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = encoded(&frames());
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len().min(400));
            bytes[at] = random.u8(..);
        }

        let mut decoder = Decoder::default();
        for piece in bytes.chunks(random.usize(1..5000)) {
            if decode_all(&mut decoder, piece).is_err() {
                break;
            }
        }
    }
}

#[test]
fn codes_of_classes_are_decoded_as_they_were_encoded() {
    for code in 0..=255 {
        let failure = FailureClass::of(code);
        assert_eq!(FailureClass::of(failure.code()), failure);
        let goodbye = GoodbyeClass::of(code);
        assert_eq!(GoodbyeClass::of(goodbye.code()), goodbye);
    }
}
