//! Frames of a mux, decoded as simply as possible.

/// Splits the first frame off: its command, stream and data.
pub(super) fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, u32, Vec<u8>)> {
    let [1, command, l0, l1, s0, s1, s2, s3] = *bytes.first_chunk::<8>()? else {
        panic!("not version 1: {:?}", &bytes[..8]);
    };
    let len = 8 + usize::from(u16::from_le_bytes([l0, l1]));
    if bytes.len() < len {
        return None;
    }
    let frame: Vec<_> = bytes.drain(..len).collect();
    Some((
        command,
        u32::from_le_bytes([s0, s1, s2, s3]),
        frame[8..].to_vec(),
    ))
}

/// The length of the payload that follows, if these bytes are the header of a frame for a stream
/// that is never opened.
pub(super) fn payload_of_nothing(rest: &[u8]) -> Option<u8> {
    match rest {
        [1, 2, len, 0, 1, 0, 0, 0] => Some(*len),
        _ => None,
    }
}

/// A frame that opens a stream, which an agent reads as payload.
pub(super) const OPENS_NOTHING: [u8; 8] = [1, 0, 0, 0, 1, 0, 0, 0];

/// A NOP frame.
pub(super) const NOTHING: [u8; 8] = [1, 3, 0, 0, 0, 0, 0, 0];
