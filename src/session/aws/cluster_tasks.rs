//! Lists the containers of the tasks of an ECS cluster.

use aws_sdk_ecs::types::{DesiredStatus, Task as EcsTask};

use super::paging::{AfterPage, Pages};
use super::{SsmClient, task_lookup};
use crate::printable::Printable;
use crate::session::error::Error;
use crate::session::target::{EcsTarget, EcsTasks};
use crate::session::task_choice::{Container, Task};

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
                containers.extend(tasks.into_iter().flat_map(containers_of));
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

/// Returns the containers of a task; none if it cannot be part of a target.
fn containers_of(task: EcsTask) -> Vec<ClusterTask> {
    let group = task.group().unwrap_or_default();
    let group = group.split_once(':').map_or(group, |(_kind, name)| name);
    let group = group.to_owned();
    let platform = [task.platform_family(), task.platform_version()];
    let platform: Vec<_> = platform.into_iter().flatten().collect();
    let platform = Printable::from(platform.join(" "));
    let Some(task) = task_lookup::task(task) else {
        return Vec::new();
    };
    let row = |container: &Container| ClusterTask {
        target: match &container.runtime_id {
            Some(runtime_id) => task.target(runtime_id).into(),
            None => Printable::default(),
        },
        name: format!("{group}/{}", container.name)
            .trim_matches('/')
            .into(),
        platform: platform.clone(),
        agent_status: agent_status(&task, container).into(),
    };
    task.containers.iter().map(row).collect()
}

fn agent_status<'a>(task: &Task, container: &'a Container) -> &'a str {
    match &container.agent {
        _ if !task.has_exec => NO_EXEC,
        Some(agent) if !agent.status.is_empty() => &agent.status,
        Some(_) | None => NO_AGENT,
    }
}

/// The status of an agent that runs.
const RUNNING: &str = "RUNNING";

/// The task was started without `enableExecuteCommand`.
const NO_EXEC: &str = "no ECS Exec";

/// ECS reports no agent for the container.
const NO_AGENT: &str = "no agent";
