//! Text from outside the process: printable, on one line, and cut.
//!
//! Agents, services, proxies, other users and files may send any text. Control characters could
//! move the cursor of a terminal, line breaks could forge log lines, bidirectional and invisible
//! characters could misrepresent the text, and a long text would hide the rest. [`Printable`] is
//! created where such a text enters; errors, events, status and logs use it instead of a `String`.

use std::borrow::Borrow;
use std::fmt::{self, Display, Write};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A text that is safe to display: no control, format or invisible characters, no line breaks, at
/// most [`Printable::MAX`] characters. Replaced characters appear as a blank or as `�`, and a cut
/// as `…`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Printable(Box<str>);

impl Printable {
    /// Maximum number of characters, not counting the `…` of a cut.
    pub const MAX: usize = 1000;

    /// Creates a printable text from any text.
    pub fn new(text: &str) -> Self {
        Self::cut(text, Self::MAX)
    }

    /// Creates a printable text from at most `max` characters.
    pub fn cut(text: &str, max: usize) -> Self {
        let mut line = PrintableBuilder::new(max);
        line.add(text.trim_matches(|c: char| c.is_whitespace() || c.is_control()));
        line.end()
    }

    /// Creates a printable text of at most `max` characters from bytes that should be UTF-8.
    pub fn from_bytes(bytes: &[u8], max: usize) -> Self {
        // A character has at most four bytes; the rest would be cut off anyway.
        let begin = &bytes[..bytes.len().min(max.saturating_mul(4).saturating_add(4))];
        Self::cut(&String::from_utf8_lossy(begin), max)
    }

    /// Creates a printable text from the `Display` output of a value, such as the error of a
    /// library. Uses no more memory than the result needs.
    pub fn of(value: impl Display) -> Self {
        let mut line = PrintableBuilder::new(Self::MAX);
        // Fails if the line is full or the value's own formatting fails.
        let _full = write!(line, "{value}");
        line.end()
    }

    /// Creates a printable text from an error and its sources, separated by colons.
    pub fn of_sources(error: &dyn std::error::Error) -> Self {
        let mut line = PrintableBuilder::new(Self::MAX);
        let mut _full = write!(line, "{error}");
        let mut next = error.source();
        while let Some(source) = next {
            _full = write!(line, ": {source}");
            next = source.source();
        }
        line.end()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Printable {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Printable {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for Printable {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq<String> for Printable {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<str> for Printable {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Printable {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Builder of a [`Printable`].
struct PrintableBuilder {
    text: String,
    left: usize,
    is_cut: bool,
}

impl PrintableBuilder {
    fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            left: max,
            is_cut: false,
        }
    }

    fn add(&mut self, text: &str) {
        if text.len() <= self.left && is_printable_ascii(text) {
            self.left -= text.len();
            return self.text.push_str(text);
        }
        for c in text.chars() {
            if self.left == 0 {
                self.is_cut = true;
                return;
            }
            self.left -= 1;
            self.text.push(shown(c));
        }
    }

    fn end(self) -> Printable {
        let text = self.text.trim();
        match self.is_cut {
            true => Printable(format!("{text}…").into()),
            false => Printable(text.into()),
        }
    }
}

impl Write for PrintableBuilder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        match self.is_cut {
            true => Err(fmt::Error),
            false => Ok(()),
        }
    }
}

/// Returns the printable replacement of a character.
fn shown(c: char) -> char {
    match c {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_printable(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Returns a text of several lines, such as a configuration error with its excerpt, with all
/// characters escaped that are neither printable nor newlines.
pub fn printable_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => lines.push(c),
            c if is_printable(c) => lines.push(c),
            c => lines.extend(c.escape_default()),
        }
    }
    lines
}

/// Quotes a text that is one word of a shell command.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+=,%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Returns true if a text consists of printable characters of ASCII: one byte each.
pub fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Returns true if a character displays as itself and does not affect its surroundings. Excludes
/// control characters (C0, DEL, C1), line and paragraph separators, format characters (Unicode
/// `Cf`: bidirectional controls, zero width, tags), and default-ignorable, hence invisible, ones.
pub fn is_printable(c: char) -> bool {
    if c.is_control() {
        return false;
    }
    let is_within = |(first, last): &(u32, u32)| (*first..=*last).contains(&u32::from(c));
    c.is_ascii() || !INVISIBLE.iter().any(is_within)
}

/// `Cf`, `Zl`, `Zp` and `Default_Ignorable_Code_Point` of Unicode 16, and all of plane 14, which
/// contains nothing else.
const INVISIBLE: &[(u32, u32)] = &[
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x600, 0x605),
    (0x61c, 0x61c),
    (0x6dd, 0x6dd),
    (0x70f, 0x70f),
    (0x890, 0x891),
    (0x8e2, 0x8e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xeffff),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_characters_are_unchanged() {
        for text in [
            "",
            "a",
            "größe 値 🦀",
            "say \"no\" \\n",
            "no-break\u{a0}space",
        ] {
            assert_eq!(Printable::new(text), *text);
            assert_eq!(Printable::of(text), *text);
        }
    }

    #[test]
    fn other_characters_are_replaced() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = Printable::new(&format!("a{c}b"));
            assert!(shown.chars().all(is_printable), "{c:?}");
            assert_eq!(shown.chars().count(), 3, "{c:?}");
            assert_eq!(
                shown.contains(c),
                is_printable(c) || c == '\u{fffd}',
                "{c:?}"
            );
        }
        for c in "\u{1b}\n\r\u{7f}\u{9b}\u{85}\u{200b}\u{200e}\u{202e}\u{2028}\u{2029}\u{2066}\u{feff}\u{e0041}".chars() {
            assert!(!is_printable(c), "{c:?}");
        }
    }

    #[test]
    fn a_line_break_is_a_blank_and_is_trimmed_at_the_ends() {
        assert_eq!(
            Printable::new(" lookup x:\r\nno\u{2028}host\u{1b}[2J\n"),
            "lookup x:  no host\u{fffd}[2J"
        );
        assert_eq!(Printable::of("\nno\tsuch \n"), "no such");
    }

    #[test]
    fn several_lines_stay_several_lines() {
        assert_eq!(
            printable_lines("line 1\n  |\u{1b}[2J\u{202e}\r\n"),
            "line 1\n  |\\u{1b}[2J\\u{202e}\\r\n"
        );
    }

    #[test]
    fn a_word_of_a_shell_command_is_quoted_if_needed() {
        assert_eq!(shell_word("~/it's"), r"'~/it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("/etc/a_b-1.toml"), "/etc/a_b-1.toml");
    }

    #[test]
    fn a_long_text_is_cut_and_marked() {
        let long = "ä".repeat(1 << 16);

        let expected = "ä".repeat(Printable::MAX) + "…";
        assert_eq!(Printable::new(&long), *expected);
        assert_eq!(Printable::of(&long), *expected);
        assert_eq!(Printable::from_bytes(long.as_bytes(), 3), "äää…");
        assert_eq!(Printable::from_bytes(b"a\xffb", 9), "a\u{fffd}b");
        assert_eq!(Printable::cut("abc", 3), "abc");
    }
}
