//! Credentials from IAM Identity Center (SSO), for profiles with an `sso_session`.
//!
//! The token of `aws sso login` is refreshed shortly before it expires, and written back to its
//! file. The SDK's own provider discards the new token if the file cannot be written (for example
//! on a read-only mount). Here it is kept in memory until the process ends or the file changes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_ssm::primitives::{DateTime, DateTimeFormat};
use aws_types::os_shim_internal::Env;
use serde_json::{Map, Value};
use sha1::{Digest, Sha1};
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use crate::clock;
use crate::files::{self, Links, Pipes};
use crate::printable::Printable;
use crate::session::error::sources;

/// The SSO settings of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The name of the `sso-session` section.
    pub(super) session: String,
    /// The region of IAM Identity Center.
    pub(super) region: String,
    pub(super) account: String,
    pub(super) role: String,
}

/// Gets the credentials of a permission set, using the token of a login.
#[derive(Clone, Debug)]
pub(super) struct SsoProvider {
    login: Login,
    /// Configuration of the SDK clients.
    config: SdkConfig,
}

impl SsoProvider {
    pub(super) fn new(login: Login, config: &SdkConfig) -> Self {
        let config = config
            .to_builder()
            .region(Region::new(login.region.clone()))
            .retry_config(RetryConfig::standard())
            .build();
        Self { login, config }
    }

    async fn credentials(&self) -> provider::Result {
        let token = self.token().await?;
        let response = aws_sdk_sso::Client::new(&self.config)
            .get_role_credentials()
            .role_name(&self.login.role)
            .account_id(&self.login.account)
            .access_token(token)
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let role = response.role_credentials;
        let role = role.ok_or_else(|| unusable("SSO did not return credentials"))?;
        let lacking = || unusable("SSO returned incomplete credentials");
        let expiry = SystemTime::try_from(DateTime::from_millis(role.expiration))
            .map_err(|_| unusable("SSO returned credentials without a valid expiration"))?;
        let mut builder = Credentials::builder()
            .access_key_id(role.access_key_id.ok_or_else(lacking)?)
            .secret_access_key(role.secret_access_key.ok_or_else(lacking)?)
            .account_id(self.login.account.as_str())
            .expiry(expiry)
            .provider_name("SSO");
        builder.set_session_token(role.session_token);
        Ok(builder.build())
    }

    /// Returns a valid access token. Refreshes it if it expires soon.
    async fn token(&self) -> Result<String, CredentialsError> {
        let home = Env::real().get("HOME").ok();
        let home = home.ok_or_else(|| unusable("HOME is not set"))?;
        let path = path(Path::new(&home), &self.login.session);
        let token = blocking(move || current(&path).map(|token| (path, token))).await?;
        let (path, token) = token.map_err(CredentialsError::provider_error)?;
        let now = clock::wall();
        let access = token.access()?;
        let expiry = token.expiry()?;
        if now + EARLY < expiry {
            return Ok(access);
        }
        let is_expired = expiry <= now;
        let Some(refresh) = token.refresh(now) else {
            let why = "the SSO token has expired and cannot be refreshed";
            return if is_expired {
                Err(unusable(why))
            } else {
                Ok(access)
            };
        };
        match self.refreshed(token, refresh, now).await {
            Ok(token) => {
                let access = token.access()?;
                blocking(move || keep(&path, token)).await?;
                Ok(access)
            }
            Err(error) if is_expired => Err(error),
            Err(error) => {
                debug!(error = %Printable::from(sources(&error)), "cannot refresh the SSO token; using the current one");
                Ok(access)
            }
        }
    }

    async fn refreshed(
        &self,
        mut token: CachedToken,
        refresh: Refresh,
        now: SystemTime,
    ) -> Result<CachedToken, CredentialsError> {
        let response = aws_sdk_ssooidc::Client::new(&self.config)
            .create_token()
            .grant_type("refresh_token")
            .client_id(refresh.client_id)
            .client_secret(refresh.client_secret)
            .refresh_token(refresh.token)
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let access = response.access_token;
        let access = access.ok_or_else(|| unusable("SSO did not return an access token"))?;
        let life = u64::try_from(response.expires_in).unwrap_or_default();
        let expiry = DateTime::from(now + Duration::from_secs(life));
        let expiry = expiry.fmt(DateTimeFormat::DateTime);
        let expiry = expiry.map_err(|_| unusable("SSO returned a token without a valid expiry"))?;
        token.set("accessToken", access);
        token.set("expiresAt", expiry);
        if let Some(refresh) = response.refresh_token {
            token.set("refreshToken", refresh);
        }
        Ok(token)
    }
}

impl ProvideCredentials for SsoProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// The JSON object in a token file. Not `Debug`: it contains secrets.
#[derive(Clone, PartialEq, Eq)]
struct CachedToken(Map<String, Value>);

/// Parameters of a refresh.
struct Refresh {
    client_id: String,
    client_secret: String,
    token: String,
}

impl CachedToken {
    fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    /// Returns the text of a field. Names are case-insensitive, as in the SDK.
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let (_, value) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_str()
    }

    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.0.insert(name.to_owned(), value.into());
    }

    fn time(&self, name: &str) -> Option<SystemTime> {
        let date = DateTime::from_str(self.get(name)?, DateTimeFormat::DateTime).ok()?;
        SystemTime::try_from(date).ok()
    }

    fn access(&self) -> Result<String, CredentialsError> {
        let token = self.get("accessToken").map(str::to_owned);
        token.ok_or_else(|| unusable("the SSO token's file has no `accessToken`"))
    }

    fn expiry(&self) -> Result<SystemTime, CredentialsError> {
        let expiry = self.time("expiresAt");
        expiry.ok_or_else(|| unusable("the SSO token's file has no valid `expiresAt`"))
    }

    /// Returns `None` if the token cannot be refreshed.
    fn refresh(&self, now: SystemTime) -> Option<Refresh> {
        self.time("registrationExpiresAt")
            .filter(|end| *end > now)?;
        let text = |name| self.get(name).map(str::to_owned);
        Some(Refresh {
            client_id: text("clientId")?,
            client_secret: text("clientSecret")?,
            token: text("refreshToken")?,
        })
    }
}

/// A refreshed token that could not be written.
struct Unwritten {
    /// The content of the file that the token replaces.
    instead_of: Vec<u8>,
    token: CachedToken,
}

/// Unwritten tokens by file. Shared by forwards and reloads.
static UNWRITTEN: Mutex<BTreeMap<PathBuf, Unwritten>> = Mutex::new(BTreeMap::new());

/// Returns the token in a file, or the newer one that could not be written to it. Blocks.
fn current(path: &Path) -> Result<CachedToken, Unusable> {
    let bytes = read(path).map_err(|error| {
        let why = format!("failed to read the SSO token {}: {error}", path.display());
        Unusable(why)
    })?;
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    match unwritten.get(path) {
        Some(kept) if kept.instead_of == bytes => return Ok(kept.token.clone()),
        // A new login has written the file.
        Some(_) => drop(unwritten.remove(path)),
        None => {}
    }
    let why = || format!("the SSO token {} is not a JSON object", path.display());
    CachedToken::parse(&bytes).ok_or_else(|| Unusable(why()))
}

/// Writes a token to its file. Keeps it in memory if that fails. Blocks.
fn keep(path: &Path, token: CachedToken) {
    let Err(error) = write(path, &token) else {
        return;
    };
    warn!(
        path = %path.display(),
        %error,
        "cannot write the refreshed SSO token; it is used until this process exits"
    );
    // A login may have changed the file.
    let instead_of = read(path).unwrap_or_default();
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    unwritten.insert(path.to_owned(), Unwritten { instead_of, token });
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    Ok(files::read(path, MAX_FILE, Pipes::Refused)?)
}

/// Other programs may read the file at the same time.
fn write(path: &Path, token: &CachedToken) -> io::Result<()> {
    let bytes = serde_json::to_vec(&token.0)?;
    files::replace(path, &bytes, Links::Replaced)
}

/// Returns the file to which `aws sso login` writes the token of a session.
fn path(home: &Path, session: &str) -> PathBuf {
    let digest = Sha1::digest(session.as_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    home.join(".aws/sso/cache").join(name + ".json")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CredentialsError> {
    spawn_blocking(work)
        .await
        .map_err(CredentialsError::unhandled)
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unusable(String);

fn unusable(why: &str) -> CredentialsError {
    CredentialsError::provider_error(Unusable(why.to_owned()))
}

/// How long before expiry a token is refreshed.
const EARLY: Duration = Duration::from_secs(300);

/// Maximum size of a token file, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn token(access: &str) -> CachedToken {
        let text = format!("{{\"accessToken\":\"{access}\",\"other\":1}}");
        CachedToken::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_path_is_that_of_the_aws_cli() {
        let path = path(Path::new("/home/me"), "corp");

        let name = "ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
        assert_eq!(path, Path::new("/home/me/.aws/sso/cache").join(name));
    }

    #[test]
    fn a_written_token_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.json");

        keep(&path, token("new"));

        assert!(current(&path).unwrap() == token("new"));
    }

    #[test]
    fn other_readers_of_the_file_get_a_whole_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.json");
        keep(&path, token("former"));
        let other = std::fs::File::open(&path).unwrap();

        keep(&path, token("new"));

        let former: Map<String, Value> = serde_json::from_reader(other).unwrap();
        assert!(CachedToken(former) == token("former"));
        assert!(current(&path).unwrap() == token("new"));
    }

    #[test]
    fn a_token_is_not_written_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (
            directory.path().join("token.json"),
            directory.path().join("other"),
        );
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();

        keep(&path, token("new"));

        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
        assert!(current(&path).unwrap() == token("new"));
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_token_that_cannot_be_written_is_used_until_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        // A file in a missing directory cannot be written, even by root.
        let parent = directory.path().join("cache");
        let path = parent.join("token.json");
        keep(&path, token("new"));
        std::fs::create_dir(&parent).unwrap();

        std::fs::write(&path, "").unwrap();
        assert!(current(&path).unwrap() == token("new"));
        assert!(current(&path).unwrap() == token("new"));

        std::fs::write(&path, "{\"accessToken\":\"login\",\"other\":1}").unwrap();
        assert!(current(&path).unwrap() == token("login"));
    }
}
