//! Credential services of the machine, and providers whose errors name them.

use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

/// A credential service that is asked after the AWS configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// The role of a web identity.
    WebIdentity,
    /// The credentials endpoint of a container.
    Container,
    /// The instance metadata service.
    Instance,
}

impl Machine {
    /// Returns the name used in error messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebIdentity => STS,
            Self::Container => "the credentials endpoint of the container",
            Self::Instance => "the instance metadata service (IMDS)",
        }
    }

    /// Returns the environment variable with the path of its token file.
    pub(super) fn token_file(self) -> Option<&'static str> {
        match self {
            Self::WebIdentity => Some("AWS_WEB_IDENTITY_TOKEN_FILE"),
            Self::Container => Some("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            Self::Instance => None,
        }
    }
}

/// The name of STS in error messages.
pub(super) const STS: &str = "the security token service (STS)";

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of a credential service.
#[derive(Debug, thiserror::Error)]
#[error("{machine}")]
pub(super) struct MachineError {
    pub(super) machine: Machine,
    source: CredentialsError,
}

/// A provider whose errors name its service.
#[derive(Debug)]
pub(super) struct Named<P> {
    machine: Machine,
    provider: P,
}

impl<P: ProvideCredentials> Named<P> {
    pub(super) fn new(machine: Machine, provider: P) -> Self {
        Self { machine, provider }
    }

    async fn credentials(&self) -> provider::Result {
        let machine = self.machine;
        self.provider
            .provide_credentials()
            .await
            .map_err(|source| match source {
                // Unchanged, so that the next provider is asked.
                CredentialsError::CredentialsNotLoaded(_) => source,
                CredentialsError::ProviderTimedOut(_)
                | CredentialsError::InvalidConfiguration(_)
                | CredentialsError::ProviderError(_)
                | CredentialsError::Unhandled(_)
                | _ => CredentialsError::provider_error(MachineError { machine, source }),
            })
    }
}

impl<P: ProvideCredentials> ProvideCredentials for Named<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}
