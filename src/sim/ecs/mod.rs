//! ECS: services and their tasks, for clients that look up a task to start a session in it.
//!
//! Tests and users change the services while the simulator runs. In a cluster that has services,
//! sessions can be started only in containers whose task and agent of ECS Exec are running;
//! containers of all other clusters count as connected.

mod api;
mod change;

use serde::{Deserialize, Serialize};

pub(super) use api::call;
pub use change::EcsChange;

/// The services of all clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ecs {
    /// In the order in which they were added.
    pub services: Vec<EcsService>,
}

impl Ecs {
    /// Returns a service.
    pub fn service(&mut self, cluster: &str, name: &str) -> Option<&mut EcsService> {
        let mut services = self.services.iter_mut();
        services.find(|service| service.cluster == cluster && service.name == name)
    }

    /// Returns whether sessions can be started on a target; `None` if it is not in a cluster that
    /// has services.
    pub(super) fn is_connected(&self, target: &str) -> Option<bool> {
        let is_in = |service: &EcsService| target.starts_with(&format!("ecs:{}_", service.cluster));
        let services: Vec<_> = self.services.iter().filter(|s| is_in(s)).collect();
        let connected = |service: &&EcsService| service.targets().any(|known| known == target);
        (!services.is_empty()).then(|| services.iter().any(connected))
    }
}

/// A service, or the tasks of a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EcsService {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the service, and of the family of its task definition.
    pub name: String,
    /// Names of the containers of new tasks.
    pub containers: Vec<String>,
    /// Whether new tasks have ECS Exec.
    pub exec: bool,
    /// Running and stopped tasks, oldest first.
    pub tasks: Vec<EcsTask>,
    /// Number of tasks that were started.
    started: u32,
}

impl EcsService {
    /// Creates a service with ECS Exec and without tasks.
    pub fn new(cluster: &str, name: &str, containers: &[&str]) -> Self {
        Self {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            containers: containers.iter().map(|name| (*name).to_owned()).collect(),
            exec: true,
            tasks: Vec::new(),
            started: 0,
        }
    }

    /// Returns the service with this number of running tasks.
    pub fn with_tasks(mut self, count: usize) -> Self {
        (0..count).for_each(|_| drop(self.start_task()));
        self
    }

    /// Starts a task: running, healthy, with running agents. It is newer than all others. Returns
    /// its id.
    pub fn start_task(&mut self) -> String {
        self.started += 1;
        let id = self.task_id();
        let containers = self.containers.iter().zip(1..);
        let containers = containers.map(|(name, number)| EcsContainer {
            name: name.clone(),
            runtime_id: Some(format!("{id}-{number:010}")),
            last_status: RUNNING.to_owned(),
            agent: Some(EcsAgent {
                last_status: RUNNING.to_owned(),
                reason: None,
            }),
        });
        self.tasks.push(EcsTask {
            id: id.clone(),
            last_status: RUNNING.to_owned(),
            desired_status: RUNNING.to_owned(),
            exec: self.exec,
            health: EcsHealth::Healthy,
            started_at: FIRST_START + u64::from(self.started) * 60,
            stopped_reason: None,
            containers: containers.collect(),
        });
        if self.tasks.len() > MAX_TASKS {
            self.tasks.remove(0);
        }
        id
    }

    /// Stops all running tasks.
    pub fn stop_tasks(&mut self, reason: &str) {
        self.running().for_each(|task| task.stop(reason));
    }

    /// Starts a new task for each running one, and stops those, as a deployment does.
    pub fn replace_tasks(&mut self) {
        let count = self.running().count();
        self.stop_tasks("Scaling activity initiated by a deployment");
        (0..count).for_each(|_| drop(self.start_task()));
    }

    /// Returns the running tasks, oldest first.
    pub fn running(&mut self) -> impl Iterator<Item = &mut EcsTask> {
        self.tasks
            .iter_mut()
            .filter(|task| task.last_status == RUNNING)
    }

    /// Returns the targets on which sessions can be started, the oldest task first.
    pub fn targets(&self) -> impl Iterator<Item = String> {
        let running = self.tasks.iter().filter(|task| task.last_status == RUNNING);
        let containers = running.flat_map(|task| task.containers.iter().map(move |c| (task, c)));
        containers.filter_map(|(task, container)| {
            let is_running = |agent: &EcsAgent| agent.last_status == RUNNING;
            let runtime_id = container.runtime_id.as_ref()?;
            let target = format!("ecs:{}_{}_{runtime_id}", self.cluster, task.id);
            container
                .agent
                .as_ref()
                .is_some_and(is_running)
                .then_some(target)
        })
    }

    /// Returns 32 hexadecimal digits, as AWS does: a hash of the service, and the number of the
    /// task.
    fn task_id(&self) -> String {
        let path = format!("{}/{}", self.cluster, self.name);
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        format!("{hash:016x}{:016x}", self.started)
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EcsTask {
    /// The last part of its ARN.
    pub id: String,
    /// `PENDING`, `RUNNING`, `STOPPED`, …
    pub last_status: String,
    /// `RUNNING` or `STOPPED`.
    pub desired_status: String,
    /// Whether it was started with ECS Exec.
    pub exec: bool,
    /// Health of its containers.
    pub health: EcsHealth,
    /// When it started, in seconds since the Unix epoch.
    pub started_at: u64,
    /// Why it stopped.
    pub stopped_reason: Option<String>,
    /// Its containers.
    pub containers: Vec<EcsContainer>,
}

impl EcsTask {
    /// Stops it.
    pub fn stop(&mut self, reason: &str) {
        self.last_status = STOPPED.to_owned();
        self.desired_status = STOPPED.to_owned();
        self.stopped_reason = Some(reason.to_owned());
        for container in &mut self.containers {
            container.last_status = STOPPED.to_owned();
            container.agent = None;
        }
    }
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EcsContainer {
    /// Name in the task definition.
    pub name: String,
    /// Id in the container runtime; `None` until it is created.
    pub runtime_id: Option<String>,
    /// `PENDING`, `RUNNING` or `STOPPED`.
    pub last_status: String,
    /// The agent of ECS Exec, if there is one.
    pub agent: Option<EcsAgent>,
}

/// The agent of ECS Exec in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EcsAgent {
    /// `PENDING`, `RUNNING` or `STOPPED`.
    pub last_status: String,
    /// Why it does not run.
    pub reason: Option<String>,
}

/// Health of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EcsHealth {
    /// Its health checks succeed.
    Healthy,
    /// Its health checks fail.
    Unhealthy,
    /// It has no health check, or no result yet.
    Unknown,
}

/// Status of tasks, containers and agents.
const RUNNING: &str = "RUNNING";
const STOPPED: &str = "STOPPED";

/// When the first task started, but for a minute. The times are the same in every run.
const FIRST_START: u64 = 1_700_000_000;

/// Maximum number of tasks of a service; the oldest is dropped.
const MAX_TASKS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_can_be_started_in_running_containers_only() {
        let service = EcsService::new("prod", "web", &["app", "log"]).with_tasks(2);
        let mut ecs = Ecs {
            services: vec![service],
        };
        let targets: Vec<_> = ecs.services[0].targets().collect();
        assert_eq!(targets.len(), 4);
        assert!(
            targets
                .iter()
                .all(|target| ecs.is_connected(target) == Some(true))
        );

        let service = ecs.service("prod", "web").unwrap();
        service.tasks[0].containers[0].agent = None;
        service.replace_tasks();

        assert!(
            targets
                .iter()
                .all(|target| ecs.is_connected(target) == Some(false))
        );
        assert_eq!(ecs.services[0].targets().count(), 4);
        assert_eq!(ecs.is_connected("ecs:other_0_0"), None);
        assert_eq!(ecs.is_connected("i-01234567"), None);
    }

    #[test]
    fn the_number_of_tasks_is_limited() {
        let service = EcsService::new("prod", "web", &["app"]).with_tasks(MAX_TASKS + 9);

        assert_eq!(service.tasks.len(), MAX_TASKS);
    }
}
