//! What the AWS variables of the environment add to `[aws]`.
//!
//! The environment wins over the file, as for every AWS program (interfaces.md section 1); a
//! forward's own keys win over both. A value is checked as a value in the file is, after white
//! space around it is cut off: a secret made with `echo` ends with a line feed. No variable names
//! our `role_arn`: AWS_ROLE_ARN belongs to the SDK's web identity.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use super::exit::Exit;
use super::terminal;
use crate::config;

/// Lets open connections go on for longer under a service manager, unless the file says for how long.
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

/// A service manager waits for 90 s if its unit does not say otherwise, and ours say 60 s.
const MANAGED_DRAIN: Duration = Duration::from_secs(30);

/// A variable whose value cannot be used.
#[derive(Debug)]
pub(super) struct BadVariable {
    name: &'static str,
    fault: config::ValueError,
}

impl BadVariable {
    /// Prints the error and the remedy. The exit code says that AWS cannot be called as the
    /// environment asks.
    pub(super) fn fail(&self) -> Exit {
        terminal::fail(Exit::Refused, self, self.fault.hint())
    }
}

impl fmt::Display for BadVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the environment: {}", self.name, self.fault)
    }
}

/// Puts what the environment says in place of what `[aws]` says.
///
/// # Errors
///
/// If a variable has a value that would be an error in the file.
pub(super) fn apply(aws: &mut config::Aws) -> Result<(), BadVariable> {
    let config::Aws {
        region,
        profile,
        role_arn: _,
        ssm_endpoint,
        ssmmessages_endpoint: _,
        ca_bundle,
        proxy,
        client_version: _,
    } = aws;
    prefer(region, "region", &REGION, config::region)?;
    prefer(profile, "profile", &PROFILE, config::profile)?;
    prefer(
        ssm_endpoint,
        "ssm_endpoint",
        &["AWS_ENDPOINT_URL_SSM"],
        config::endpoint,
    )?;
    let mut bundle = ca_bundle.as_ref().map(|path| path.display().to_string());
    prefer(&mut bundle, "ca_bundle", &[BUNDLE], |path| {
        Ok(path.to_owned())
    })?;
    *ca_bundle = bundle.map(PathBuf::from);
    *proxy = match proxy.take() {
        // Said in the file: no proxy, whatever the environment says.
        Some(proxy) if proxy.is_none() => None,
        Some(proxy) => Some(proxy),
        None => proxy_of_environment(),
    };
    Ok(())
}

/// Whether the certificates to trust are named by the environment.
pub(super) fn names_bundle() -> bool {
    terminal::environment(BUNDLE).is_some()
}

/// The proxy for HTTPS. ALL_PROXY is often set for a whole desktop, and then for SOCKS: such a
/// value is ignored, as the AWS CLI ignores it.
fn proxy_of_environment() -> Option<config::Proxy> {
    let first = |names: &[&'static str]| {
        let found = names
            .iter()
            .map(|name| (*name, terminal::environment(name)));
        found
            .into_iter()
            .find_map(|(name, value)| Some((name, value?)))
    };
    let exempt = first(&["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts);
    let exempt = exempt.unwrap_or_default();
    if let Some((_, url)) = first(&["HTTPS_PROXY", "https_proxy"]) {
        return Some(config::Proxy::new(url, exempt));
    }
    let (variable, url) = first(&["ALL_PROXY", "all_proxy"])?;
    match config::proxy(&url) {
        Ok(url) => Some(config::Proxy::new(url, exempt)).filter(|proxy| !proxy.is_none()),
        Err(fault) => {
            warn!(
                variable,
                error = %fault,
                hint = "set HTTPS_PROXY, or `proxy` in [aws], to reach AWS through an HTTP proxy",
                "the proxy of the environment is ignored"
            );
            None
        }
    }
}

/// Takes the value of the first of `variables` that has one.
fn prefer(
    value: &mut Option<String>,
    key: &str,
    variables: &[&'static str],
    check: impl Fn(&str) -> Result<String, config::ValueError>,
) -> Result<(), BadVariable> {
    let given = variables.iter().find_map(|name| {
        let value = terminal::environment(name)?;
        Some((*name, value.trim().to_owned())).filter(|(_, value)| !value.is_empty())
    });
    let Some((name, given)) = given else {
        return Ok(());
    };
    let given = check(&given).map_err(|fault| BadVariable { name, fault })?;
    if value.as_ref().is_some_and(|written| *written != given) {
        info!(variable = name, key, "the environment wins over the file");
    }
    *value = Some(given);
    Ok(())
}

const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The second is the AWS CLI's own.
const PROFILE: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];

/// The certificates to trust, of every AWS program.
const BUNDLE: &str = "AWS_CA_BUNDLE";
