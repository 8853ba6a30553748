//! ListTasks and DescribeTasks: requests and responses.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ecs, EcsContainer, EcsService, EcsTask, RUNNING, STOPPED};
use crate::sim::faults::Operation;
use crate::sim::paging::{ListError, Page};

/// Returns the response to a call; `None` if the operation is not one of ECS.
pub(in crate::sim) fn call(
    ecs: &Ecs,
    region: &str,
    operation: Operation,
    body: &[u8],
) -> Option<Result<Value, ListError>> {
    match operation {
        Operation::ListTasks => Some(parse(body).and_then(|request| list(ecs, region, &request))),
        Operation::DescribeTasks => {
            Some(parse(body).and_then(|request| describe(ecs, region, &request)))
        }
        Operation::StartSession
        | Operation::ResumeSession
        | Operation::TerminateSession
        | Operation::DescribeSessions
        | Operation::DescribeInstanceInformation
        | Operation::SendSshPublicKey
        | Operation::DescribeDocument => None,
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ListError> {
    serde_json::from_slice(body).map_err(|error| ("SerializationException", error.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListRequest {
    cluster: Option<String>,
    service_name: Option<String>,
    family: Option<String>,
    desired_status: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Returns one page of ARNs, oldest task first.
fn list(ecs: &Ecs, region: &str, request: &ListRequest) -> Result<Value, ListError> {
    let services = of_cluster(ecs, request.cluster.as_deref())?;
    let services: Vec<_> = match (request.service_name.as_deref(), request.family.as_deref()) {
        (Some(_), Some(_)) => {
            let what = "cannot specify both service and family";
            return Err(("InvalidParameterException", what.to_owned()));
        }
        (Some(name), None) => {
            let named = |service: &&EcsService| service.name == last_part(name);
            let found = services.into_iter().find(named);
            let missing = || ("ServiceNotFoundException", "Service not found.".to_owned());
            vec![found.ok_or_else(missing)?]
        }
        (None, Some(family)) => services.into_iter().filter(|s| s.name == family).collect(),
        (None, None) => services,
    };
    let desired = request.desired_status.as_deref().unwrap_or(RUNNING);
    let tasks = services.into_iter().flat_map(|service| {
        let tasks = service
            .tasks
            .iter()
            .filter(|task| task.desired_status == desired);
        tasks.map(|task| task_arn(region, service, task))
    });
    let all: Vec<_> = tasks.collect();
    let page = Page::new(
        request.max_results,
        request.next_token.as_deref(),
        1..=MAX_PAGE,
    );
    let page = page.map_err(|(_, what)| ("InvalidParameterException", what))?;
    let mut answer = json!({ "taskArns": page.of(all.iter()).collect::<Vec<_>>() });
    if let Some(token) = page.next_token(all.len()) {
        answer["nextToken"] = json!(token);
    }
    Ok(answer)
}

#[derive(Debug, Deserialize)]
struct DescribeRequest {
    cluster: Option<String>,
    #[serde(default)]
    tasks: Vec<String>,
}

fn describe(ecs: &Ecs, region: &str, request: &DescribeRequest) -> Result<Value, ListError> {
    let services = of_cluster(ecs, request.cluster.as_deref())?;
    if !(1..=MAX_PAGE).contains(&request.tasks.len()) {
        let what = format!("tasks must have 1 to {MAX_PAGE} entries");
        return Err(("InvalidParameterException", what));
    }
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for arn in &request.tasks {
        let found = services.iter().find_map(|service| {
            let task = service
                .tasks
                .iter()
                .find(|task| task.id == last_part(arn))?;
            Some(task_json(region, service, task))
        });
        match found {
            Some(task) => tasks.push(task),
            None => failures.push(json!({ "arn": arn, "reason": "MISSING" })),
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

/// Returns the services of a cluster, which is given by its name or ARN.
fn of_cluster<'a>(ecs: &'a Ecs, cluster: Option<&str>) -> Result<Vec<&'a EcsService>, ListError> {
    let name = last_part(cluster.unwrap_or("default"));
    let services: Vec<_> = ecs.services.iter().filter(|s| s.cluster == name).collect();
    match services.is_empty() {
        true => Err(("ClusterNotFoundException", "Cluster not found.".to_owned())),
        false => Ok(services),
    }
}

fn task_json(region: &str, service: &EcsService, task: &EcsTask) -> Value {
    let EcsService { cluster, name, .. } = service;
    let arn = task_arn(region, service, task);
    let containers = task.containers.iter();
    let containers: Vec<_> = containers.map(|c| container_json(&arn, task, c)).collect();
    let mut json = json!({
        "taskArn": arn,
        "clusterArn": format!("{}:cluster/{cluster}", arn_begin(region)),
        "taskDefinitionArn": format!("{}:task-definition/{name}:1", arn_begin(region)),
        "group": format!("service:{name}"),
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "enableExecuteCommand": task.exec,
        "healthStatus": task.health,
        "containers": containers,
    });
    if task.last_status == RUNNING || task.last_status == STOPPED {
        json["startedAt"] = json!(task.started_at);
    }
    if let Some(reason) = &task.stopped_reason {
        json["stoppedAt"] = json!(task.started_at + 30);
        json["stoppedReason"] = json!(reason);
    }
    json
}

fn container_json(task_arn: &str, task: &EcsTask, container: &EcsContainer) -> Value {
    let mut json = json!({
        "name": container.name,
        "taskArn": task_arn,
        "lastStatus": container.last_status,
        "healthStatus": task.health,
    });
    if let Some(id) = &container.runtime_id {
        json["runtimeId"] = json!(id);
    }
    if let Some(agent) = container.agent.as_ref().filter(|_| task.exec) {
        let mut agent_json = json!({
            "name": "ExecuteCommandAgent",
            "lastStatus": agent.last_status,
        });
        if let Some(reason) = &agent.reason {
            agent_json["reason"] = json!(reason);
        }
        json["managedAgents"] = json!([agent_json]);
    }
    json
}

fn task_arn(region: &str, service: &EcsService, task: &EcsTask) -> String {
    format!("{}:task/{}/{}", arn_begin(region), service.cluster, task.id)
}

fn arn_begin(region: &str) -> String {
    format!("arn:aws:ecs:{region}:{ACCOUNT}")
}

fn last_part(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, name)| name)
}

/// The account of the simulator; AWS uses the number in its documentation.
const ACCOUNT: &str = "111122223333";

/// Maximum number of tasks per call.
const MAX_PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn ecs() -> Ecs {
        let mut web = EcsService::new("prod", "web", &["app"]).with_tasks(3);
        web.replace_tasks();
        let services = vec![web, EcsService::new("prod", "job", &["run"])];
        Ecs { services }
    }

    fn ask(operation: Operation, request: &Value) -> Result<Value, ListError> {
        call(
            &ecs(),
            "us-east-1",
            operation,
            request.to_string().as_bytes(),
        )
        .unwrap()
    }

    fn listed(request: &Value) -> Vec<Value> {
        let answer = ask(Operation::ListTasks, request).unwrap();
        answer["taskArns"].as_array().unwrap().clone()
    }

    #[test]
    fn tasks_are_listed_by_service_or_family_and_status() {
        let cluster = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
        let stopped = json!({ "cluster": cluster, "family": "web", "desiredStatus": "STOPPED" });

        assert_eq!(
            listed(&json!({ "cluster": "prod", "serviceName": "web" })).len(),
            3
        );
        assert_eq!(listed(&stopped).len(), 3);
        assert_eq!(
            listed(&json!({ "cluster": "prod", "family": "none" })),
            [""; 0]
        );
        for (request, code) in [
            (json!({}), "ClusterNotFoundException"),
            (
                json!({ "cluster": "prod", "serviceName": "x" }),
                "ServiceNotFoundException",
            ),
            (
                json!({ "cluster": "prod", "maxResults": 101 }),
                "InvalidParameterException",
            ),
            (json!({ "cluster": 1 }), "SerializationException"),
        ] {
            assert_eq!(ask(Operation::ListTasks, &request).unwrap_err().0, code);
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let request = json!({ "cluster": "prod", "serviceName": "web", "maxResults": 2 });
        let first = ask(Operation::ListTasks, &request).unwrap();
        let mut request = request;
        request["nextToken"] = first["nextToken"].clone();

        let second = ask(Operation::ListTasks, &request).unwrap();

        assert_eq!(first["taskArns"].as_array().unwrap().len(), 2);
        assert_eq!(second["taskArns"].as_array().unwrap().len(), 1);
        assert!(second["nextToken"].is_null());
    }

    #[test]
    fn tasks_are_described_and_missing_ones_are_failures() {
        let mut arns = listed(&json!({ "cluster": "prod" }));
        arns.push(json!("arn:aws:ecs:us-east-1:111122223333:task/prod/gone"));

        let answer = ask(
            Operation::DescribeTasks,
            &json!({ "cluster": "prod", "tasks": arns }),
        );

        let answer = answer.unwrap();
        assert_eq!(answer["tasks"].as_array().unwrap().len(), 3);
        let agent = &answer["tasks"][0]["containers"][0]["managedAgents"][0];
        assert_eq!(agent["lastStatus"], "RUNNING");
        assert_eq!(answer["failures"][0]["reason"], "MISSING");
    }
}
