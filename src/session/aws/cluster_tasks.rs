//! Lists the containers of the tasks of an ECS cluster.

use aws_sdk_ecs::types::{Container, DesiredStatus, ManagedAgentName, Task};

use super::SsmClient;
use super::paging::{AfterPage, Pages};
use super::task_lookup::{last_part, word};
use crate::printable::Printable;
use crate::session::error::Error;
use crate::session::target::{EcsTarget, EcsTasks};

/// A container of a running task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTask {
    /// The target of Session Manager; empty until the container is created.
    pub target: Printable,
    /// The service, or the family of the task, and the container.
    pub name: Printable,
    /// The platform, such as `Linux` or `Windows Server 2022`; may be empty.
    pub platform: Printable,
    /// The status of the agent of ECS Exec: `RUNNING`, another one, or `no ECS Exec`.
    pub agent_status: Printable,
}

impl ClusterTask {
    /// Returns whether a session can be started in it.
    pub fn is_online(&self) -> bool {
        self.agent_status == *RUNNING && !self.target.is_empty()
    }
}

impl SsmClient {
    /// Lists the containers of the running tasks of a cluster, from `max_pages` of 100 tasks at most.
    /// Also returns whether there are more.
    ///
    /// # Errors
    ///
    /// The error of the call: [`ErrorKind::Denied`](crate::session::ErrorKind::Denied) without the
    /// permission.
    pub async fn cluster_tasks(
        &self,
        cluster: &str,
        max_pages: usize,
    ) -> Result<(Vec<ClusterTask>, bool), Error> {
        let all = EcsTarget {
            cluster: cluster.to_owned(),
            tasks: EcsTasks::All,
            container: None,
        };
        let (mut containers, mut pages) = (Vec::new(), Pages::new(max_pages));
        loop {
            let (arns, next) = self
                .list(&all, &DesiredStatus::Running, pages.token())
                .await?;
            let has_entries = !arns.is_empty();
            if has_entries {
                let tasks = self.describe_tasks(&all, arns).await?;
                containers.extend(tasks.iter().flat_map(containers_of));
            }
            let is_cut = match pages.turn(next, has_entries) {
                AfterPage::Next => continue,
                AfterPage::End => false,
                AfterPage::Cut => true,
            };
            return Ok((containers, is_cut));
        }
    }
}

fn containers_of(task: &Task) -> Vec<ClusterTask> {
    let containers = task.containers().iter();
    containers.map(|container| row(task, container)).collect()
}

fn row(task: &Task, container: &Container) -> ClusterTask {
    let name = container.name().unwrap_or_default();
    let group = task.group().unwrap_or_default();
    let group = match group.split_once(':') {
        Some((_kind, name)) => name,
        None => group,
    };
    let platform = [task.platform_family(), task.platform_version()];
    let platform: Vec<_> = platform.into_iter().flatten().collect();
    ClusterTask {
        target: target(task, container).unwrap_or_default().into(),
        name: format!("{group}/{name}").trim_matches('/').into(),
        platform: platform.join(" ").into(),
        agent_status: agent_status(task, container).into(),
    }
}

fn target(task: &Task, container: &Container) -> Option<String> {
    let cluster = word(last_part(task.cluster_arn()?))?;
    let id = word(last_part(task.task_arn()?))?;
    let runtime_id = word(container.runtime_id()?)?;
    Some(format!("ecs:{cluster}_{id}_{runtime_id}"))
}

fn agent_status<'a>(task: &Task, container: &'a Container) -> &'a str {
    if !task.enable_execute_command() {
        return NO_EXEC;
    }
    let mut agents = container.managed_agents().iter();
    let agent = agents.find(|agent| agent.name() == Some(&ManagedAgentName::ExecuteCommandAgent));
    agent
        .and_then(|agent| agent.last_status())
        .unwrap_or(NO_AGENT)
}

/// The status of an agent that runs.
const RUNNING: &str = "RUNNING";

/// The task was started without `enableExecuteCommand`.
const NO_EXEC: &str = "no ECS Exec";

/// ECS reports no agent for the container.
const NO_AGENT: &str = "no agent";
