//! Adds region, profile and account to the errors of calls.

use aws_types::os_shim_internal::Env;

use super::api_client::ApiClient;
use super::settings::Settings;
use crate::session::error::{Error, ErrorKind};

/// Returns the text to append to an error; empty if the error depends on none of
/// region, profile and account.
pub(super) fn of(
    error: &Error,
    api_client: &ApiClient,
    settings: &Settings,
    region: &str,
) -> String {
    let kind = error.kind();
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
    let mut text = format!("region {region}");
    match &settings.profile {
        Some(profile) => text += &format!(", profile {profile:?}"),
        None if !are_of_environment(api_client) => text += ", profile \"default\"",
        None => {}
    }
    if let Some(account) = api_client.credentials.account_id() {
        text += &format!(", account {}", account.as_str());
    }
    text
}

fn are_of_environment(api_client: &ApiClient) -> bool {
    let key = Env::real().get("AWS_ACCESS_KEY_ID").unwrap_or_default();
    key.trim() == api_client.credentials.access_key_id()
}
