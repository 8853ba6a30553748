//! A role assumed with the credentials of somebody else, by the security token service (STS).
//!
//! The service is called where the SDK calls it: at the region's address, or where
//! `AWS_ENDPOINT_URL_STS` and the profile lead.

use std::fmt;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_ssm::error::ErrorMetadata;

use super::refusal::{find, kind_of};
use super::source::SESSION_NAME;
use super::values::{OF_PROVIDER, checked};
use crate::printable::Printable;
use crate::session::error::{Kind, sources};

/// The credentials of a role, which it assumes with those of `own`.
pub(super) fn assuming(
    role: &str,
    config: &SdkConfig,
    own: SharedCredentialsProvider,
) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Role {
        arn: role.to_owned(),
        config: config.clone(),
        own,
    })
}

/// Assumes a role each time it is asked.
struct Role {
    arn: String,
    /// How calls are made.
    config: SdkConfig,
    /// As whom.
    own: SharedCredentialsProvider,
}

impl Role {
    async fn credentials(&self) -> provider::Result {
        // Asked for here, so that their lack is not told as a fault of the role.
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
            CredentialsError::provider_error(AssumeRoleError::new(&self.arn, &error))
        })
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({})", self.arn)
    }
}

/// Why a role could not be assumed.
#[derive(Debug, thiserror::Error)]
#[error("{role}: {why}")]
pub(super) struct AssumeRoleError {
    role: Printable,
    why: Printable,
    kind: Kind,
}

impl AssumeRoleError {
    pub(super) fn new(role: &str, error: &CredentialsError) -> Self {
        let meta = find::<ErrorMetadata>(error);
        let said = meta.and_then(|meta| Some((meta.code()?, meta.message().unwrap_or_default())));
        let (kind, why) = match said {
            Some((code, message)) => (
                refused(code),
                Printable::of(format_args!("{code}: {message}")),
            ),
            None => (Kind::Unreachable, sources(error).into()),
        };
        let role = role.into();
        Self { role, why, kind }
    }

    /// What kind of error that is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

/// What passes, and what another login helps against, is no fault of the role.
fn refused(code: &str) -> Kind {
    let kind = kind_of(code);
    let is_other = matches!(
        kind,
        Kind::Throttled | Kind::ServiceFault | Kind::Credentials
    );
    if is_other { kind } else { Kind::Role }
}
