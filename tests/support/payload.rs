//! Payloads, and readable failures for payloads that differ.

/// `len` bytes that differ between seeds and between positions.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// `len` bytes of text that can be compressed, and that differ between positions.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = Vec::with_capacity(len + 100);
    while text.len() < len {
        let (id, amount) = (text.len(), rng.u32(..1000));
        let line = format!("INSERT INTO orders VALUES ({id}, 'pending', {amount});\n");
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(len);
    text
}

/// Text, then bytes that cannot be compressed, then text.
pub(crate) fn mixed(seed: u64, len: usize) -> Vec<u8> {
    let third = len / 3;
    let end = text(seed + 1, len - 2 * third);
    [text(seed, third), pattern(seed, third), end].concat()
}

/// Asserts that nothing was lost, duplicated or reordered; the failure shows the position and not
/// all the bytes.
#[track_caller]
pub(crate) fn assert_whole(got: &[u8], sent: &[u8]) {
    assert_prefix(sent, got);
    let (got, sent) = (got.len(), sent.len());
    assert_eq!(got, sent, "{got} bytes arrived of {sent}");
}

/// Asserts that `received` is a prefix of `sent`.
#[track_caller]
pub(crate) fn assert_prefix(sent: &[u8], got: &[u8]) {
    let same = got.iter().zip(sent).take_while(|(one, other)| one == other);
    let same = same.count();
    assert_eq!(
        same,
        got.len(),
        "the first {same} of {} bytes are equal",
        got.len()
    );
}
