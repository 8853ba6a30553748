//! Checks the target and the document of a forward. Both use calls that a connection does not need:
//! without the permission for them there is no result.

use super::finding::{CheckOutcome, Failure};
use crate::config;
use crate::error_class::ErrorClass;
use crate::forward::SessionPlan;
use crate::printable::{Printable, shell_word};
use crate::session::{DocumentInfo, Error, ErrorKind, ManagedNode, RegionalTarget, Target};

/// Looks for a node of the target that is online, and checks the version of its agent.
pub(super) async fn target(forward: &config::Forward, plan: &SessionPlan) -> CheckOutcome<()> {
    let mut offline = Vec::new();
    for RegionalTarget { target, ssm } in &plan.targets {
        let filter = match target {
            Target::Node(id) if id.starts_with("ecs:") => {
                let text = format!("{id} is a task of ECS, of which AWS keeps no status here");
                return CheckOutcome::Skip(text.into());
            }
            Target::Ecs(_) => match ssm.nodes_of(target).await {
                Ok(nodes) => {
                    let text = format!("{} runs with an agent", nodes.join(", "));
                    return CheckOutcome::Pass((), text.into());
                }
                Err(error) if plan.targets.len() == 1 => {
                    return Failure::of_aws(&error).into();
                }
                Err(error) => {
                    offline.push(Unusable::Unknown(Printable::of(error)));
                    continue;
                }
            },
            Target::Node(id) => vec![("InstanceIds".to_owned(), vec![id.clone()])],
            Target::Tags(tags) => {
                let tags = tags.iter();
                let filters = tags.map(|(key, value)| (format!("tag:{key}"), vec![value.clone()]));
                filters.collect()
            }
        };
        let found = match ssm.nodes_of_target(&filter).await {
            Ok(found) => found,
            Err(error) => return unknown(&error, matches!(target, Target::Tags(_))),
        };
        if let Some(online) = found.nodes.iter().find(|node| node.is_online()) {
            return judge(online, forward, plan);
        }
        offline.push(match found.nodes.first() {
            Some(node) => Unusable::Offline(node.clone()),
            None => {
                let region = ssm.region();
                let text = format!("{target} is not a managed node in {region}");
                Unusable::Unknown(text.into())
            }
        });
    }
    not_connected(&offline, forward, plan).into()
}

/// Why a target cannot be used.
enum Unusable {
    /// No node of that name; where it was looked up.
    Unknown(Printable),
    /// None of its nodes is online; one of them.
    Offline(ManagedNode),
}

fn not_connected(targets: &[Unusable], forward: &config::Forward, plan: &SessionPlan) -> Failure {
    let texts = targets.iter().map(|target| match target {
        Unusable::Unknown(text) => text.to_string(),
        Unusable::Offline(ManagedNode {
            id, ping_status, ..
        }) => {
            format!("{id} is not online: its ping status is {ping_status}")
        }
    });
    let texts: Vec<_> = texts.collect();
    let is_known = |target: &Unusable| matches!(target, Unusable::Offline(_));
    let (class, remedy) = match targets.iter().any(is_known) {
        true => (ErrorClass::TargetNotConnected, OFFLINE.to_owned()),
        false => (ErrorClass::TargetNotFound, unknown_remedy(forward, plan)),
    };
    Failure::new(class, texts.join("; "), remedy)
}

/// Returns the remedy for an unknown target, with the command that lists the targets of its account.
fn unknown_remedy(forward: &config::Forward, plan: &SessionPlan) -> String {
    let region = plan.targets.first().map(|target| target.ssm.region());
    let options = [
        ("region", region),
        ("profile", forward.account.profile.as_deref()),
        ("role-arn", forward.account.role_arn.as_deref()),
    ];
    let options = options.into_iter().filter_map(|(name, value)| {
        let value = shell_word(value?);
        Some(format!(" --{name} {value}"))
    });
    let options: String = options.collect();
    format!(
        "check the id or the tags, the region and the account; `ssm-proxyd targets{options}` (and the \
         same `--config`, if any) lists the managed nodes; {LISTED}"
    )
}

/// Checks the version of the agent.
fn judge(node: &ManagedNode, forward: &config::Forward, plan: &SessionPlan) -> CheckOutcome<()> {
    let ManagedNode {
        id,
        platform,
        agent_version,
        ..
    } = node;
    let too_old = |what: &str, least: &str| {
        let text = format!("{id} has agent {agent_version}, and {what} needs {least} or later");
        Failure::new(ErrorClass::AgentTooOld, text, UPDATE).into()
    };
    let is_shared = matches!(forward.sessions, config::SessionMode::Shared { .. });
    if plan.request.parameters.contains_key("host") && is_older(agent_version, REMOTE_HOST) {
        return too_old("a remote host", REMOTE_HOST);
    }
    if is_shared && is_older(agent_version, MUX) {
        return too_old("`sessions = \"shared\"`", MUX);
    }
    let note = match is_older(agent_version, RESUMABLE) {
        true => format!("; before {RESUMABLE} a session may be lost when its websocket breaks"),
        false => String::new(),
    };
    let platform = match platform.is_empty() {
        true => String::new(),
        false => format!(", {platform}"),
    };
    let text = format!("{id} is online{platform}, agent {agent_version}{note}");
    CheckOutcome::Pass((), text.into())
}

/// Compares two versions, number by number. An unknown version is not older.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split('.').map_while(|part| part.parse().ok());
        parts.collect()
    };
    let version = numbers(version);
    !version.is_empty() && version < numbers(than)
}

/// Checks that the document exists and takes the parameters.
pub(super) async fn document(plan: &SessionPlan) -> CheckOutcome<()> {
    let name = Printable::new(&plan.request.document);
    let Some(RegionalTarget { ssm, .. }) = plan.targets.first() else {
        return CheckOutcome::Skip("there is no target".into());
    };
    let DocumentInfo {
        kind,
        is_for_sessions,
        parameters,
    } = match ssm.document(&name).await {
        Ok(document) => document,
        Err(error) => return unknown(&error, false),
    };
    if !is_for_sessions {
        let text = format!("{name} has the type {kind}, and a session needs the type Session");
        return Failure::new(ErrorClass::DocumentNotFound, text, "").into();
    }
    let taken: Vec<_> = parameters.iter().map(|one| one.name.as_str()).collect();
    let given = &plan.request.parameters;
    let unknown = given.keys().find(|given| !taken.contains(&given.as_str()));
    if let Some(unknown) = unknown {
        let taken = match taken.is_empty() {
            true => "none".to_owned(),
            false => taken.join(", "),
        };
        let text = format!("{name} takes no parameter {unknown}; it takes {taken}");
        return Failure::new(ErrorClass::DocumentParameters, text, "").into();
    }
    let is_missing = |name: &Printable| !given.contains_key(name.as_str());
    let mut required = parameters.iter().filter(|parameter| parameter.is_required);
    if let Some(missing) = required.find(|parameter| is_missing(&parameter.name)) {
        let text = format!(
            "{name} needs the parameter {}, which is not given",
            missing.name
        );
        return Failure::new(ErrorClass::DocumentParameters, text, "").into();
    }
    let given: Vec<_> = given.keys().map(String::as_str).collect();
    let text = match given.is_empty() {
        true => format!("{name} needs no parameters"),
        false => format!("{name} takes {}", given.join(" and ")),
    };
    CheckOutcome::Pass((), text.into())
}

/// Returns the result of a failed call. A connection needs no permission for the call unless
/// `is_needed`; other errors concern its own calls too.
fn unknown(error: &Error, is_needed: bool) -> CheckOutcome<()> {
    let is_own = matches!(
        error.kind(),
        ErrorKind::Denied | ErrorKind::Throttled | ErrorKind::ServiceFault
    );
    if is_needed || !is_own {
        return Failure::of_aws(error).into();
    }
    CheckOutcome::Skip(Printable::of(format_args!(
        "unknown, which is not needed: {error}"
    )))
}

const OFFLINE: &str = "start the node; check that its SSM agent runs and reaches the endpoints ssm, ssmmessages and ec2messages, and that its instance profile allows it (AmazonSSMManagedInstanceCore)";
const LISTED: &str = "an instance is listed once its SSM agent runs with an instance profile that allows it (AmazonSSMManagedInstanceCore)";
const UPDATE: &str = "update the SSM agent on the target (the document AWS-UpdateSSMAgent does it)";

/// The oldest agents with certain abilities (docs/protocol.md, sections 1.3, 5.5 and 6.4).
const REMOTE_HOST: &str = "3.1.1188.0";
const MUX: &str = "3.0.222.0";
const RESUMABLE: &str = "3.2.1041.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_older("3.1.1187.9", "3.1.1188.0"));
        assert!(is_older("2.3.722.0", "3.0.222.0"));
        assert!(!is_older("3.1.1188.0", "3.1.1188.0"));
        assert!(!is_older("3.10.0.0", "3.2.1041.0"));
        assert!(!is_older("", "3.2.1041.0"));
        assert!(!is_older("unknown", "3.2.1041.0"));
    }
}
