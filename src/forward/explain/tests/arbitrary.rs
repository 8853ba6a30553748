//! Input that is arbitrary, truncated or huge, by seeds.

use super::*;

#[test]
fn arbitrary_input_ends_within_the_limit_and_in_parts_as_at_once() {
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let protocol = ClientProtocol::ALL[random.usize(..ClientProtocol::ALL.len())];
        let input = input(&mut random);
        let mut rest = &input[..];
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, others) = rest.split_at(random.usize(1..=rest.len()));
            parts.push(part);
            rest = others;
        }

        let (at_once, end) = respond(protocol, &input);
        let (in_parts, steps) = run(&mut conversation(protocol), parts.iter().copied());

        if end == Step::Read {
            assert!(input.len() < MAX_REQUEST, "seed {seed}");
        }
        let is_prefix = at_once.starts_with(&in_parts) || in_parts.starts_with(&at_once);
        assert!(is_prefix, "seed {seed}, {protocol:?}");
        if steps.last().is_some_and(|step| *step != Step::Read) && steps.len() == parts.len() {
            assert_eq!(in_parts, at_once, "seed {seed}, {protocol:?}");
        }
    }
}

/// Valid requests with faults, and arbitrary bytes.
fn input(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.usize(1..4) {
        match random.u8(..8) {
            0 => input.extend(SSL_REQUEST),
            1 => input.extend(startup()),
            2 => input.extend(b"GET / HTTP/1.1\r\naccept: a/b\r\n\r\n"),
            3 => input.extend(b"*1\r\n$4\r\nPING\r\n"),
            4 => input.extend(CANCEL_REQUEST),
            5 => input.extend(vec![random.u8(..); random.usize(..2 * MAX_REQUEST)]),
            _ => input.extend((0..random.usize(..64)).map(|_| random.u8(..))),
        }
    }
    if random.bool() && !input.is_empty() {
        let at = random.usize(..input.len());
        input[at] = random.u8(..);
        input.truncate(random.usize(1..=input.len()));
    }
    input
}
