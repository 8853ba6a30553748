//! `targets`: lists managed nodes and the containers of ECS tasks.

mod pattern;
mod table;

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::pattern::Pattern;
pub(super) use self::table::format as table;
use super::ad_hoc::{AdHocConfig, blocking, load_ad_hoc};
use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::{run, startup, stdout, terminal};
use crate::config::{self, Forward};
use crate::daemon::{ListedTarget, TargetList, TargetListError, TargetQuery, list_targets};
use crate::session::{ErrorKind, allow_prompts};
use crate::telemetry::{self, Log, Verbosity};

#[derive(Args, Debug)]
pub(super) struct TargetsArgs {
    /// Only targets whose id or name contains this text; `*` and `?` stand for other characters
    #[arg(value_name = "PATTERN")]
    pattern: Option<Pattern>,
    /// Only targets on which a session can be started now
    #[arg(long)]
    online: bool,
    /// Only targets whose platform contains this text, such as "ubuntu"
    #[arg(long, value_name = "TEXT")]
    platform: Option<Pattern>,
    /// Only managed nodes with this tag; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::tag, conflicts_with = "ecs")]
    tag: Vec<(String, String)>,
    /// The containers of the tasks of this ECS cluster, instead of managed nodes
    #[arg(long, value_name = "CLUSTER", value_parser = config::cluster)]
    ecs: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The configuration file [default: as for `run`, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    aws: AwsOptions,
}

/// Lists the targets that match.
pub(super) async fn targets(args: TargetsArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Warn) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    allow_prompts(telemetry::flush_log);
    let is_json = args.json;
    let listed = tokio::select! {
        listed = list(args) => listed,
        // Nothing has been started that must be ended.
        number = signals.next_stop_number() => return Exit::Signal(number),
    };
    let list = match listed {
        Ok(list) => list,
        Err(exit) => return exit,
    };
    let printed = match (is_json, list.targets.is_empty()) {
        (true, _) => stdout::print_json(json(&list)),
        (false, true) => Ok(()),
        (false, false) => {
            let width = terminal::width(io::stdout());
            stdout::print_text(&table(&list.targets, width))
        }
    };
    match printed {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

/// Lists the targets that match; reports if there are none, or more.
async fn list(args: TargetsArgs) -> Result<TargetList, Exit> {
    let TargetsArgs {
        pattern,
        online,
        platform,
        tag,
        ecs,
        json: _,
        config,
        aws: options,
    } = args;
    let basis = blocking(move || load_ad_hoc(config.as_deref(), "")).await?;
    let query = match ecs {
        Some(cluster) => TargetQuery::Cluster(cluster),
        None => TargetQuery::Nodes(tag),
    };
    let mut list = list_all(basis, options, &query).await?;
    let count = list.targets.len();
    list.targets.retain(|target| {
        let is_named =
            |pattern: &Pattern| pattern.matches(&target.id) || pattern.matches(&target.name);
        let is_of = |platform: &Pattern| platform.matches(&target.platform);
        (target.is_online || !online)
            && pattern.as_ref().is_none_or(is_named)
            && platform.as_ref().is_none_or(is_of)
    });
    if list.is_cut {
        terminal::send(&there_are_more(&query, count));
    }
    if list.targets.is_empty() {
        let (what, hint) = nothing_matches(&query, &list.region, count, pattern.is_some());
        terminal::send(&what);
        if !hint.is_empty() {
            terminal::send(&format!(" hint: {hint}"));
        }
    }
    Ok(list)
}

fn there_are_more(query: &TargetQuery, count: usize) -> String {
    match query {
        TargetQuery::Nodes(_) => {
            format!("only the first {count} managed nodes were read; `--tag` selects among all")
        }
        TargetQuery::Cluster(_) => format!("only the first {count} containers were read"),
    }
}

/// Returns what was not found, and a hint.
fn nothing_matches(
    query: &TargetQuery,
    region: &str,
    count: usize,
    has_pattern: bool,
) -> (String, &'static str) {
    match (query, count) {
        (TargetQuery::Nodes(tags), 0) if tags.is_empty() => {
            (format!("there is no managed node in {region}"), NO_NODE)
        }
        (TargetQuery::Nodes(_), 0) => (
            format!("no managed node in {region} has these tags"),
            NO_TAG,
        ),
        (TargetQuery::Nodes(_), count) => {
            let hint = if has_pattern { NO_NAME } else { "" };
            (
                format!("none of {count} managed nodes in {region} matches"),
                hint,
            )
        }
        (TargetQuery::Cluster(cluster), 0) => (
            format!("no task runs in the ECS cluster {cluster} in {region}"),
            "",
        ),
        (TargetQuery::Cluster(cluster), count) => {
            let what = format!("none of {count} containers in the ECS cluster {cluster} matches");
            (what, "")
        }
    }
}

/// Lists the targets of an account; reports an error.
pub(super) async fn list_all(
    basis: AdHocConfig,
    options: AwsOptions,
    query: &TargetQuery,
) -> Result<TargetList, Exit> {
    let forward = Forward {
        enabled: true,
        account: options.account(),
        ..basis.forward
    };
    list_targets(basis.config.aws, &forward, query)
        .await
        .map_err(|error| match error {
            TargetListError::Settings(error) => {
                terminal::fail_with_class(error.class(), &error, &run::hint(&error))
            }
            TargetListError::Call(error) => {
                let hint = match (error.kind(), query) {
                    (ErrorKind::Denied, TargetQuery::Nodes(_)) => DENIED,
                    (ErrorKind::Denied, TargetQuery::Cluster(_)) => DENIED_ECS,
                    (ErrorKind::Throttled, _) => THROTTLED,
                    _ => error.hint(),
                };
                terminal::fail_with_class(error.class(), &error, hint)
            }
        })
}

fn json(list: &TargetList) -> Value {
    let targets = list.targets.iter().map(|target| {
        let ListedTarget {
            id,
            name,
            platform,
            agent_version,
            status,
            is_online,
            last_ping,
        } = target;
        json!({
            "id": id,
            "name": name,
            "platform": platform,
            "agent_version": agent_version,
            "status": status,
            "online": is_online,
            "last_ping": last_ping,
        })
    });
    json!({
        "region": list.region,
        "targets": targets.collect::<Value>(),
        "complete": !list.is_cut,
    })
}

const NO_NODE: &str = "choose another `--region` or `--profile`; an instance is listed once its SSM agent runs with an instance profile that allows it (AmazonSSMManagedInstanceCore)";
const NO_TAG: &str =
    "a tag is compared as a whole, with upper and lower case; check `--region` and `--profile`";
const NO_NAME: &str =
    "a pattern is compared with ids and host names; `--tag Name=…` selects by the tag `Name`";
const THROTTLED: &str =
    "AWS limits the rate of this call for the whole account; try again in a moment";
const DENIED: &str = "the caller needs ssm:DescribeInstanceInformation, on \"*\"";
const DENIED_ECS: &str =
    "the caller needs ecs:ListTasks on \"*\" and ecs:DescribeTasks on the tasks of the cluster";
