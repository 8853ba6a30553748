//! Parameters of StartSession and of tunnels, derived from the settings of a forward.

use std::sync::Arc;

use super::Context;
use crate::config::{self, Remote};
use crate::proto;
use crate::session::{EcsTarget, EcsTasks, RegionalTarget, StartRequest, Target};
use crate::telemetry::ForwardMetrics;
use crate::tunnel::TunnelOptions;

/// What the sessions of a forward are started with.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// The targets, in the order in which they are tried.
    pub targets: Vec<RegionalTarget>,
    /// The request without its target.
    pub request: StartRequest,
    /// The parameters of the tunnels.
    pub tunnel_options: TunnelOptions,
}

impl SessionPlan {
    /// Returns the plan of a forward.
    pub fn new(settings: &config::Forward, context: &Context) -> Self {
        let striped = settings.of_stripes();
        let settings = striped.as_ref().unwrap_or(settings);
        Self {
            targets: targets(settings, context),
            request: request(settings, &example(settings), &context.origin),
            tunnel_options: tunnel_options(settings, context, &ForwardMetrics::default()),
        }
    }
}

/// Returns a destination of the forward. That of a proxy is an address which is reserved for
/// documentation: a session can be started, but no connection made.
fn example(settings: &config::Forward) -> Remote {
    match &settings.remote {
        Remote::Requested(allow) if allow.permits_other_hosts() => Remote::Host {
            host: "192.0.2.1".to_owned(),
            port: 443,
        },
        Remote::Requested(_) => Remote::Port(443),
        remote @ (Remote::Port(_) | Remote::Host { .. } | Remote::Document { .. }) => {
            remote.clone()
        }
    }
}

/// Returns the request without its target. `origin` identifies this program in the list of
/// sessions.
pub(super) fn request(settings: &config::Forward, remote: &Remote, origin: &str) -> StartRequest {
    let document = settings.document.as_deref();
    StartRequest {
        target: String::new(),
        document: document.unwrap_or_else(|| remote.document()).to_owned(),
        parameters: remote.parameters(),
        reason: reason(origin, &settings.name, settings.reason.as_deref()),
    }
}

/// Returns the `Reason` without its unique suffix. If it is too long, `origin` is cut first, and
/// `name` if it is that of a target or a destination, so that the text of the user is complete.
fn reason(origin: &str, name: &str, text: Option<&str>) -> String {
    let text = text.map(|text| format!(": {text}")).unwrap_or_default();
    let name: String = name.chars().take(MAX_NAME).collect();
    let rest = format!(", forward {name}{text}");
    let space = MAX_REASON.saturating_sub(rest.chars().count());
    let origin: String = origin.chars().take(space).collect();
    format!("{origin}{rest}").chars().take(MAX_REASON).collect()
}

/// Returns the targets in the order in which they are tried, each with the client of its region.
pub(super) fn targets(settings: &config::Forward, context: &Context) -> Vec<RegionalTarget> {
    let clients = context.target_clients.iter();
    let clients = clients.chain(std::iter::repeat(&context.ssm));
    let targets = settings.target.iter().zip(clients);
    let targets = targets.map(|(target, ssm)| RegionalTarget {
        target: match target {
            config::Target::Node { id, region: _ } => Target::Node(id.clone()),
            config::Target::Tags(tags) => Target::Tags(tags.clone()),
            config::Target::Ecs(target) => Target::Ecs(ecs(target)),
        },
        ssm: ssm.clone(),
    });
    targets.collect()
}

fn ecs(target: &config::EcsTarget) -> EcsTarget {
    EcsTarget {
        cluster: target.cluster.clone(),
        tasks: match &target.tasks {
            config::EcsTasks::Service(name) => EcsTasks::Service(name.clone()),
            config::EcsTasks::Family(name) => EcsTasks::Family(name.clone()),
        },
        container: target.container.clone(),
    }
}

/// Returns the parameters of the tunnels of a forward.
pub(super) fn tunnel_options(
    settings: &config::Forward,
    context: &Context,
    metrics: &ForwardMetrics,
) -> TunnelOptions {
    let config::Upload {
        rate,
        payload,
        window,
    } = settings.upload;
    TunnelOptions {
        options: proto::Options {
            upload_rate: rate,
            upload_payload: payload,
            upload_window: window,
            keep_alive: settings.keep_alive,
            shared: matches!(settings.sessions, config::SessionMode::Shared { .. }),
            client_version: context.client_version,
        },
        resume_timeout: settings.resume_timeout,
        triggered: context.triggered.clone(),
        reorder_budget: context.reorder_budget.clone(),
        messages: proto::MessageCounters {
            sent: Arc::clone(&metrics.totals.messages_sent),
            retransmitted: Arc::clone(&metrics.totals.messages_retransmitted),
        },
    }
}

/// Maximum length of a name in a reason, in characters: that of a forward in the configuration.
const MAX_NAME: usize = 64;

/// Maximum length of a reason in characters: 256 in the API, less the suffix that `session` adds.
const MAX_REASON: usize = 256 - 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_user_follows_program_and_forward() {
        assert_eq!(
            reason("ssm-proxyd 1 on host", "db", None),
            "ssm-proxyd 1 on host, forward db"
        );
        assert_eq!(
            reason("ssm-proxyd 1 on host", "db", Some("INC-1")),
            "ssm-proxyd 1 on host, forward db: INC-1"
        );
    }

    #[test]
    fn a_long_host_name_is_cut_before_the_text_of_the_user() {
        let (name, text) = ("n".repeat(64), "ä".repeat(100));

        let reason = reason(&"o".repeat(300), &name, Some(&text));

        assert!(reason.starts_with("ooo"), "{reason}");
        assert!(
            reason.ends_with(&format!("o, forward {name}: {text}")),
            "{reason}"
        );
        assert_eq!(reason.chars().count(), MAX_REASON);
    }

    #[test]
    fn a_long_destination_is_cut_before_the_text_of_the_user() {
        let (name, text) = (format!("5432:{}:5432", "n".repeat(250)), "ä".repeat(100));

        let reason = reason("ssm-proxyd 1 on host", &name, Some(&text));

        assert!(reason.starts_with("ssm-proxyd 1 on host, forward 5432:nn"));
        assert!(reason.ends_with(&format!("n: {text}")), "{reason}");
    }
}
