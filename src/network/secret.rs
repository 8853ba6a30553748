//! Random bytes that others must not guess.

use rustls::crypto::aws_lc_rs;

/// Returns random bytes from the generator that TLS uses for keys. `None` if the system has none.
pub fn random_bytes<const LEN: usize>() -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let filled = aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
    filled.is_ok().then_some(bytes)
}
