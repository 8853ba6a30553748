//! Redis: an error reply to the first command (RESP, "Simple errors").
//!
//! It says that the command was not executed. A command that may have reached the destination
//! therefore gets no reply, but a reset.

use super::Step;
use super::explanation::Explanation;

/// Replies to a command whose first line has arrived.
pub(super) fn respond(request: &[u8], explanation: &Explanation) -> Step {
    match request.first() {
        _ if explanation.was_passed_on => Step::Reset,
        None => Step::Read,
        // An array of strings, or a command in plain words.
        Some(b'*' | b'A'..=b'Z' | b'a'..=b'z') => match request.contains(&b'\n') {
            true => Step::End(message(explanation)),
            false => Step::Read,
        },
        // TLS, for example.
        Some(_) => Step::Reset,
    }
}

fn message(explanation: &Explanation) -> Vec<u8> {
    format!("-ERR {}\r\n", explanation.line(MAX_TEXT)).into_bytes()
}

/// Maximum number of bytes of the text.
const MAX_TEXT: usize = 1000;
