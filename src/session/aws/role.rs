//! A role assumed with the credentials of somebody else, by the security token service (STS).
//!
//! The service is called where the SDK calls it: at the region's address, or where
//! `AWS_ENDPOINT_URL_STS` and the profile lead.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_ssm::error::ErrorMetadata;
use tokio::sync::Mutex;

use super::refusal::{find, kind_of};
use crate::printable::Printable;
use crate::session::error::{Kind, sources};

/// The same settings, with the credentials of a role in place of those that they have.
pub(super) fn assuming(role: &str, config: &SdkConfig) -> SdkConfig {
    let assumed = Role {
        arn: role.to_owned(),
        config: config.clone(),
        last: Mutex::default(),
    };
    let provider = SharedCredentialsProvider::new(assumed);
    config.to_builder().credentials_provider(provider).build()
}

/// Gives the credentials of a role.
struct Role {
    arn: String,
    /// As whom it is assumed, and how calls are made.
    config: SdkConfig,
    /// What was given last: two ask, the client and the signer. Held across the call, so that one
    /// calls for all.
    last: Mutex<Option<Credentials>>,
}

impl Role {
    async fn credentials(&self) -> provider::Result {
        let mut last = self.last.lock().await;
        let soon = SystemTime::now() + EARLY;
        let is_good = |known: &&Credentials| known.expiry().is_none_or(|expiry| expiry > soon);
        if let Some(known) = last.as_ref().filter(is_good) {
            return Ok(known.clone());
        }
        let assumed = self.assume().await?;
        *last = Some(assumed.clone());
        Ok(assumed)
    }

    async fn assume(&self) -> provider::Result {
        let Some(provider) = self.config.credentials_provider() else {
            return Err(CredentialsError::not_loaded_no_source());
        };
        // Asked for here, so that their lack is not told as a fault of the role.
        let own = provider.provide_credentials().await?;
        let role = AssumeRoleProvider::builder(&self.arn)
            .session_name(SESSION_NAME)
            .configure(&self.config)
            .build_from_provider(own)
            .await;
        let assumed = role.provide_credentials().await;
        assumed
            .map_err(|error| CredentialsError::provider_error(NotAssumed::new(&self.arn, &error)))
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
pub(in crate::session) struct NotAssumed {
    role: Printable,
    why: Printable,
    kind: Kind,
}

impl NotAssumed {
    fn new(role: &str, error: &CredentialsError) -> Self {
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
    pub(in crate::session) fn kind(&self) -> Kind {
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

/// By this the account's logs know who called.
const SESSION_NAME: &str = "ssm-proxyd";

/// How long before they expire credentials are replaced.
const EARLY: Duration = Duration::from_secs(300);
