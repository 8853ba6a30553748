//! Targets: managed nodes, by id, by tags, or as tasks of ECS.

use std::collections::BTreeMap;
use std::fmt;

/// A target, by node id, by tags, or by what it runs in ECS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A node id.
    Node(String),
    /// Tags, all of which a node must have.
    Tags(BTreeMap<String, String>),
    /// A container of any task of a service or family.
    Ecs(EcsTarget),
}

/// A container of the tasks of a service or family in an ECS cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EcsTarget {
    /// Name or ARN of the cluster.
    pub cluster: String,
    /// Which tasks of the cluster.
    pub tasks: EcsTasks,
    /// Name of the container. `None`: the only one of the task.
    pub container: Option<String>,
}

/// A selection of the tasks of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EcsTasks {
    /// The tasks of the service with this name or ARN.
    Service(String),
    /// The tasks of all revisions of the task definition with this family.
    Family(String),
    /// All tasks; only to list them.
    All,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => f.write_str(id),
            Self::Tags(tags) => {
                let tags = tags.iter().map(|(key, value)| format!("{key}={value}"));
                f.write_str(&tags.collect::<Vec<_>>().join(", "))
            }
            Self::Ecs(target) => target.fmt(f),
        }
    }
}

impl fmt::Display for EcsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the ECS cluster {:?}", self.tasks, self.cluster)
    }
}

impl fmt::Display for EcsTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "the service {name:?}"),
            Self::Family(name) => write!(f, "the family {name:?}"),
            Self::All => f.write_str("the tasks"),
        }
    }
}
