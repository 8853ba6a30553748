//! Keys: what a terminal sends for them, decoded.
//!
//! A terminal sends an escape character alone for the Escape key, and as the first of several bytes
//! for keys such as arrows. Over a slow line these bytes may arrive separately, so a lone escape
//! character is a key only after a pause ([`Decoder::pause`]).

use std::time::Duration;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    /// A letter together with the control key, in lower case.
    Control(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Delete,
    Enter,
    Backspace,
    Escape,
}

/// Decodes the bytes of a terminal. Unknown sequences and pasted text are ignored.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a key.
    pending: Vec<u8>,
    is_pasting: bool,
}

impl Decoder {
    /// Decodes bytes and returns the keys that are complete.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            self.pending.push(*byte);
            keys.extend(self.complete());
        }
        keys
    }

    /// Returns how long to wait for the next byte before [`Decoder::handle_pause`] is called; `None`
    /// if no key is incomplete.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match (self.is_pasting, self.pending.is_empty()) {
            (true, _) => Some(PASTE_TIMEOUT),
            (false, false) => Some(ESCAPE_TIMEOUT),
            (false, true) => None,
        }
    }

    /// Handles a pause without input: a lone escape character is the Escape key.
    pub(crate) fn handle_pause(&mut self) -> Option<Key> {
        let was_pasting = std::mem::take(&mut self.is_pasting);
        let pending = std::mem::take(&mut self.pending);
        (pending == [ESCAPE] && !was_pasting).then_some(Key::Escape)
    }

    /// Removes the pending bytes if they are complete, and returns their key.
    fn complete(&mut self) -> Option<Key> {
        let (key, is_complete) = match self.pending[..] {
            [ESCAPE] | [ESCAPE, b'[' | b'O'] => (None, false),
            [ESCAPE, b'[', .., last] if !is_final(last) && self.pending.len() < MAX_SEQUENCE => {
                (None, false)
            }
            [ESCAPE, b'[', ref parameters @ .., last] => match (parameters, last) {
                (b"200", b'~') => {
                    self.is_pasting = true;
                    (None, true)
                }
                (b"201", b'~') => {
                    self.is_pasting = false;
                    (None, true)
                }
                (parameters, last) => (sequence(parameters, last), true),
            },
            [ESCAPE, b'O', last] => (sequence(b"", last), true),
            [ESCAPE, ESCAPE] => (Some(Key::Escape), true),
            [ESCAPE, ..] => (None, true),
            [b'\r' | b'\n'] => (Some(Key::Enter), true),
            [0x08 | 0x7f] => (Some(Key::Backspace), true),
            [control @ 1..=26] => (Some(Key::Control((control + b'a' - 1).into())), true),
            [0..=31] => (None, true),
            ref text => match std::str::from_utf8(text) {
                Ok(text) => (text.chars().next().map(Key::Char), true),
                // More bytes follow, unless it is invalid.
                Err(error) => (None, error.error_len().is_some()),
            },
        };
        if !is_complete {
            return None;
        }
        let is_second = self.pending == [ESCAPE, ESCAPE];
        self.pending.clear();
        if is_second {
            // The second may be the first byte of a key.
            self.pending.push(ESCAPE);
        }
        key.filter(|_| !self.is_pasting)
    }
}

/// Returns whether this byte ends a sequence that begins with `ESC [`.
fn is_final(byte: u8) -> bool {
    (0x40..=0x7e).contains(&byte)
}

/// Returns the key of a sequence. Modifiers in the parameters are ignored.
fn sequence(parameters: &[u8], last: u8) -> Option<Key> {
    let first = parameters.split(|byte| *byte == b';').next();
    match (last, first.unwrap_or_default()) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', b"1" | b"7") => Some(Key::Home),
        (b'F', _) | (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"3") => Some(Key::Delete),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (b'M', b"") => Some(Key::Enter),
        _ => None,
    }
}

const ESCAPE: u8 = 0x1b;

/// Longer than the time between the bytes of one key on a slow line.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(100);

/// Time after which a paste without an end is over.
const PASTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum length of a sequence, so that it ends.
const MAX_SEQUENCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        let mut keys = decoder.handle_bytes(bytes);
        if decoder.pause().is_some() {
            keys.extend(decoder.handle_pause());
        }
        assert_eq!(decoder.pause(), None);
        keys
    }

    #[test]
    fn keys_are_decoded() {
        for (bytes, expected) in [
            (&b"q"[..], &[Key::Char('q')][..]),
            ("é漢".as_bytes(), &[Key::Char('é'), Key::Char('漢')]),
            (b"\x03\x1a", &[Key::Control('c'), Key::Control('z')]),
            (b"\x1b[A\x1b[B", &[Key::Up, Key::Down]),
            (b"\x1bOA\x1bOB", &[Key::Up, Key::Down]),
            (b"\x1b[1;5C\x1b[D", &[Key::Right, Key::Left]),
            (b"\x1b[5~\x1b[6~", &[Key::PageUp, Key::PageDown]),
            (b"\x1b[H\x1b[4~\x1b[3~", &[Key::Home, Key::End, Key::Delete]),
            (b"\r\n\x7f", &[Key::Enter, Key::Enter, Key::Backspace]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1b\x1b[A", &[Key::Escape, Key::Up]),
            (b"\x1b[99x\x1bq\0", &[]),
            (b"a\xffb\xc3", &[Key::Char('a'), Key::Char('b')]),
            (b"\x1b[200~xy\x1b[201~q", &[Key::Char('q')]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_key_may_arrive_in_parts() {
        let mut decoder = Decoder::default();

        assert_eq!(decoder.handle_bytes(b"\x1b"), []);
        assert_eq!(decoder.pause(), Some(ESCAPE_TIMEOUT));
        assert_eq!(decoder.handle_bytes(b"[1;"), []);
        assert_eq!(decoder.handle_bytes(b"5A"), [Key::Up]);
        assert_eq!(decoder.pause(), None);
    }

    #[test]
    fn a_paste_without_an_end_is_over_after_a_pause() {
        let mut decoder = Decoder::default();

        assert_eq!(decoder.handle_bytes(b"\x1b[200~xy"), []);
        assert_eq!(decoder.pause(), Some(PASTE_TIMEOUT));
        assert_eq!(decoder.handle_pause(), None);
        assert_eq!(decoder.handle_bytes(b"q"), [Key::Char('q')]);
    }

    #[test]
    fn any_input_is_decoded_with_bounded_memory() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut decoder = Decoder::default();
        for _ in 0..100_000 {
            let alphabet = b"\x1b\x1b[[O~;0123456789ABMq\xc3\xe6\xbc\xff\0\x03\r";
            let byte = match random.bool() {
                true => alphabet[random.usize(..alphabet.len())],
                false => random.u8(..),
            };
            decoder.handle_bytes(&[byte]);
            assert!(decoder.pending.len() <= MAX_SEQUENCE);
        }
    }
}
