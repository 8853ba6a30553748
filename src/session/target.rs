//! Targets: managed nodes, by id or by tags.

use std::collections::BTreeMap;
use std::fmt;

/// A target, by node id or by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node id.
    Node(String),
    /// Tags, all of which a node must have.
    Tags(BTreeMap<String, String>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => f.write_str(id),
            Self::Tags(tags) => {
                let tags = tags.iter().map(|(key, value)| format!("{key}={value}"));
                f.write_str(&tags.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
