//! Adds region, profile and account to the errors of calls.

use aws_types::os_shim_internal::Env;

use super::api_client::ApiClient;
use super::settings::Settings;
use crate::session::error::{Error, ErrorKind, is_of_ecs};

/// Returns the text to append to an error; empty if the error depends on none of
/// region, profile and account.
pub(super) fn of(
    error: &Error,
    api_client: &ApiClient,
    settings: &Settings,
    region: &str,
) -> String {
    let kind = error.kind();
    if kind == ErrorKind::Unreachable && is_of_ecs(error.what()) {
        return String::new();
    }
    if kind == ErrorKind::Unreachable && settings.ssm_endpoint.is_none() {
        let setting = api_client
            .endpoint_setting()
            .map(|setting| format!(" ({setting}, and may not exist in this region)"));
        return setting.unwrap_or_default();
    }
    let place = place(api_client, settings, region);
    if kind == ErrorKind::TargetNotConnected {
        return format!(" (searched in {place})");
    }
    if kind == ErrorKind::Credentials && are_of_environment(api_client) {
        return format!(
            " (in {place}; the keys come from the environment of this process, which does not change: restart it with new keys, or use a profile)"
        );
    }
    match matches!(kind, ErrorKind::Credentials | ErrorKind::Denied) {
        true => format!(" (in {place})"),
        false => String::new(),
    }
}

fn place(api_client: &ApiClient, settings: &Settings, region: &str) -> String {
    let parts = [format!("region {region}")].into_iter();
    let parts = parts.chain(identity(api_client, settings));
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns profile and account in parentheses; empty if none is known.
pub(super) fn without_region(api_client: &ApiClient, settings: &Settings) -> String {
    let parts: Vec<_> = identity(api_client, settings).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    }
}

/// Returns the profile and the account, as far as they are known. Makes no call.
fn identity(api_client: &ApiClient, settings: &Settings) -> impl Iterator<Item = String> {
    let profile = match &settings.profile {
        Some(profile) => Some(format!("profile {profile:?}")),
        None if !are_of_environment(api_client) => Some("profile \"default\"".to_owned()),
        None => None,
    };
    let account = api_client.credentials.account_id();
    let account = account.map(|account| account.as_str().to_owned());
    let account = account.or_else(|| account_of_role(settings.role.as_deref()?));
    let account = account.map(|account| format!("account {account}"));
    profile.into_iter().chain(account)
}

/// Returns the account in the ARN of a role.
fn account_of_role(arn: &str) -> Option<String> {
    arn.split(':').nth(4).map(str::to_owned)
}

fn are_of_environment(api_client: &ApiClient) -> bool {
    let key = Env::real().get("AWS_ACCESS_KEY_ID").unwrap_or_default();
    key.trim() == api_client.credentials.access_key_id()
}
