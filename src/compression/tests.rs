//! Both ends face to face.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// Encodes pieces, each of which may begin a frame.
fn encode(mode: Mode, pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new(mode);
    let mut out = Vec::new();
    for piece in pieces {
        let encoded = encoder.encode(piece, true).unwrap();
        assert!(encoded.len() <= piece.len() + OVERHEAD);
        out.extend(encoded);
    }
    let end = encoder.finish().unwrap();
    assert!(end.len() <= OVERHEAD && !encoder.is_compressing());
    out.extend(end);
    out
}

/// Decodes fragments, `max` bytes at a time, to the end of the direction.
fn decode<'a>(
    fragments: impl IntoIterator<Item = &'a [u8]>,
    max: usize,
) -> Result<Vec<u8>, CompressionError> {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for fragment in fragments {
        decoder.push(Bytes::copy_from_slice(fragment));
        drain(&mut decoder, max, &mut out)?;
    }
    decoder.finish().map(|()| out)
}

fn drain(decoder: &mut Decoder, max: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    while let Decoded::Data(bytes) = decoder.decode(max, true)? {
        assert!(!bytes.is_empty() && bytes.len() <= max);
        out.extend_from_slice(&bytes);
    }
    assert!(decoder.needs_input());
    Ok(())
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn text(len: usize) -> Vec<u8> {
    let lines =
        (0..).flat_map(|number: u32| format!("INSERT INTO t VALUES ({number});\n").into_bytes());
    lines.take(len).collect()
}

/// Text, random bytes, or equal ones.
fn content() -> impl Strategy<Value = Vec<u8>> {
    (0..3_usize, 0..40_000_usize, any::<u64>()).prop_map(|(kind, len, seed)| match kind {
        0 => text(len),
        1 => random(len, seed),
        _ => vec![b'a'; len],
    })
}

/// Ends of parts of something.
fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    let parts = ends.into_iter().flat_map(|to| {
        let part = &bytes[from..to];
        from = to;
        part.chunks(MAX_PIECE)
    });
    parts.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_encoded_is_decoded_in_any_fragmentation(
        parts in prop::collection::vec(content(), 0..4),
        pieces in cuts(),
        fragments in cuts(),
        is_auto in any::<bool>(),
        max in 1_usize..100_000,
    ) {
        let plain = parts.concat();
        let mode = if is_auto { Mode::Auto } else { Mode::Always };

        let encoded = encode(mode, &cut(&plain, &pieces));
        let decoded = decode(cut(&encoded, &fragments), max);

        prop_assert!(decoded.unwrap() == plain);
    }

    #[test]
    fn a_part_is_never_a_whole(content in content(), at in any::<prop::sample::Index>()) {
        let encoded = encode(Mode::Always, &cut(&content, &[]));
        prop_assume!(!encoded.is_empty());

        let part = &encoded[..at.index(encoded.len())];

        // There is one segment.
        if !part.is_empty() {
            prop_assert_eq!(decode([part], MAX_PIECE), Err(CompressionError::Truncated));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_an_error(
        content in content(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut encoded = encode(Mode::Always, &cut(&content, &[]));
        prop_assume!(!encoded.is_empty());
        for (at, byte) in damage {
            let at = at.index(encoded.len().min(400));
            encoded[at] = byte;
        }

        drop(decode([&encoded[..]], 1000));
    }
}

#[test]
fn each_piece_can_be_decoded_at_once() {
    let (mut encoder, mut decoder) = (Encoder::new(Mode::Auto), Decoder::default());
    let first = text(600);
    for piece in [&first[..], b"a", b"", &random(5000, 1), b"b"] {
        let encoded = encoder.encode(piece, true).unwrap();
        decoder.push(encoded.into());

        let mut decoded = Vec::new();
        drain(&mut decoder, 70_000, &mut decoded).unwrap();

        assert_eq!(decoded, piece);
    }
    assert!(encoder.is_compressing() && decoder.is_in_frame());
}

#[test]
fn text_shrinks_and_a_short_piece_alone_begins_no_frame() {
    let text = text(1 << 20);
    let encoded = encode(Mode::Auto, &cut(&text, &[]));
    assert!(encoded.len() < text.len() / 4, "{}", encoded.len());

    assert_eq!(
        encode(Mode::Auto, &[b"hi", b"you"]),
        b"\0\0\x02hi\0\0\x03you"
    );
    assert_eq!(encode(Mode::Auto, &[&[]]), b"");
}

#[test]
fn what_does_not_shrink_is_stored_after_a_trial() {
    let mut encoder = Encoder::new(Mode::Auto);
    let all = random(1 << 20, 3);
    let mut pieces = all.chunks(MAX_PIECE);
    let mut tried = 0;
    while encoder.would_begin(MAX_PIECE) || encoder.is_compressing() {
        let piece = pieces.next().expect("it gives up");
        encoder.encode(piece, true).unwrap();
        tried += piece.len();
    }
    assert!((256 * 1024..400 * 1024).contains(&tried), "{tried}");

    let (mut stored, piece) = (0, &all[..MAX_PIECE]);
    while !encoder.would_begin(piece.len()) {
        let encoded = encoder.encode(piece, true).unwrap();
        assert_eq!(encoded.len(), piece.len() + 3);
        stored += piece.len();
    }
    assert!(stored >= 16 << 20, "{stored}");
    let text = text(MAX_PIECE);
    assert!(encoder.encode(&text, true).unwrap().len() < text.len() / 4);
}

#[test]
fn text_before_what_does_not_shrink_does_not_hide_it() {
    let mut encoder = Encoder::new(Mode::Auto);
    for piece in text(1 << 20).chunks(MAX_PIECE) {
        encoder.encode(piece, true).unwrap();
    }
    assert!(encoder.is_compressing());
    for piece in random(1 << 20, 4).chunks(MAX_PIECE) {
        encoder.encode(piece, true).unwrap();
    }

    assert!(!encoder.is_compressing());
}

#[test]
fn everything_is_compressed_if_it_must_be() {
    let mut encoder = Encoder::new(Mode::Always);
    for piece in random(1 << 20, 5).chunks(MAX_PIECE) {
        encoder.encode(piece, true).unwrap();
    }

    assert!(encoder.is_compressing());
}

#[test]
fn a_frame_begins_only_if_it_may() {
    let (text, mut encoder) = (text(5000), Encoder::new(Mode::Always));
    assert!(encoder.would_begin(text.len()));
    let stored = encoder.encode(&text, false).unwrap();
    assert_eq!((stored.len(), encoder.is_compressing()), (5003, false));

    let mut decoder = Decoder::default();
    decoder.push(encoder.encode(&text, true).unwrap().into());
    assert_eq!(decoder.decode(9, false), Ok(Decoded::NeedsFrame));
    assert_eq!(decoder.decode(9, false), Ok(Decoded::NeedsFrame));
    let first = Decoded::Data(Bytes::copy_from_slice(&text[..9]));
    assert_eq!(decoder.decode(9, true), Ok(first));
}

#[test]
fn the_memory_of_a_frame_is_as_documented_and_released_at_its_end() {
    let (mut encoder, mut decoder) = (Encoder::new(Mode::Always), Decoder::default());
    for piece in text(1 << 20).chunks(MAX_PIECE) {
        decoder.push(encoder.encode(piece, true).unwrap().into());
        drain(&mut decoder, MAX_PIECE, &mut Vec::new()).unwrap();
    }

    let (ours, theirs) = (encoder.memory(), decoder.memory());
    assert!((500_000..=980_000).contains(&ours), "{ours}");
    assert!((300_000..=630_000).contains(&theirs), "{theirs}");

    decoder.push(encoder.finish().unwrap().into());
    drain(&mut decoder, 1, &mut Vec::new()).unwrap();
    assert_eq!((encoder.memory(), decoder.memory()), (0, 0));
}

#[test]
fn a_bomb_is_decoded_only_as_far_as_it_is_taken() {
    let zeros = vec![0; MAX_PIECE];
    let mut encoder = Encoder::new(Mode::Always);
    let pieces = (0..1000).flat_map(|_| encoder.encode(&zeros, true).unwrap());
    let bomb: Vec<u8> = pieces.collect();
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let mut decoder = Decoder::default();
    decoder.push(bomb.into());

    for _ in 0..100 {
        let Ok(Decoded::Data(bytes)) = decoder.decode(usize::MAX, true) else {
            panic!("there is more");
        };
        assert!(bytes.len() <= 64 * 1024);
    }
    assert!(decoder.memory() <= 630_000 && !decoder.needs_input());
}

#[test]
fn invalid_segments_are_errors() {
    let of = |bytes: &[u8]| decode([bytes], 10).unwrap_err();

    assert_eq!(of(&[2]), CompressionError::Segment(2));
    assert_eq!(of(&[0, 0, 0]), CompressionError::Empty);
    assert_eq!(of(&[0]), CompressionError::Truncated);
    assert_eq!(of(&[0, 0]), CompressionError::Truncated);
    assert_eq!(of(&[0, 0, 2, 7]), CompressionError::Truncated);
    assert_eq!(of(&[1]), CompressionError::Truncated);
    let unknown = "zstd: Unknown frame descriptor";
    assert_eq!(of(b"\x01GET / HTTP/1.1\r\n").to_string(), unknown);
}

#[test]
fn a_window_above_the_limit_is_an_error() {
    let frame = |window: u8| [1, 0x28, 0xb5, 0x2f, 0xfd, 0, window, 9, 0, 0, b'x'];

    // Exponent in the upper five bits: 10 and this.
    assert_eq!(decode([&frame(7 << 3)[..]], 10), Ok(b"x".to_vec()));
    let error = decode([&frame(8 << 3)[..]], 10).unwrap_err();
    let expected = "zstd: Frame requires too much memory for decoding";
    assert_eq!(error.to_string(), expected);
}
