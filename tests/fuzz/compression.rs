//! Target of the decoder of compressed flows.

use bytes::Bytes;
use ssm_proxyd::compression::{CompressionError, Decoded, Decoder};

/// Segments are the same in any fragmentation, and no more is returned than what is taken. The first
/// byte chooses how much that is.
pub(super) fn decoder(data: &[u8]) {
    let Some((&max, input)) = data.split_first() else {
        return;
    };
    let whole = decode(input.chunks(input.len().max(1)), 1 << 16);
    let parts = decode(input.chunks(3), usize::from(max) + 1);

    for error in [&whole.1, &parts.1].into_iter().flatten() {
        assert!(!error.to_string().contains(char::is_control));
    }
    // What comes before an error may be withheld. A frame with too large a window is an error only
    // if the window is needed.
    let len = whole.0.len().min(parts.0.len());
    assert_eq!(whole.0[..len], parts.0[..len]);
    if (&whole.1, &parts.1) == (&None, &None) {
        assert_eq!(whole.0.len(), parts.0.len());
    }
}

/// Returns the first bytes, and the error that ended them.
fn decode<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    max: usize,
) -> (Vec<u8>, Option<CompressionError>) {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.decode(max, true) {
                Ok(Decoded::Data(bytes)) => {
                    assert!(!bytes.is_empty() && bytes.len() <= max.min(1 << 16));
                    out.extend_from_slice(&bytes);
                }
                Ok(Decoded::NeedsInput) => break,
                Ok(Decoded::NeedsFrame) => unreachable!("it may begin"),
                Err(error) => return (out, Some(error)),
            }
            // A bomb goes on.
            if out.len() > MAX_OUTPUT {
                out.truncate(MAX_OUTPUT);
                return (out, None);
            }
        }
    }
    let end = decoder.finish().err();
    (out, end)
}

const MAX_OUTPUT: usize = 1 << 18;
