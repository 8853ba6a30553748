//! Target: the managed node, or the task of ECS, that runs the agent.

use std::collections::BTreeMap;
use std::fmt;

use super::{Account, Forward};

/// A managed node, by id or by tags, or a task of ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One node.
    Node {
        /// `i-…`, `mi-…` or `ecs:cluster_task_runtime`.
        id: String,
        /// Its region, if that is not the region of the forward.
        region: Option<String>,
    },
    /// Any node that has all of these tags. At least one; neither keys nor values are empty.
    Tags(BTreeMap<String, String>),
    /// A container of any task of a service or family.
    Ecs(EcsTarget),
}

/// A container of the tasks of a service or family in an ECS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcsTarget {
    /// Name or ARN of the cluster.
    pub cluster: String,
    /// Which tasks of the cluster.
    pub tasks: EcsTasks,
    /// Name of the container. `None`: the only one of the task.
    pub container: Option<String>,
}

/// A selection of the tasks of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcsTasks {
    /// The tasks of the service with this name or ARN.
    Service(String),
    /// The tasks of all revisions of the task definition with this family.
    Family(String),
}

impl Target {
    /// Returns the region that the target itself names.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Node { region, .. } => region.as_deref(),
            Self::Tags(_) => None,
            Self::Ecs(target) => target.region(),
        }
    }
}

impl EcsTarget {
    /// Returns the region in the ARN of its cluster or service.
    fn region(&self) -> Option<&str> {
        let service = match &self.tasks {
            EcsTasks::Service(service) => Some(service),
            EcsTasks::Family(_) => None,
        };
        let mut names = [Some(&self.cluster), service].into_iter().flatten();
        names.find_map(|name| name.strip_prefix("arn:")?.split(':').nth(2))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { id, region: None } => f.write_str(id),
            Self::Node {
                id,
                region: Some(region),
            } => write!(f, "{id}.{region}"),
            Self::Tags(tags) => {
                let tags: Vec<_> = tags
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                write!(f, "the tags {}", tags.join(", "))
            }
            Self::Ecs(target) => target.fmt(f),
        }
    }
}

/// Formats services as in the file, by their names.
impl fmt::Display for EcsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
        let (cluster, container) = (name(&self.cluster), self.container.as_deref());
        match (&self.tasks, container) {
            (EcsTasks::Service(service), None) => write!(f, "ecs:{cluster}/{}", name(service)),
            (EcsTasks::Service(service), Some(container)) => {
                write!(f, "ecs:{cluster}/{}/{container}", name(service))
            }
            (EcsTasks::Family(family), None) => {
                write!(f, "the family {family} in the ECS cluster {cluster}")
            }
            (EcsTasks::Family(family), Some(container)) => {
                write!(
                    f,
                    "the container {container} of the family {family} in the ECS cluster {cluster}"
                )
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

    /// Returns the same targets without the regions that they name.
    pub fn without_regions(&self) -> Self {
        let targets = self.0.iter().map(|target| match target {
            Target::Node { id, region: _ } => Target::Node {
                id: id.clone(),
                region: None,
            },
            Target::Tags(_) | Target::Ecs(_) => target.clone(),
        });
        Self(targets.collect())
    }

    /// Returns the targets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }
}

impl Forward {
    /// Returns the AWS settings for one of its targets. A region that the target names takes
    /// precedence over that of the forward.
    pub fn account_for(&self, target: &Target) -> Account {
        let mut account = self.account.clone();
        if let Some(region) = target.region() {
            account.region = Some(region.to_owned());
        }
        account
    }

    /// Returns the AWS settings for each of its targets, without repetitions.
    pub fn accounts(&self) -> Vec<Account> {
        let mut accounts = Vec::new();
        for account in self.target.iter().map(|target| self.account_for(target)) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        accounts
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
