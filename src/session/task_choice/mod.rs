//! Chooses the containers of an ECS service or family in which a session can be started, and the
//! order in which they are tried.
//!
//! A task can be used if it is running and was started with ECS Exec, and if the agent of ECS Exec
//! runs in its container. The healthiest tasks are first, and of these the newest.

use std::cmp::Reverse;

use crate::error_class::ErrorClass;

/// A task, as ECS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// The last part of its ARN.
    pub(super) id: String,
    /// The name of its cluster.
    pub(super) cluster: String,
    pub(super) status: String,
    pub(super) desired_status: String,
    /// Whether it was started with ECS Exec.
    pub(super) has_exec: bool,
    pub(super) health: Health,
    /// When it started, in seconds since the Unix epoch; 0 if it has not.
    pub(super) started_at: i64,
    /// When it stopped, in seconds since the Unix epoch; 0 if it has not.
    pub(super) stopped_at: i64,
    pub(super) stopped_reason: Option<String>,
    pub(super) containers: Vec<Container>,
}

/// Health of a task, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Healthy,
    /// No health check, or no result yet.
    Unknown,
    Unhealthy,
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    /// Its id in the container runtime. `None` until it is created.
    pub(super) runtime_id: Option<String>,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    /// The agent of ECS Exec. `None` if ECS reports none.
    pub(super) agent: Option<Agent>,
}

/// The agent of ECS Exec in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) status: String,
    pub(super) reason: Option<String>,
}

/// Why no task can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoTask {
    pub(super) class: ErrorClass,
    /// What is wrong, without the name of the service.
    pub(super) why: String,
}

/// Returns the targets of Session Manager, at most [`MAX_TASKS`], in the order in which they are
/// tried. `container` may be absent if the tasks have only one container of the user.
///
/// # Errors
///
/// If no task can be used: what the best of the running ones lacks.
pub(super) fn choose(tasks: &[Task], container: Option<&str>) -> Result<Vec<String>, NoTask> {
    let running: Vec<_> = tasks.iter().filter(|task| task.is_running()).collect();
    let (mut usable, mut obstacles) = (Vec::new(), Vec::new());
    for task in &running {
        match task.usable(container) {
            Ok(runtime_id) => usable.push((*task, runtime_id)),
            Err(obstacle) => obstacles.push(obstacle),
        }
    }
    usable.sort_by_key(|(task, _)| (task.health, Reverse(task.started_at), &task.id));
    usable.truncate(MAX_TASKS);
    let targets = usable
        .into_iter()
        .map(|(task, runtime_id)| task.target(runtime_id));
    let targets: Vec<_> = targets.collect();
    match obstacles.into_iter().min() {
        _ if !targets.is_empty() => Ok(targets),
        Some(obstacle) => Err(NoTask {
            class: obstacle.class(),
            why: obstacle.describe(running.len()),
        }),
        None => Err(none_running(tasks)),
    }
}

impl Task {
    /// Returns the target of Session Manager that is this container.
    pub(super) fn target(&self, runtime_id: &str) -> String {
        let Self { cluster, id, .. } = self;
        format!("ecs:{cluster}_{id}_{runtime_id}")
    }

    /// Returns whether it runs and is not about to be stopped.
    fn is_running(&self) -> bool {
        self.status == RUNNING && self.desired_status == RUNNING
    }

    /// Returns the runtime id of the container in which a session can be started.
    fn usable(&self, container: Option<&str>) -> Result<&str, Obstacle> {
        let container = self.container(container)?;
        if !self.has_exec {
            return Err(Obstacle::ExecOff);
        }
        let of_container = |status: &str, reason: &Option<String>| Cause {
            container: container.name.clone(),
            status: status.to_owned(),
            reason: reason.clone(),
        };
        let Some(runtime_id) = &container.runtime_id else {
            let cause = of_container(&container.status, &container.reason);
            return Err(Obstacle::Container(cause));
        };
        match &container.agent {
            Some(agent) if agent.status == RUNNING => Ok(runtime_id),
            Some(agent) => Err(Obstacle::Agent(of_container(&agent.status, &agent.reason))),
            None => Err(Obstacle::Agent(of_container("not reported", &None))),
        }
    }

    fn container(&self, name: Option<&str>) -> Result<&Container, Obstacle> {
        let mut names: Vec<_> = self.containers.iter().map(|c| c.name.clone()).collect();
        names.sort();
        if let Some(name) = name {
            let found = self.containers.iter().find(|c| c.name == name);
            let name = name.to_owned();
            return found.ok_or(Obstacle::NoContainer { name, names });
        }
        let mut own = self.containers.iter().filter(|c| !c.is_of_aws());
        match (own.next(), own.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Obstacle::SeveralContainers { names }),
            (None, _) => Err(Obstacle::NoOwnContainer { names }),
        }
    }
}

impl Container {
    /// Returns whether AWS adds it to the tasks of the user.
    fn is_of_aws(&self) -> bool {
        OF_AWS.iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// What a running task lacks. Ordered: the first needs the least to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    Container(Cause),
    Agent(Cause),
    ExecOff,
    SeveralContainers { names: Vec<String> },
    NoOwnContainer { names: Vec<String> },
    NoContainer { name: String, names: Vec<String> },
}

/// State of a container or of its agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    container: String,
    status: String,
    reason: Option<String>,
}

impl Obstacle {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Container(_) | Self::Agent(_) => ErrorClass::ExecuteCommandAgentStopped,
            Self::ExecOff => ErrorClass::ExecuteCommandDisabled,
            Self::SeveralContainers { .. } => ErrorClass::TargetAmbiguous,
            Self::NoOwnContainer { .. } | Self::NoContainer { .. } => ErrorClass::TargetNotFound,
        }
    }

    /// Returns the message; `running` is the number of running tasks.
    fn describe(&self, running: usize) -> String {
        let tasks = match running {
            1 => "the running task".to_owned(),
            _ => format!("{running} running tasks, none usable; the best"),
        };
        let state = |cause: &Cause| match &cause.reason {
            Some(reason) => format!("{} ({reason})", cause.status),
            None => cause.status.clone(),
        };
        match self {
            Self::Container(cause) => format!(
                "{tasks}: the container {:?} has no runtime id, its status is {}",
                cause.container,
                state(cause)
            ),
            Self::Agent(cause) => format!(
                "{tasks}: the ExecuteCommandAgent of the container {:?} is not running, its status is {}",
                cause.container,
                state(cause)
            ),
            Self::ExecOff => format!("{tasks} was started without ECS Exec (enableExecuteCommand)"),
            Self::SeveralContainers { names } => {
                format!(
                    "{tasks} has several containers, and none is chosen: {}",
                    listed(names)
                )
            }
            Self::NoOwnContainer { names } if names.is_empty() => {
                format!("{tasks} has no containers yet")
            }
            Self::NoOwnContainer { names } => {
                format!("{tasks} has only containers of AWS: {}", listed(names))
            }
            Self::NoContainer { name, names } => {
                format!("{tasks} has no container {name:?}, but {}", listed(names))
            }
        }
    }
}

/// Returns the error if no task is running, with the number of tasks in each other status and the
/// reason of the last one that stopped.
pub(super) fn none_running(tasks: &[Task]) -> NoTask {
    let mut statuses: Vec<(&str, usize)> = Vec::new();
    for task in tasks {
        let status = match task.status.as_str() {
            RUNNING => "STOPPING",
            other => other,
        };
        match statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => statuses.push((status, 1)),
        }
    }
    let counts: Vec<_> = statuses
        .iter()
        .take(MAX_LISTED)
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    let mut why = match counts.is_empty() {
        true => "no task is running".to_owned(),
        false => format!("no task is running, but {}", counts.join(", ")),
    };
    let stopped = tasks.iter().filter(|task| task.stopped_reason.is_some());
    let last = stopped.max_by_key(|task| (task.stopped_at, &task.id));
    if let Some(Task {
        id,
        stopped_reason: Some(reason),
        ..
    }) = last
    {
        why += &format!("; the task {id} stopped: {reason}");
    }
    NoTask {
        class: ErrorClass::TaskNotRunning,
        why,
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(MAX_LISTED).map(String::as_str).collect();
    match names.len() > MAX_LISTED {
        true => format!("{}, …", shown.join(", ")),
        false if names.is_empty() => "none".to_owned(),
        false => shown.join(", "),
    }
}

/// Status of tasks and agents.
const RUNNING: &str = "RUNNING";

/// Maximum number of tasks tried per lookup: each is a call while a connection waits.
const MAX_TASKS: usize = 4;

/// Maximum number of names or statuses in a message.
const MAX_LISTED: usize = 10;

/// Beginnings of the names of containers that AWS adds: GuardDuty and Service Connect.
const OF_AWS: [&str; 2] = ["aws-guardduty-agent", "ecs-service-connect-"];

#[cfg(test)]
mod tests;
