//! What a session is served with: the arguments of the AWS CLI, the environment, and of the
//! configuration file what does not concern the account.

use super::arguments::Arguments;
use super::request::Request;
use crate::cli::ad_hoc::{AdHocConfig, ad_hoc_without_file, load_without_account};
use crate::cli::exit::Exit;
use crate::cli::{paths, terminal};
use crate::config::{self, Account, Forward, Remote, SessionMode, Target};
use crate::daemon::HandedOverConfig;
use crate::printable::Printable;

/// A configuration that cannot be used.
pub(super) enum BadConfiguration {
    /// An argument is not valid.
    Argument(String),
    /// It was reported.
    Reported(Exit),
}

/// Whether the configuration file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Read,
    Ignored,
}

/// Builds the configuration. Blocks.
pub(super) fn configuration(
    arguments: Arguments,
    file: File,
) -> Result<HandedOverConfig, BadConfiguration> {
    let Arguments {
        session,
        region,
        profile,
        request,
        endpoint,
    } = arguments;
    let region = checked("the region", REGION, &region)?;
    let profile = profile
        .map(|profile| checked("the profile", PROFILE, &profile))
        .transpose()?;
    let endpoint = endpoint
        .map(|endpoint| checked("the endpoint", ENDPOINT, &endpoint))
        .transpose()?;
    let given = [
        Some(REGION),
        profile.as_ref().map(|_| PROFILE),
        endpoint.as_ref().map(|_| ENDPOINT),
    ];
    let given: Vec<_> = given.into_iter().flatten().collect();
    let request = request.filter(|request| request.fault.is_none());
    let can_repeat = request.is_some();
    let basis = match file {
        File::Read => load_without_account(&given),
        File::Ignored => ad_hoc_without_file(&given),
    };
    let AdHocConfig {
        config, forward, ..
    } = basis.map_err(BadConfiguration::Reported)?;
    let mut aws = config.aws;
    if endpoint.is_some() {
        aws.ssm_endpoint = endpoint;
    }
    let account = Account {
        region: Some(region),
        profile,
        role_arn: None,
    };
    Ok(HandedOverConfig {
        aws,
        limits: config.limits,
        forward: requested(request, account, forward),
        session,
        can_repeat,
        origin: terminal::client_label(),
        state: paths::state_directory(),
    })
}

/// Returns the forward of a request. Without one, no further session can be started, so that all
/// connections share the session.
fn requested(request: Option<Request>, account: Account, template: Forward) -> Forward {
    let shared = SessionMode::Shared {
        max_streams: template.max_connections,
        max_age: None,
    };
    let sessions = match (&request, template.sessions) {
        (Some(_), SessionMode::PerConnection { warm_max_age, .. }) => SessionMode::PerConnection {
            warm: 0,
            warm_max_age,
        },
        (Some(_), by_file @ SessionMode::Shared { .. }) => by_file,
        (None, _) => shared,
    };
    let request = request.unwrap_or_default();
    let target = Target::Node {
        id: request.target,
        region: None,
    };
    Forward {
        name: super::NAME.to_owned(),
        enabled: true,
        target: target.into(),
        remote: Remote::Document {
            name: request.document.unwrap_or_default(),
            parameters: request.parameters,
        },
        document: None,
        relay: None,
        reason: request.reason.map(cut).or(template.reason),
        account,
        sessions,
        ..template
    }
}

fn checked(what: &str, key: &'static str, value: &str) -> Result<String, BadConfiguration> {
    let checked = config::argument(key)(value);
    checked.map_err(|error| {
        let error = format!(
            "{what} that the caller has passed: {error}; {}",
            error.hint()
        );
        BadConfiguration::Argument(error)
    })
}

/// Cuts a reason to what the configuration allows.
fn cut(reason: String) -> String {
    Printable::cut(&reason, MAX_REASON).to_string()
}

/// Keys of the configuration that are arguments.
const REGION: &str = "region";
const PROFILE: &str = "profile";
const ENDPOINT: &str = "ssm_endpoint";

/// Maximum length of a reason, in characters.
const MAX_REASON: usize = 100;
