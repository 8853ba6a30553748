//! Parameters of StartSession and of tunnels, derived from the settings of a forward.

use super::Context;
use crate::config;
use crate::proto;
use crate::session::{StartRequest, Target};
use crate::tunnel::TunnelOptions;

/// Returns the request without its target. `origin` identifies this program in the list of
/// sessions.
pub(super) fn request(settings: &config::Forward, origin: &str) -> StartRequest {
    let reason = format!("{origin}, forward {}", settings.name);
    StartRequest {
        target: String::new(),
        document: settings.document().to_owned(),
        parameters: settings.remote.parameters(),
        reason: reason.chars().take(MAX_REASON).collect(),
    }
}

/// Returns the targets in the order in which they are tried.
pub(super) fn targets(settings: &config::Forward) -> Vec<Target> {
    let targets = settings.target.iter().map(|target| match target {
        config::Target::Node(id) => Target::Node(id.clone()),
        config::Target::Tags(tags) => Target::Tags(tags.clone()),
    });
    targets.collect()
}

/// Returns the parameters of the tunnels of a forward.
pub(super) fn tunnel_options(settings: &config::Forward, context: &Context) -> TunnelOptions {
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
    }
}

/// Maximum length of a reason in the API, in characters.
const MAX_REASON: usize = 256;
