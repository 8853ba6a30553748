//! The role of a web identity, configured by environment variables (IRSA in EKS).

use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_types::os_shim_internal::Env;

use super::SESSION_NAME;

/// The SDK's provider with a constant role session name.
#[derive(Debug)]
pub(super) struct WebIdentity(Option<WebIdentityTokenCredentialsProvider>);

impl WebIdentity {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        let env = Env::real();
        let value = |name| env.get(name).ok().filter(|value| !value.is_empty());
        let configuration = || {
            let name = value("AWS_ROLE_SESSION_NAME");
            Some(StaticConfiguration {
                web_identity_token_file: value("AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
                role_arn: value("AWS_ROLE_ARN")?,
                session_name: name.unwrap_or_else(|| SESSION_NAME.to_owned()),
            })
        };
        Self(configuration().map(|configuration| {
            WebIdentityTokenCredentialsProvider::builder()
                .static_configuration(configuration)
                .configure(config)
                .build()
        }))
    }

    async fn credentials(&self) -> provider::Result {
        match &self.0 {
            Some(provider) => provider.provide_credentials().await,
            None => Err(CredentialsError::not_loaded_no_source()),
        }
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}
