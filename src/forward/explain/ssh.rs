//! SSH: lines before the identification (RFC 4253, section 4.2), and a disconnect message (11.1).
//!
//! OpenSSH shows the lines with `-v` only, but the description of a disconnect always. The message
//! follows the identification directly: it is permitted before the key exchange, which is never begun,
//! so there is no host key and the client stores nothing.

use super::explanation::{Explanation, cut};

/// Returns lines, identification and packet.
pub(super) fn message(explanation: &Explanation) -> Vec<u8> {
    let mut message = Vec::new();
    let hint = (!explanation.hint.is_empty()).then(|| format!("hint: {}", explanation.hint));
    let lines = [Some(explanation.cause()), hint, Some(explanation.detail())];
    for line in lines.into_iter().flatten() {
        message.extend(ascii(&cut(&line, MAX_LINE)).bytes());
        message.extend(b"\r\n");
    }
    message.extend(b"SSH-2.0-ssm-proxyd\r\n");
    let description = ascii(&explanation.line(MAX_DESCRIPTION));
    message.extend(packet(&disconnect(&description)));
    message
}

/// Replaces ellipses: OpenSSH shows other characters than ASCII as octal numbers.
fn ascii(text: &str) -> String {
    text.replace('…', "...")
}

/// Returns the payload of a disconnect message.
fn disconnect(description: &str) -> Vec<u8> {
    let mut payload = vec![SSH_MSG_DISCONNECT];
    payload.extend(SERVICE_NOT_AVAILABLE.to_be_bytes());
    for text in [description, LANGUAGE] {
        let length = u32::try_from(text.len()).expect("the description is cut");
        payload.extend(length.to_be_bytes());
        payload.extend(text.bytes());
    }
    payload
}

/// Returns an unencrypted packet (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    // Length, length of the padding, payload and padding are a multiple of the block size.
    let unpadded = 4 + 1 + payload.len() + MIN_PADDING;
    let padding = unpadded.next_multiple_of(BLOCK) - unpadded + MIN_PADDING;
    let length = u32::try_from(1 + payload.len() + padding).expect("the payload is short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("less than a block more than the minimum"));
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

const SSH_MSG_DISCONNECT: u8 = 1;

/// `SSH_DISCONNECT_SERVICE_NOT_AVAILABLE`.
const SERVICE_NOT_AVAILABLE: u32 = 7;

const LANGUAGE: &str = "";
const BLOCK: usize = 8;
const MIN_PADDING: usize = 4;

/// Maximum number of bytes of a line before the identification; that of the identification itself.
const MAX_LINE: usize = 253;

/// OpenSSH shows 400 bytes of a description.
const MAX_DESCRIPTION: usize = 400;
