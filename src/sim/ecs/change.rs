//! Changes of a service while the simulator runs, from the command line or as JSON.

use serde::Deserialize;

use super::{Ecs, EcsAgent, EcsHealth, EcsService};

/// A change of a service and its running tasks. Absent members change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EcsChange {
    /// `CLUSTER/SERVICE`.
    pub service: String,
    /// Starts new tasks and stops the running ones.
    pub replace: bool,
    /// Number of running tasks; the oldest are stopped.
    pub tasks: Option<usize>,
    /// Whether tasks have ECS Exec.
    pub exec: Option<bool>,
    /// Health of the running tasks.
    pub health: Option<EcsHealth>,
    /// Status of the agents of ECS Exec: `RUNNING`, `PENDING` or `STOPPED`.
    pub agent: Option<String>,
    /// Reason of this status.
    pub reason: Option<String>,
}

impl EcsChange {
    /// Applies the change.
    ///
    /// # Errors
    ///
    /// Fails if the service does not exist, or a value is invalid. Then nothing is changed.
    pub fn apply(&self, ecs: &mut Ecs) -> Result<(), String> {
        let path = self.service.split_once('/');
        let service = path.and_then(|(cluster, name)| ecs.service(cluster, name));
        let service = service.ok_or_else(|| format!("there is no service {:?}", self.service))?;
        self.apply_to(service)
    }

    /// Applies the change to a service, whatever the name in it.
    ///
    /// # Errors
    ///
    /// Fails if a value is invalid. Then nothing is changed.
    pub fn apply_to(&self, service: &mut EcsService) -> Result<(), String> {
        if let Some(count) = self.tasks.filter(|count| *count > MAX_TASKS) {
            return Err(format!("{count} tasks: expected at most {MAX_TASKS}"));
        }
        if let Some(agent) = self.agent.as_deref().filter(|agent| !AGENT.contains(agent)) {
            let expected = AGENT.join(", ");
            return Err(format!("agent {agent:?}: expected one of {expected}"));
        }
        if let Some(exec) = self.exec {
            service.exec = exec;
        }
        if self.replace {
            service.replace_tasks();
        }
        if let Some(count) = self.tasks {
            let running = service.running().count();
            service
                .running()
                .take(running.saturating_sub(count))
                .for_each(|task| {
                    task.stop("Scaling activity initiated by a change of the desired count");
                });
            (running..count).for_each(|_| drop(service.start_task()));
        }
        for task in service.running() {
            task.exec = self.exec.unwrap_or(task.exec);
            task.health = self.health.unwrap_or(task.health);
            if let Some(status) = &self.agent {
                for container in &mut task.containers {
                    container.agent = Some(EcsAgent {
                        last_status: status.clone(),
                        reason: self.reason.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Statuses of an agent.
const AGENT: [&str; 3] = ["RUNNING", "PENDING", "STOPPED"];

/// Maximum number of running tasks.
const MAX_TASKS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(json: &str) -> Result<Ecs, String> {
        let service = EcsService::new("prod", "web", &["app"]).with_tasks(2);
        let mut ecs = Ecs {
            services: vec![service],
        };
        let change: EcsChange = serde_json::from_str(json).map_err(|error| error.to_string())?;
        change.apply(&mut ecs)?;
        Ok(ecs)
    }

    #[test]
    fn tasks_are_replaced_and_changed() {
        let mut ecs = changed(
            r#"{"service": "prod/web", "replace": true, "tasks": 3, "exec": false,
                "health": "UNHEALTHY", "agent": "STOPPED", "reason": "no route"}"#,
        )
        .unwrap();

        let service = ecs.service("prod", "web").unwrap();
        assert_eq!((service.tasks.len(), service.running().count()), (5, 3));
        for task in service.running() {
            assert_eq!((task.exec, task.health), (false, EcsHealth::Unhealthy));
            let agent = task.containers[0].agent.as_ref().unwrap();
            assert_eq!(agent.reason.as_deref(), Some("no route"));
        }
        let mut ecs = changed(r#"{"service": "prod/web", "tasks": 0}"#).unwrap();
        assert_eq!(ecs.service("prod", "web").unwrap().running().count(), 0);
    }

    #[test]
    fn unknown_services_and_values_are_rejected() {
        for bad in [
            r#"{"service": "prod/other"}"#,
            r#"{"service": "prod"}"#,
            r#"{"service": "prod/web", "agent": "running"}"#,
            r#"{"service": "prod/web", "tasks": 1001}"#,
            r#"{"service": "prod/web", "healthy": true}"#,
        ] {
            assert!(changed(bad).is_err(), "{bad}");
        }
    }
}
