//! Database tokens, signed with the credentials of a client.

use std::time::Duration;

use super::guard::guarded;
use super::{MAX_CALL, SsmClient};
use crate::clock;
use crate::session::database_token::{DatabaseLogin, DatabaseToken, TOKEN, database_token};
use crate::session::error::{Error, ErrorKind};

impl SsmClient {
    /// Signs a token with the credentials that start sessions. The region is that in the name of
    /// the database, else that of this client. Makes no call but those for credentials, for which
    /// it waits up to `limit`.
    ///
    /// # Errors
    ///
    /// Fails if there are no credentials, or they have expired.
    pub async fn database_token(
        &self,
        login: &DatabaseLogin,
        limit: Duration,
    ) -> Result<DatabaseToken, Error> {
        let api_client = self.api_client_until(clock::now() + limit).await?;
        let credentials = api_client.credentials.clone();
        let now = clock::wall();
        if credentials.expiry().is_some_and(|expiry| expiry <= now) {
            let why = "the credentials have expired";
            return Err(Error::new(TOKEN, ErrorKind::Credentials, why));
        }
        let region = login.region();
        let region = region.as_deref().unwrap_or_else(|| self.region());
        let signed = async { database_token(login, region, credentials, now) };
        guarded(TOKEN, MAX_CALL, signed).await?
    }
}
