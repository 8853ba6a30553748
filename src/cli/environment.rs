//! Applies the AWS environment variables to `[aws]`.
//!
//! The environment takes precedence over the file, as in all AWS programs (docs/interfaces.md,
//! section 1); settings of a forward take precedence over both. Values are checked as in the file,
//! after trimming whitespace: a secret created with `echo` ends with a line feed. There is no
//! variable for `role_arn`: AWS_ROLE_ARN belongs to the SDK's web identity provider.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use super::exit::Exit;
use super::terminal;
use crate::config;
use crate::daemon::doctor::Failure;
use crate::error_class::ErrorClass;

/// Extends the drain timeout under a service manager, unless the file sets it.
pub(super) fn apply_manager(shutdown: &mut config::Shutdown) {
    let is_managed = ["NOTIFY_SOCKET", "INVOCATION_ID"]
        .iter()
        .any(|name| terminal::environment(name).is_some());
    if shutdown.includes_endings && is_managed {
        *shutdown = config::Shutdown {
            drain_timeout: MANAGED_DRAIN,
            includes_endings: false,
        };
    }
}

/// Service managers wait 90 s by default; the units shipped with this program set 60 s.
const MANAGED_DRAIN: Duration = Duration::from_secs(30);

/// A variable with an invalid value.
#[derive(Debug)]
pub(super) struct BadVariable {
    name: &'static str,
    error: config::ValueError,
}

impl BadVariable {
    /// Prints the error and its hint. The exit code means that AWS cannot be called as the
    /// environment requires.
    pub(super) fn fail(&self) -> Exit {
        terminal::fail(Exit::Refused, self, self.hint())
    }

    /// Returns the error as a failed check, with the same exit code.
    pub(super) fn failure(&self) -> Failure {
        Failure::new(ErrorClass::BadProfile, self.to_string(), self.hint())
    }

    /// Returns what to write instead.
    pub(super) fn hint(&self) -> &str {
        self.error.hint()
    }
}

impl fmt::Display for BadVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the environment: {}", self.name, self.error)
    }
}

/// Overrides `[aws]` with the values of the environment.
///
/// # Errors
///
/// Fails if a variable has a value that would be invalid in the file.
pub(super) fn apply(aws: &mut config::Aws) -> Result<(), BadVariable> {
    apply_except(aws, &[])
}

/// The same, but without the variables of these keys, because a caller gives their values.
///
/// # Errors
///
/// As [`apply`].
pub(super) fn apply_except(aws: &mut config::Aws, given: &[&str]) -> Result<(), BadVariable> {
    let config::Aws {
        region,
        profile,
        role_arn: _,
        ssm_endpoint,
        ecs_endpoint,
        ec2_instance_connect_endpoint,
        ssmmessages_endpoint: _,
        ca_bundle,
        proxy,
        client_version: _,
    } = aws;
    let values = [
        (region, "region", &REGION[..]),
        (profile, "profile", &PROFILE[..]),
        (ssm_endpoint, "ssm_endpoint", &["AWS_ENDPOINT_URL_SSM"][..]),
        (ecs_endpoint, "ecs_endpoint", &["AWS_ENDPOINT_URL_ECS"][..]),
        (
            ec2_instance_connect_endpoint,
            "ec2_instance_connect_endpoint",
            &["AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT"][..],
        ),
    ];
    for (value, key, variables) in values {
        if !given.contains(&key) {
            override_from_env(value, key, variables, config::argument(key))?;
        }
    }
    let mut bundle = ca_bundle.as_ref().map(|path| path.display().to_string());
    override_from_env(&mut bundle, "ca_bundle", &[BUNDLE], |path| {
        Ok(path.to_owned())
    })?;
    *ca_bundle = bundle.map(PathBuf::from);
    *proxy = match proxy.take() {
        // The file disables proxies, regardless of the environment.
        Some(proxy) if proxy.is_none() => None,
        Some(proxy) => Some(proxy),
        None => proxy_of_environment(),
    };
    Ok(())
}

/// Returns whether the environment names the CA certificates.
pub(super) fn names_bundle() -> bool {
    terminal::environment(BUNDLE).is_some()
}

/// Returns the proxy for HTTPS. ALL_PROXY is often set for a whole desktop, to a SOCKS proxy; such
/// a value is ignored, as the AWS CLI does.
fn proxy_of_environment() -> Option<config::Proxy> {
    let exempt = first(&["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts);
    let exempt = exempt.unwrap_or_default();
    if let Some((_, url)) = first(&["HTTPS_PROXY", "https_proxy"]) {
        return Some(config::Proxy::new(url, exempt));
    }
    let (variable, url) = first(&["ALL_PROXY", "all_proxy"])?;
    match config::argument("proxy")(&url) {
        Ok(url) => Some(config::Proxy::new(url, exempt)).filter(|proxy| !proxy.is_none()),
        Err(error) => {
            warn!(
                variable,
                error = %error,
                hint = "set HTTPS_PROXY, or `proxy` in [aws], to reach AWS through an HTTP proxy",
                "ignoring the proxy set in the environment"
            );
            None
        }
    }
}

/// Sets `value` from the first variable that is set.
fn override_from_env(
    value: &mut Option<String>,
    key: &str,
    variables: &[&'static str],
    check: impl Fn(&str) -> Result<String, config::ValueError>,
) -> Result<(), BadVariable> {
    let Some((name, given)) = first(variables) else {
        return Ok(());
    };
    let given = check(&given).map_err(|error| BadVariable { name, error })?;
    if value.as_ref().is_some_and(|written| *written != given) {
        info!(
            variable = name,
            key, "the environment variable overrides the configuration file"
        );
    }
    *value = Some(given);
    Ok(())
}

/// Returns the first variable that has a value, trimmed.
fn first(variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|name| {
        let value = terminal::environment(name)?;
        Some((*name, value.trim().to_owned())).filter(|(_, value)| !value.is_empty())
    })
}

const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The second is specific to the AWS CLI.
const PROFILE: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];

/// CA certificates to trust, as in all AWS programs.
const BUNDLE: &str = "AWS_CA_BUNDLE";
