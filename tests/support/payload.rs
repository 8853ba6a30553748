//! Bytes to carry, and what to say when they arrive otherwise.

/// `len` bytes that differ from seed to seed and from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// Nothing was lost, doubled or reordered; if not, says where it began and not all the bytes.
#[track_caller]
pub(crate) fn assert_whole(got: &[u8], sent: &[u8]) {
    assert_prefix(sent, got);
    let (got, sent) = (got.len(), sent.len());
    assert_eq!(got, sent, "{got} bytes came of {sent}");
}

/// What came so far is how `sent` begins.
#[track_caller]
pub(crate) fn assert_prefix(sent: &[u8], got: &[u8]) {
    let same = got.iter().zip(sent).take_while(|(one, other)| one == other);
    let same = same.count();
    assert_eq!(
        same,
        got.len(),
        "of {} bytes the first {same} are right",
        got.len()
    );
}
