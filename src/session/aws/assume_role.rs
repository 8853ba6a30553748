//! Assumes a role with other credentials, by the AWS Security Token Service (STS).
//!
//! The endpoint is the one that the SDK selects: that of the region, or `AWS_ENDPOINT_URL_STS` or
//! the profile's setting.

use std::fmt;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_ssm::error::ErrorMetadata;

use super::SESSION_NAME;
use super::effect::transience_of_credentials;
use super::machine::STS;
use super::refusal::{class_of, find, kind_of, unreached};
use super::values::{OF_PROVIDER, checked};
use crate::error_class::ErrorClass;
use crate::network::Proxy;
use crate::printable::Printable;
use crate::session::error::{Error, ErrorKind, Transience, sources};

/// Returns a provider that assumes `role` with the credentials of `own`.
pub(super) fn with_role(
    role: &str,
    config: &SdkConfig,
    proxy: Option<&Proxy>,
    own: SharedCredentialsProvider,
) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(RoleProvider {
        arn: role.to_owned(),
        config: config.clone(),
        proxy: proxy.cloned(),
        own,
    })
}

/// Assumes a role for each request.
struct RoleProvider {
    arn: String,
    /// Configuration of the SDK client.
    config: SdkConfig,
    /// The proxy of the SDK client.
    proxy: Option<Proxy>,
    /// The credentials that assume the role.
    own: SharedCredentialsProvider,
}

impl RoleProvider {
    async fn credentials(&self) -> provider::Result {
        // Requested here, so that missing credentials are not reported as an error of the role.
        let own = self.own.provide_credentials().await?;
        let own = checked(&own, OF_PROVIDER)?;
        let retrying = self.config.to_builder();
        let retrying = retrying.retry_config(RetryConfig::standard()).build();
        let role = AssumeRoleProvider::builder(&self.arn)
            .session_name(SESSION_NAME)
            .configure(&retrying)
            .build_from_provider(own)
            .await;
        let assumed = role.provide_credentials().await;
        assumed.map_err(|error| {
            CredentialsError::provider_error(AssumeRoleError::new(
                &self.arn,
                &error,
                self.proxy.as_ref(),
            ))
        })
    }
}

impl ProvideCredentials for RoleProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl fmt::Debug for RoleProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({})", self.arn)
    }
}

/// The error of a role that could not be assumed.
#[derive(Debug, thiserror::Error)]
#[error("{role}: {why}")]
pub(super) struct AssumeRoleError {
    role: Printable,
    why: Printable,
    kind: ErrorKind,
    class: Option<ErrorClass>,
    transience: Transience,
}

impl AssumeRoleError {
    /// Creates the error of a `role`. `proxy` is that of the failed call.
    pub(super) fn new(role: &str, error: &CredentialsError, proxy: Option<&Proxy>) -> Self {
        let meta = find::<ErrorMetadata>(error);
        let sent = meta.and_then(|meta| Some((meta.code()?, meta.message().unwrap_or_default())));
        let class = sent.and_then(|(code, message)| class_of(code, message));
        let (kind, why) = match sent {
            Some((code, message)) => (refused(code), format!("{code}: {message}")),
            None => unreached(STS, proxy, &sources(error)),
        };
        let transience = transience_of_credentials(error);
        Self {
            role: role.into(),
            why: why.into(),
            kind,
            class: class.filter(|_| kind == ErrorKind::Credentials),
            transience,
        }
    }

    /// Returns this error as one of sessions; `what` is the call.
    pub(super) fn to_error(&self, what: &'static str) -> Error {
        let error = Error::new(what, self.kind, self.to_string());
        let error = error.with_transience(self.transience);
        match self.class {
            Some(class) => error.with_class(class),
            None => error,
        }
    }
}

/// Returns the kind of an error code. Transient errors and those that another login may fix are
/// not errors of the role.
fn refused(code: &str) -> ErrorKind {
    let kind = kind_of(code);
    let is_other = matches!(
        kind,
        ErrorKind::Throttled | ErrorKind::ServiceFault | ErrorKind::Credentials
    );
    if is_other { kind } else { ErrorKind::Role }
}
