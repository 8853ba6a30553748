//! Roles that need the code of an MFA device.
//!
//! Interactive commands may ask for the code on their terminal (`code_prompt`). A daemon never
//! asks. The code is used once and not stored.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;

use super::SESSION_NAME;
use super::assume_role::AssumeRoleError;
use super::code_prompt::ask;
use super::files::Profiles;
use super::values::{OF_PROVIDER, checked};
use crate::network::Proxy;

/// Returns the first profile of a chain whose role is assumed and needs a code.
pub(super) fn needing_code(profiles: &Profiles, chain: &[String]) -> Option<String> {
    let is_role = |profile: &str| {
        let has = |key| profiles.get(profile, key).is_some();
        has("role_arn") && !has("web_identity_token_file")
    };
    let needs =
        |profile: &&String| is_role(profile) && profiles.get(profile, "mfa_serial").is_some();
    let (last, sources) = chain.split_last()?;
    let assumes = sources.is_empty() || keys(profiles, last).is_none();
    let last = Some(last).filter(|_| assumes);
    sources.iter().chain(last).find(needs).cloned()
}

/// Returns the provider of a profile with a role in its chain that needs a code; `None` if no role
/// needs one. `base` returns the provider of a profile. `bases` has the profile whose credentials
/// assume the role that the last profile of a chain has itself.
pub(super) fn provider(
    profiles: &Profiles,
    profile: &str,
    config: &SdkConfig,
    proxy: Option<&Proxy>,
    bases: &BTreeMap<String, String>,
    base: impl FnOnce(&str) -> SharedCredentialsProvider,
) -> Option<SharedCredentialsProvider> {
    let chain = profiles.chain(profile).ok()?.profiles;
    needing_code(profiles, &chain)?;
    let (last, sources) = chain.split_last()?;
    let keys = keys(profiles, last).map(SharedCredentialsProvider::new);
    let (own, roles) = match (bases.get(last), keys) {
        // The keys of a source come before its role.
        (_, Some(keys)) if !sources.is_empty() => (keys, sources),
        (Some(of_last), _) => (base(of_last), &chain[..]),
        (None, Some(keys)) => (keys, &chain[..]),
        (None, None) => (base(last), sources),
    };
    let config = config.to_builder();
    let config = config.retry_config(RetryConfig::standard()).build();
    let assumed = roles.iter().rev().filter_map(|name| {
        let get = |key| profiles.get(name, key).map(str::to_owned);
        Some(ProfileRole {
            arn: get("role_arn")?,
            session_name: get("role_session_name").unwrap_or_else(|| SESSION_NAME.to_owned()),
            external_id: get("external_id"),
            seconds: get("duration_seconds").and_then(|seconds| seconds.parse().ok()),
            mfa_serial: get("mfa_serial"),
            config: config.clone(),
            proxy: proxy.cloned(),
            own: own.clone(),
        })
    });
    Some(assumed.fold(own.clone(), |own, role| {
        SharedCredentialsProvider::new(ProfileRole { own, ..role })
    }))
}

fn keys(profiles: &Profiles, profile: &str) -> Option<Credentials> {
    let get = |key| profiles.get(profile, key).map(str::to_owned);
    let (key, secret) = (get("aws_access_key_id")?, get("aws_secret_access_key")?);
    let token = get("aws_session_token");
    Some(Credentials::new(key, secret, token, None, "profile"))
}

/// The role of a profile, which is assumed with a code if it has an `mfa_serial`.
struct ProfileRole {
    arn: String,
    session_name: String,
    external_id: Option<String>,
    seconds: Option<i32>,
    mfa_serial: Option<String>,
    config: SdkConfig,
    /// The proxy of the SDK client.
    proxy: Option<Proxy>,
    /// The credentials that assume it.
    own: SharedCredentialsProvider,
}

impl ProfileRole {
    async fn credentials(&self) -> provider::Result {
        let own = self.own.provide_credentials().await?;
        let own = checked(&own, OF_PROVIDER)?;
        let config = aws_sdk_sts::config::Builder::from(&self.config).credentials_provider(own);
        let code = match &self.mfa_serial {
            Some(serial) => Some(
                ask(serial)
                    .await
                    .map_err(CredentialsError::provider_error)?,
            ),
            None => None,
        };
        let call = Client::from_conf(config.build())
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .set_duration_seconds(self.seconds)
            .set_serial_number(self.mfa_serial.clone())
            .set_token_code(code);
        let response = call.send().await.map_err(|error| {
            let error = CredentialsError::provider_error(error);
            CredentialsError::provider_error(AssumeRoleError::new(
                &self.arn,
                &error,
                self.proxy.as_ref(),
            ))
        })?;
        let given = response.credentials.ok_or_else(|| {
            CredentialsError::unhandled("the AssumeRole response contains no credentials")
        })?;
        let expiry = SystemTime::try_from(given.expiration).ok();
        let token = Some(given.session_token);
        let (key, secret) = (given.access_key_id, given.secret_access_key);
        let credentials = Credentials::new(key, secret, token, expiry, "AssumeRole");
        checked(&credentials, OF_PROVIDER)
    }
}

impl ProvideCredentials for ProfileRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl fmt::Debug for ProfileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProfileRole({})", self.arn)
    }
}
