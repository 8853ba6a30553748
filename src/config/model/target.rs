//! Target: the managed node that runs the agent.

use std::collections::BTreeMap;
use std::fmt;

/// A managed node, by id or by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `i-…`, `mi-…` or `ecs:cluster_task_runtime`.
    Node(String),
    /// Any node that has all of these tags. At least one; neither keys nor values are empty.
    Tags(BTreeMap<String, String>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => f.write_str(id),
            Self::Tags(tags) => {
                let tags: Vec<_> = tags
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                write!(f, "the tags {}", tags.join(", "))
            }
        }
    }
}

/// One or more targets, tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(Vec<Target>);

impl Targets {
    /// Creates a list of validated targets; at least one.
    pub(in crate::config) fn new(targets: Vec<Target>) -> Self {
        Self(targets)
    }

    /// Returns the targets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }
}

impl From<Target> for Targets {
    fn from(target: Target) -> Self {
        Self(vec![target])
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&targets.join("; else "))
    }
}
