//! Patterns for names.

use std::convert::Infallible;
use std::str::FromStr;

/// A text with the placeholders `*` and `?`. Without any it matches every text that contains it. Upper
/// and lower case are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<char>);

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let text = text.to_lowercase();
        let text = match text.contains(['*', '?']) {
            true => text,
            false => format!("*{text}*"),
        };
        Ok(Self(text.chars().collect()))
    }
}

impl Pattern {
    /// Returns whether the whole text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<_> = text.to_lowercase().chars().collect();
        let (mut at, mut place) = (0, 0);
        // Where to continue if the text after the last `*` does not match.
        let mut retry: Option<(usize, usize)> = None;
        while place < text.len() {
            match (self.0.get(at), retry) {
                (Some('*'), _) => {
                    retry = Some((at, place));
                    at += 1;
                }
                (Some(c), _) if *c == '?' || *c == text[place] => {
                    at += 1;
                    place += 1;
                }
                (_, Some((star, begin))) => {
                    retry = Some((star, begin + 1));
                    at = star + 1;
                    place = begin + 1;
                }
                (_, None) => return false,
            }
        }
        self.0[at..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let Ok(pattern) = pattern.parse::<Pattern>();
        pattern.matches(text)
    }

    #[test]
    fn a_text_without_placeholders_may_be_anywhere() {
        assert!(matches("Bas", "my-bastion"));
        assert!(matches("", ""));
        assert!(!matches("bast", "bas"));
    }

    #[test]
    fn placeholders_stand_for_other_characters() {
        for (pattern, text) in [
            ("i-*", "i-0123"),
            ("*", ""),
            ("a*c*e", "abcbcde"),
            ("a?c", "abc"),
            ("**b", "aab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("i-*", "mi-0123"), ("a?c", "ac"), ("a*b", "abc"), ("?", "")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
