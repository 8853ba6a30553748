//! What IAM checks for the calls that were recorded.

use std::collections::BTreeMap;

use serde_json::Value;
use ssm_proxyd::sim::Snapshot;

use super::matcher::Request;
use crate::support::fake_api::Call;

pub(super) const REGION: &str = "us-east-1";

/// The account of all resources.
pub(super) const ACCOUNT: &str = "111122223333";

/// Tags of nodes.
pub(super) type Tags = BTreeMap<String, BTreeMap<String, String>>;

/// Returns the requests of API calls.
pub(super) fn of_calls(calls: &[Call], tags: &Tags) -> Vec<Request> {
    let requests = calls.iter().flat_map(|call| of_call(call, tags));
    requests.collect()
}

/// Returns the requests of websockets.
pub(super) fn of_websockets(ledger: &Snapshot) -> Vec<Request> {
    let connected = ledger
        .sessions
        .iter()
        .filter(|session| session.upgrades > 0);
    connected
        .map(|session| of_session("ssmmessages:OpenDataChannel", &session.session_id))
        .collect()
}

fn of_call(call: &Call, tags: &Tags) -> Vec<Request> {
    if call.operation == "AssumeRole" {
        let fields = call.body.split('&');
        let mut roles = fields.filter_map(|field| field.strip_prefix("RoleArn="));
        let role = roles
            .next()
            .unwrap()
            .replace("%3A", ":")
            .replace("%2F", "/");
        return vec![request("sts:AssumeRole", role, &[])];
    }
    let body: Value = serde_json::from_str(&call.body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    let action = format!("ssm:{}", call.operation);
    match call.operation.as_str() {
        "StartSession" => {
            let target = text("Target");
            let of_node = tags.get(&target).into_iter().flatten();
            let of_node = of_node.map(|(key, value)| (format!("ssm:resourceTag/{key}"), value));
            // AWS sets it if the caller has named a document.
            let mut context = vec![("ssm:SessionDocumentAccessCheck".to_owned(), "true")];
            context.extend(of_node.map(|(key, value)| (key, value.as_str())));
            vec![
                request(&action, arn_of_node(&target), &context),
                request(&action, arn_of_document(&text("DocumentName")), &context),
            ]
        }
        "DescribeDocument" => vec![request(&action, arn_of_document(&text("Name")), &[])],
        "ResumeSession" | "TerminateSession" => vec![of_session(&action, &text("SessionId"))],
        "DescribeSessions" | "DescribeInstanceInformation" => {
            vec![request(&action, "*".to_owned(), &[])]
        }
        "ListTasks" => {
            let cluster = arn_of_ecs(&format!("cluster/{}", text("cluster")));
            let context = [("ecs:cluster".to_owned(), cluster.as_str())];
            vec![request("ecs:ListTasks", "*".to_owned(), &context)]
        }
        "DescribeTasks" => {
            let tasks = body["tasks"].as_array().unwrap().iter();
            let tasks = tasks.map(|arn| arn.as_str().unwrap().to_owned());
            tasks
                .map(|arn| request("ecs:DescribeTasks", arn, &[]))
                .collect()
        }
        other => panic!("which permission does {other} need?"),
    }
}

/// A request for a session of the caller, whose name is its beginning.
fn of_session(action: &str, id: &str) -> Request {
    let (caller, _) = id.rsplit_once('-').unwrap();
    let arn = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:session/{id}");
    request(action, arn, &[("aws:userid".to_owned(), caller)])
}

fn request(action: &str, resource: String, context: &[(String, &str)]) -> Request {
    Request {
        action: action.to_owned(),
        resource,
        context: context
            .iter()
            .map(|(key, value)| (key.clone(), (*value).to_owned()))
            .collect(),
    }
}

fn arn_of_node(id: &str) -> String {
    match id.split_once(':') {
        Some((_, task)) => {
            let [cluster, task, _] = task.split('_').collect::<Vec<_>>()[..] else {
                panic!("{task}");
            };
            arn_of_ecs(&format!("task/{cluster}/{task}"))
        }
        None if id.starts_with("mi-") => {
            format!("arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/{id}")
        }
        None => format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{id}"),
    }
}

fn arn_of_ecs(resource: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{resource}")
}

fn arn_of_document(name: &str) -> String {
    match name.starts_with("AWS-") {
        true => format!("arn:aws:ssm:{REGION}::document/{name}"),
        false => format!("arn:aws:ssm:{REGION}:{ACCOUNT}:document/{name}"),
    }
}
