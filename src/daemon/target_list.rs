//! Lists what can be a target: managed nodes, and containers of ECS tasks.

use std::time::Duration;

use tokio::time::sleep;

use super::StartError;
use super::aws_clients::AwsClients;
use crate::config;
use crate::printable::Printable;
use crate::session::{Error, ErrorKind, Identity, NodeFilter};

/// What to list.
#[derive(Clone, Debug)]
pub enum TargetQuery {
    /// The managed nodes that have all of these tags.
    Nodes(Vec<(String, String)>),
    /// The tasks of the ECS cluster with this name or ARN.
    Cluster(String),
}

/// A possible target.
#[derive(Clone, Debug)]
pub struct ListedTarget {
    /// The id, as it is written as a target; may be empty.
    pub id: Printable,
    /// The name of the node, or service and container; may be empty.
    pub name: Printable,
    /// The operating system; may be empty.
    pub platform: Printable,
    /// The version of the agent; empty if unknown.
    pub agent_version: Printable,
    /// The ping status, or the status of the agent of ECS Exec.
    pub status: Printable,
    /// Whether a session can be started.
    pub is_online: bool,
    /// When the agent last reported, in seconds since the Unix epoch.
    pub last_ping: Option<i64>,
}

/// A list of targets.
#[derive(Clone, Debug)]
pub struct TargetList {
    /// The region in which they are.
    pub region: Printable,
    /// The targets, in the order of AWS.
    pub targets: Vec<ListedTarget>,
    /// There are more than were listed.
    pub is_cut: bool,
}

/// Why targets cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum TargetListError {
    /// The AWS settings are insufficient.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// The error of a call.
    #[error(transparent)]
    Call(#[from] Error),
}

/// Lists the targets of an account. Only the account of `forward` is used. Throttled calls are made
/// again a few times.
///
/// # Errors
///
/// Fails if the AWS settings are insufficient, or with the error of the first call that fails.
pub async fn list_targets(
    aws: config::Aws,
    forward: &config::Forward,
    query: &TargetQuery,
) -> Result<TargetList, TargetListError> {
    let clients = AwsClients::new(aws, Identity::Chain, std::slice::from_ref(forward)).await?;
    let account = clients.get(&forward.account);
    let ssm = &account.map_err(Clone::clone)?.ssm;
    let (targets, is_cut) = match query {
        TargetQuery::Nodes(tags) => {
            let filter = |(key, value): &(String, String)| -> NodeFilter {
                (format!("tag:{key}"), vec![value.clone()])
            };
            let filters: Vec<_> = tags.iter().map(filter).collect();
            let found = unthrottled(async || ssm.managed_nodes(&filters, MAX_PAGES).await).await?;
            let nodes = found.nodes.into_iter().map(|node| ListedTarget {
                is_online: node.is_online(),
                id: node.id,
                name: node.name,
                platform: node.platform,
                agent_version: node.agent_version,
                status: node.ping_status,
                last_ping: Some(node.last_ping).filter(|time| *time > 0),
            });
            (nodes.collect(), found.is_cut)
        }
        TargetQuery::Cluster(cluster) => {
            let tasks = unthrottled(async || ssm.cluster_tasks(cluster, MAX_PAGES).await).await?;
            let (tasks, is_cut) = tasks;
            let tasks = tasks.into_iter().map(|task| ListedTarget {
                is_online: task.is_online(),
                id: task.target,
                name: task.name,
                platform: task.platform,
                agent_version: Printable::default(),
                status: task.agent_status,
                last_ping: None,
            });
            (tasks.collect(), is_cut)
        }
    };
    Ok(TargetList {
        region: ssm.region().into(),
        targets,
        is_cut,
    })
}

/// Lists again, with increasing pauses, while AWS throttles the calls.
async fn unthrottled<T>(list: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    for pause in PAUSES {
        match list().await {
            Err(error) if error.kind() == ErrorKind::Throttled => {
                sleep(Duration::from_secs(pause)).await;
            }
            listed => return listed,
        }
    }
    list().await
}

/// Pauses after throttled calls, in seconds.
const PAUSES: [u64; 3] = [1, 2, 4];

/// Maximum number of pages: 1000 nodes, or 2000 tasks.
const MAX_PAGES: usize = 20;
