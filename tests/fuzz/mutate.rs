//! Small mutations of valid inputs: damaged bytes, wrong fragmentation, wrong lengths.

use fastrand::Rng;

/// One of the seeds, mutated in one to four ways; at most [`MAX_LEN`] bytes.
pub(super) fn mutation(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pick(rng, seeds).clone();
    for _ in 0..rng.usize(1..=4) {
        damage(rng, &mut input, seeds);
    }
    input.truncate(MAX_LEN);
    input
}

fn damage(rng: &mut Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let len = input.len();
    let at = rng.usize(..=len);
    match rng.u8(..9) {
        0 => flip(rng, input),
        1 => overwrite(
            input,
            at,
            &[*pick(rng, &[0, 1, b' ', b'"', b'0', 0x7f, 0x80, 0xff])],
        ),
        2 | 3 => overwrite(input, at, &number(rng, len)),
        4 => input.truncate(at),
        5 => drop(input.drain(range(rng, len))),
        6 => repeat(rng, input, at),
        7 => splice(rng, input, at, seeds),
        _ => drop(input.splice(at..at, random_bytes(rng))),
    }
}

fn flip(rng: &mut Rng, input: &mut [u8]) {
    if !input.is_empty() {
        input[rng.usize(..input.len())] ^= 1 << rng.u8(..8);
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input[at..].iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// A length that is almost right, or at the limit of its type, in one of the widths and byte
/// orders.
fn number(rng: &mut Rng, len: usize) -> Vec<u8> {
    let edges = [
        0,
        1,
        0x7fff,
        0xffff,
        0x7fff_ffff,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX,
    ];
    let near = (len as u64).wrapping_add(rng.u64(..260)).wrapping_sub(130);
    let value = if rng.bool() { near } else { *pick(rng, &edges) };
    let width = *pick(rng, &[2, 4, 8]);
    if rng.bool() {
        value.to_le_bytes()[..width].to_vec()
    } else {
        value.to_be_bytes()[8 - width..].to_vec()
    }
}

/// Repeats a part, often enough to nest what can be nested.
fn repeat(rng: &mut Rng, input: &mut Vec<u8>, at: usize) {
    let part = input[range(rng, input.len())].to_vec();
    let copies = *pick(rng, &[1, 1, 2, 200]);
    if part.len() * copies <= MAX_LEN {
        drop(input.splice(at..at, part.repeat(copies)));
    }
}

/// Keeps the beginning and continues like another seed.
fn splice(rng: &mut Rng, input: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>]) {
    let other = pick(rng, seeds);
    input.truncate(at);
    input.extend_from_slice(&other[rng.usize(..=other.len())..]);
}

fn random_bytes(rng: &mut Rng) -> Vec<u8> {
    let len = rng.usize(1..=16);
    (0..len).map(|_| rng.u8(..)).collect()
}

fn range(rng: &mut Rng, len: usize) -> std::ops::Range<usize> {
    let (one, other) = (rng.usize(..=len), rng.usize(..=len));
    one.min(other)..one.max(other)
}

fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.usize(..items.len())]
}

/// Longer than every seed; a higher maximum would only be slow.
const MAX_LEN: usize = 1 << 16;
