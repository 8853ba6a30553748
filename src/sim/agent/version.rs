//! Behaviour of agents by version, and how they interpret a client's version.
//!
//! There is no negotiation: each side decides from the other's version string (docs/protocol.md,
//! section 5.5). The thresholds below are those of the real agent.

use std::fmt;

/// A dotted version. A part that is not a number counts as zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// Parses a version such as `3.3.987.0`; the empty string is less than all others.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self(Vec::new());
        }
        Self(
            text.split('.')
                .map(|part| part.parse().unwrap_or(0))
                .collect(),
        )
    }

    /// Returns true if an agent of this version multiplexes with a client of that version.
    pub(super) fn multiplexes(&self, client: &Self) -> bool {
        self.is_at_least([3, 0, 222, 0]) && *client >= Self(vec![1, 1, 70])
    }

    /// Returns true if the agent sends NOPs and ends a silent mux (docs/protocol.md, section 8.6).
    pub(super) fn keeps_alive(&self, client: &Self) -> bool {
        if self.is_at_least([3, 1, 1575, 0]) {
            return *client <= Self(vec![1, 2, 331, 0]);
        }
        let pause = self.is_at_least([3, 1, 1446, 0]) && !self.is_at_least([3, 1, 1476, 0]);
        !pause
    }

    /// Returns true if duplicates are acknowledged again (docs/protocol.md, section 6.4).
    pub(super) fn acknowledges_duplicates(&self) -> bool {
        self.is_at_least([3, 2, 1041, 0])
    }

    /// Returns true if messages are acknowledged after processing (docs/protocol.md, section 6.4).
    pub(super) fn acknowledges_after_processing(&self) -> bool {
        self.is_at_least([3, 0, 655, 0])
    }

    /// Returns true if ending agents await acknowledgements (docs/protocol.md, section 9.3).
    pub(super) fn drains(&self) -> bool {
        self.is_at_least([3, 0, 732, 0])
    }

    /// Returns true if a failed dial in basic mode crashes it (docs/protocol.md, section 7).
    pub(super) fn crashes_on_failed_dial(&self) -> bool {
        self.is_at_least([3, 0, 222, 0])
    }

    /// Returns true if the TerminateSession flag is supported (docs/protocol.md, section 9.2).
    pub(super) fn knows_terminate_flag(&self) -> bool {
        *self > Self(vec![2, 3, 722, 0])
    }

    /// Returns true if `host` is resolved once, at session start (docs/protocol.md, section 0.1).
    pub(super) fn resolves_at_start(&self) -> bool {
        self.is_at_least([3, 2, 1041, 0])
    }

    fn is_at_least(&self, threshold: [u64; 4]) -> bool {
        self.0.as_slice() >= threshold.as_slice()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_version_is_less_when_equal_so_far() {
        let order = ["", "1.1.69", "1.1.70", "1.1.70.0", "1.2.331.0", "1.2.764.0"];

        for pair in order.windows(2) {
            assert!(
                Version::parse(pair[0]) < Version::parse(pair[1]),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn both_versions_decide_about_the_mux() {
        let modern = Version::parse("3.3.987.0");

        assert!(modern.multiplexes(&Version::parse("1.1.70")));
        assert!(!modern.multiplexes(&Version::parse("1.1.69")));
        assert!(!modern.multiplexes(&Version::parse("")));
        assert!(!Version::parse("3.0.196.0").multiplexes(&Version::parse("1.2.764.0")));
    }

    #[test]
    fn keep_alive_depends_on_the_version_as_in_the_real_agent() {
        let current = Version::parse("1.2.764.0");
        let on = ["3.0.222.0", "3.1.1374.0", "3.1.1476.0", "3.1.1511.0"];
        let off = ["3.1.1446.0", "3.1.1575.0", "3.3.987.0"];

        assert!(on.iter().all(|v| Version::parse(v).keeps_alive(&current)));
        assert!(!off.iter().any(|v| Version::parse(v).keeps_alive(&current)));
        assert!(Version::parse("3.3.987.0").keeps_alive(&Version::parse("1.2.331.0")));
    }
}
