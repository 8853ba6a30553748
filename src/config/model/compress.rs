//! Whether connections through a relay are compressed.

use std::str::FromStr;

/// Value of `compress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    /// As long as bytes shrink.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Compress {
    /// The values as written in the file.
    pub(in crate::config) const WORDS: &[&str] = &["auto", "on", "off"];

    /// Returns the value as written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl FromStr for Compress {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = [Self::Auto, Self::On, Self::Off].into_iter();
        all.find(|value| value.as_str() == word).ok_or(())
    }
}
