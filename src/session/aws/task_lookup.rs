//! Looks up the tasks of an ECS service or family, with ListTasks and DescribeTasks.

use std::future::Future;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    Container as EcsContainer, DesiredStatus, HealthStatus, ManagedAgent, ManagedAgentName,
    Task as EcsTask,
};
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use tracing::debug;

use super::lookup::Found;
use super::paging::{AfterPage, Pages};
use super::{ApiClient, SsmClient, place};
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::session::error::{DESCRIBE_TASKS, Error, ErrorKind, LIST_TASKS};
use crate::session::target::{EcsTarget, EcsTasks};
use crate::session::task_choice::{Agent, Container, Health, NoTask, Task, choose, none_running};

impl SsmClient {
    /// Returns the targets of Session Manager in which a session can be started, in the order in
    /// which they are tried.
    pub(super) async fn find_tasks(&self, target: &EcsTarget) -> Result<Found, Error> {
        let container = target.container.as_deref();
        let mut tasks = self
            .tasks(target, DesiredStatus::Running, MAX_PAGES)
            .await?;
        let refusal = match choose(&tasks, container) {
            Ok(targets) => return Ok(Found::new(targets)),
            Err(refusal) => refusal,
        };
        let NoTask { class, mut why } = refusal;
        if class == ErrorClass::TaskNotRunning {
            // Only for the message; the caller may lack the permission.
            match self.tasks(target, DesiredStatus::Stopped, 1).await {
                Ok(stopped) => {
                    tasks.extend(stopped);
                    why = none_running(&tasks).why;
                }
                Err(error) => {
                    debug!(%error, "cannot list the stopped tasks");
                    why += "; its stopped tasks could not be listed";
                }
            }
        }
        let error = Error::new(
            DESCRIBE_TASKS,
            ErrorKind::TargetNotConnected,
            format!("{target}: {why}"),
        );
        let api_client = self.api_client().await?;
        let place = place::of(&error, &api_client, &self.0.settings, self.region());
        Err(error.with_suffix(place).with_class(class))
    }

    /// Returns the tasks with this desired status, from this number of pages at most.
    async fn tasks(
        &self,
        target: &EcsTarget,
        desired: DesiredStatus,
        pages: usize,
    ) -> Result<Vec<Task>, Error> {
        let mut tasks = Vec::new();
        let mut pages = Pages::new(pages);
        loop {
            let (arns, next) = self.list(target, &desired, pages.token()).await?;
            let has_entries = !arns.is_empty();
            if has_entries {
                let described = self.describe_tasks(target, arns).await?;
                tasks.extend(described.into_iter().filter_map(task));
            }
            match pages.turn(next, has_entries) {
                AfterPage::Next => {}
                AfterPage::End | AfterPage::Cut => return Ok(tasks),
            }
        }
    }

    /// Calls ListTasks. Returns the ARNs of one page, and the token of the next one.
    pub(super) async fn list(
        &self,
        target: &EcsTarget,
        desired: &DesiredStatus,
        token: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let call = |client: Client| {
            let call = client.list_tasks().cluster(&target.cluster);
            let call = match &target.tasks {
                EcsTasks::Service(name) => call.service_name(last_part(name)),
                EcsTasks::Family(name) => call.family(name),
                EcsTasks::All => call,
            };
            let call = call.desired_status(desired.clone()).max_results(PAGE);
            call.set_next_token(token.clone()).send()
        };
        let listed = self.call_ecs(LIST_TASKS, call).await;
        let listed = listed.map_err(|error| looked_for(target, error))?;
        let mut arns = listed.task_arns.unwrap_or_default();
        arns.truncate(MAX_DESCRIBED);
        Ok((arns, listed.next_token))
    }

    /// Calls DescribeTasks. Tasks that no longer exist are left out.
    pub(super) async fn describe_tasks(
        &self,
        target: &EcsTarget,
        arns: Vec<String>,
    ) -> Result<Vec<EcsTask>, Error> {
        let call = |client: Client| {
            let call = client.describe_tasks().cluster(&target.cluster);
            call.set_tasks(Some(arns.clone())).send()
        };
        let described = self.call_ecs(DESCRIBE_TASKS, call).await;
        let described = described.map_err(|error| looked_for(target, error))?;
        for failure in described.failures.unwrap_or_default() {
            let text = |text: Option<String>| Printable::from(text.unwrap_or_default().as_str());
            let (task, reason) = (text(failure.arn), text(failure.reason));
            debug!(%task, %reason, "ECS does not describe a task");
        }
        Ok(described.tasks.unwrap_or_default())
    }

    /// As [`SsmClient::call`], for a call of ECS.
    async fn call_ecs<T, E, F>(
        &self,
        what: &'static str,
        call: impl Fn(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = |api_client: &ApiClient| call(api_client.ecs(&self.0.settings));
        self.call_by(what, call).await
    }
}

/// Adds what was looked for to an error.
fn looked_for(target: &EcsTarget, error: Error) -> Error {
    error.with_suffix(format!("; looked for {target}"))
}

/// Converts a task; `None` if its id or cluster is missing or cannot be part of a target.
pub(super) fn task(task: EcsTask) -> Option<Task> {
    let seconds = |time: Option<aws_sdk_ecs::primitives::DateTime>| time.map_or(0, |t| t.secs());
    let containers = task.containers.unwrap_or_default();
    Some(Task {
        id: word(last_part(&task.task_arn?))?,
        cluster: word(last_part(&task.cluster_arn?))?,
        status: task.last_status.unwrap_or_default(),
        desired_status: task.desired_status.unwrap_or_default(),
        has_exec: task.enable_execute_command,
        health: match task.health_status {
            Some(HealthStatus::Healthy) => Health::Healthy,
            Some(HealthStatus::Unhealthy) => Health::Unhealthy,
            // The enum is non-exhaustive; one of its variants is `UNKNOWN`.
            Some(_) | None => Health::Unknown,
        },
        started_at: seconds(task.started_at),
        stopped_at: seconds(task.stopped_at),
        stopped_reason: task.stopped_reason.filter(|reason| !reason.is_empty()),
        containers: containers.into_iter().filter_map(container).collect(),
    })
}

fn container(container: EcsContainer) -> Option<Container> {
    let agents = container.managed_agents.unwrap_or_default();
    let agent = agents
        .into_iter()
        .find(|agent| agent.name == Some(ManagedAgentName::ExecuteCommandAgent));
    Some(Container {
        name: container.name?,
        runtime_id: container.runtime_id.and_then(|id| word(&id)),
        status: container.last_status.unwrap_or_default(),
        reason: container.reason.filter(|reason| !reason.is_empty()),
        agent: agent.map(
            |ManagedAgent {
                 last_status,
                 reason,
                 ..
             }| Agent {
                status: last_status.unwrap_or_default(),
                reason: reason.filter(|reason| !reason.is_empty()),
            },
        ),
    })
}

/// Returns a part of a target, if it has only characters that ECS uses in names and ids.
fn word(text: &str) -> Option<String> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_word = !text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(is_letter);
    is_word.then(|| text.to_owned())
}

/// Returns the name at the end of an ARN, or of a name that is no ARN.
fn last_part(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, name)| name)
}

/// Tasks per page of ListTasks; the API allows 100.
const PAGE: i32 = 100;

/// Maximum number of tasks per call of DescribeTasks, by the API.
const MAX_DESCRIBED: usize = 100;

/// Maximum number of pages: 1000 tasks. Any of them can be used.
const MAX_PAGES: usize = 10;

/// Maximum length of a part of a target: names of clusters have up to 255 characters.
const MAX_WORD: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_the_last_part_of_an_arn() {
        for (arn, name) in [
            ("arn:aws:ecs:eu-west-1:111122223333:cluster/prod", "prod"),
            ("arn:aws:ecs:eu-west-1:111122223333:service/prod/web", "web"),
            ("arn:aws:ecs:eu-west-1:111122223333:task/prod/0123", "0123"),
            ("web", "web"),
        ] {
            assert_eq!(last_part(arn), name);
        }
    }

    #[test]
    fn a_task_that_cannot_be_a_target_is_left_out() {
        let arn = |id: &str| format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{id}");
        let described = |id: &str| {
            let task = EcsTask::builder().task_arn(arn(id));
            task.cluster_arn("arn:aws:ecs:eu-west-1:111122223333:cluster/prod")
                .build()
        };

        assert_eq!(task(described("0123")).unwrap().id, "0123");
        for bad in ["", "a b", "a\u{1b}[2J", &"a".repeat(MAX_WORD + 1)] {
            assert_eq!(task(described(bad)), None, "{bad:?}");
        }
        assert_eq!(task(EcsTask::builder().build()), None);
    }
}
