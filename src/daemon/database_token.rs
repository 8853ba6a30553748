//! Database tokens for the destination of a forward.

use super::aws_clients::AwsClients;
use super::{Daemon, StartError};
use crate::config;
use crate::session::{DatabaseLogin, DatabaseToken, Error, Identity};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The AWS settings are insufficient.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// There are no credentials, or the token could not be signed.
    #[error(transparent)]
    Credentials(#[from] Error),
}

/// Signs a token with the credentials that the sessions of `forward` use.
///
/// # Errors
///
/// Fails if the AWS settings are insufficient, or if there are no credentials.
pub async fn database_token(
    aws: config::Aws,
    forward: &config::Forward,
    login: &DatabaseLogin,
) -> Result<DatabaseToken, TokenError> {
    let clients = AwsClients::new(aws, Identity::Chain, std::slice::from_ref(forward)).await?;
    sign(&clients, forward, login).await
}

impl Daemon {
    /// Signs a token with the credentials that the sessions of `forward`, one of its own, use.
    ///
    /// # Errors
    ///
    /// Fails if there are no credentials.
    pub async fn database_token(
        &self,
        forward: &config::Forward,
        login: &DatabaseLogin,
    ) -> Result<DatabaseToken, TokenError> {
        sign(&self.control.aws, forward, login).await
    }
}

async fn sign(
    clients: &AwsClients,
    forward: &config::Forward,
    login: &DatabaseLogin,
) -> Result<DatabaseToken, TokenError> {
    // The targets of a forward have the same profile and role.
    let account = forward.accounts().into_iter().next().unwrap_or_default();
    let ssm = &clients.get(&account).map_err(Clone::clone)?.ssm;
    Ok(ssm.database_token(login, forward.connect_timeout).await?)
}
