//! Features of agent versions, and the client version we send.
//!
//! There is no negotiation: each side decides from the other's version string, and both must agree
//! (docs/protocol.md, section 5.5). On the client side, versions are compared component by
//! component, need equal numbers of them, and "supported" means strictly greater.

use std::fmt;

use crate::printable::Printable;

/// Maximum length of a version, in characters; a real one has about ten.
const MAX_LEN: usize = 40;

/// Client version sent in the channel opening and the handshake. Above 1.2.331.0, agents use mux
/// mode without keep-alive (docs/protocol.md, section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientVersion(pub [u32; 4]);

impl ClientVersion {
    /// The oldest version supported by AWS (docs/protocol.md, section 0.1).
    pub const DEFAULT: Self = Self([1, 2, 764, 0]);
}

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// The version of an agent; four numbers in every known release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentVersion(Printable);

impl AgentVersion {
    /// Parses the text of the handshake.
    pub(crate) fn new(text: &str) -> Self {
        Self(Printable::cut(text, MAX_LEN))
    }

    /// Returns the version as printable text.
    pub(crate) fn text(&self) -> &Printable {
        &self.0
    }

    /// Returns true if the agent supports smux on `LocalPortForwarding`.
    pub(crate) fn has_mux(&self) -> bool {
        self.is_above(LAST_WITHOUT_MUX)
    }

    /// Returns true if the agent closes a mux that was idle for thirty seconds, so that NOP frames
    /// must be sent (docs/protocol.md, section 8.6).
    pub(crate) fn needs_keep_alive(&self) -> bool {
        !self.is_above(LAST_WITH_KEEP_ALIVE)
    }

    /// Returns true if an acknowledgement can show that the agent's plugin is ready. Older agents
    /// acknowledge first, and discard what arrives too early (docs/protocol.md, section 6.4).
    pub(crate) fn proves_readiness(&self) -> bool {
        self.is_above(LAST_WITHOUT_PROOF)
    }

    /// Returns true if the agent acknowledges duplicates of messages that it has processed
    /// (docs/protocol.md, section 6.4).
    pub(crate) fn acknowledges_duplicates(&self) -> bool {
        self.is_above(LAST_WITHOUT_DUPLICATES)
    }

    /// Returns true if the agent awaits acknowledgements before closing (docs/protocol.md,
    /// section 9.3).
    pub(crate) fn drains(&self) -> bool {
        self.is_above(LAST_WITHOUT_DRAIN)
    }

    /// Returns true if the version has four components and is strictly greater than `threshold`.
    fn is_above(&self, threshold: [u32; 4]) -> bool {
        self.components()
            .is_some_and(|components| components > threshold)
    }

    fn components(&self) -> Option<[u32; 4]> {
        let parts: Vec<u32> = self
            .0
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        parts.try_into().ok()
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const LAST_WITHOUT_MUX: [u32; 4] = [3, 0, 196, 0];
/// The last version before 3.0.655.0.
const LAST_WITHOUT_PROOF: [u32; 4] = [3, 0, 654, u32::MAX];
/// The last version before 3.0.732.0.
const LAST_WITHOUT_DRAIN: [u32; 4] = [3, 0, 731, u32::MAX];
/// The last version before 3.2.1041.0.
const LAST_WITHOUT_DUPLICATES: [u32; 4] = [3, 2, 1040, u32::MAX];
const LAST_WITH_KEEP_ALIVE: [u32; 4] = [3, 1, 1511, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::is_printable;

    fn version(text: &str) -> AgentVersion {
        AgentVersion::new(text)
    }

    #[test]
    fn the_thresholds_are_strict() {
        assert!(!version("3.0.196.0").has_mux());
        assert!(version("3.0.222.0").has_mux());
        assert!(!version("3.0.654.0").proves_readiness());
        assert!(version("3.0.655.0").proves_readiness());
        assert!(!version("3.0.731.0").drains() && version("3.0.732.0").drains());
        assert!(!version("3.2.1040.0").acknowledges_duplicates());
        assert!(version("3.2.1041.0").acknowledges_duplicates());
        assert!(version("3.1.1511.0").needs_keep_alive());
        assert!(!version("3.1.1575.0").needs_keep_alive());
        assert!(!version("3.3.987.0").needs_keep_alive());
    }

    #[test]
    fn a_version_that_cannot_be_compared_supports_no_feature() {
        for text in ["", "3.3.987", "3.3.987.0.1", "3.3.x.0", "99999999999.0.0.0"] {
            assert!(!version(text).has_mux(), "{text:?}");
        }
    }

    #[test]
    fn a_version_is_shown_as_printable_and_short_text() {
        let hostile = format!("3.3.987.0\u{1b}[2J\r\n\u{202e}{}", "A".repeat(10_000));

        let text = version(&hostile).text().to_string();

        assert!(text.starts_with("3.3.987.0"), "{text:?}");
        assert!(text.chars().all(is_printable), "{text:?}");
        assert!(text.chars().count() <= MAX_LEN + 1, "{text:?}");
    }
}
