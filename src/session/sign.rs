//! The signed upgrade request for a stream URL.
//!
//! Every dial is signed anew with SigV4 for the service `ssmmessages`: GET, the URL with its
//! query, an empty body, and only `host` as signed header beside those that signing adds. A URL
//! that carries a signature in its query is left alone (protocol.md section 0.1).

#![expect(
    clippy::disallowed_methods,
    reason = "a signature carries the wall clock"
)]

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use tokio::sync::Mutex;
use tracing::debug;

use super::aws::{NotAssumed, find};
use super::endpoint::{StreamUrl, is_presigned};
use super::error::{Error, Kind, sources};
use crate::network::Endpoint;

/// Signs upgrades with the caller's credentials.
pub(super) struct Signer {
    region: String,
    provider: Option<SharedCredentialsProvider>,
    /// Where credentials were looked for, if there are none.
    looked_at: String,
    /// What the provider gave last. Held across the question, so that many dials ask once.
    last: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Signer {
    pub(super) fn new(
        region: String,
        provider: Option<SharedCredentialsProvider>,
        looked_at: String,
    ) -> Self {
        Self {
            region,
            provider,
            looked_at,
            last: Mutex::new(None),
        }
    }

    /// Signs the upgrade of a stream URL, as of now.
    ///
    /// # Errors
    ///
    /// If there are no credentials, or the signer refuses the URL.
    pub(super) async fn sign(&self, url: &StreamUrl) -> Result<Upgrade, Error> {
        let now = SystemTime::now();
        let text = url.text();
        let headers = match is_presigned(url.uri()) {
            true => Vec::new(),
            false => headers(&text, &self.region, self.credentials(now).await?, now)?,
        };
        Ok(Upgrade {
            endpoint: url.endpoint().clone(),
            url: text,
            headers,
        })
    }

    /// The SDK caches credentials for its own calls only, and some providers make a call or
    /// start a program for each answer.
    async fn credentials(&self, now: SystemTime) -> Result<Credentials, Error> {
        let mut last = self.last.lock().await;
        if let Some((credentials, since)) = &*last
            && is_fresh(credentials, *since, now)
        {
            return Ok(credentials.clone());
        }
        let provider = self
            .provider
            .as_ref()
            .ok_or_else(|| missing("none are configured"))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| no_credentials(&error, &self.looked_at))?;
        *last = Some((credentials.clone(), now));
        Ok(credentials)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.region)
    }
}

/// Why there are no credentials, in one line. `looked_at` says where none are.
pub(super) fn no_credentials(error: &CredentialsError, looked_at: &str) -> Error {
    if let Some(refused) = find::<NotAssumed>(error) {
        return Error::new(ROLE, refused.kind(), refused.to_string());
    }
    let tried = sources(error);
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        debug!(tried, "no credentials");
        return missing(looked_at);
    }
    missing(&tried)
}

fn missing(why: &str) -> Error {
    Error::new("credentials", Kind::Credentials, why)
}

fn unsignable(why: &dyn fmt::Display) -> Error {
    let why = format!("the stream URL of the session cannot be signed: {why}");
    Error::new("upgrade of the websocket", Kind::Invalid, why)
}

fn is_fresh(credentials: &Credentials, since: SystemTime, now: SystemTime) -> bool {
    let age = now.duration_since(since);
    let expires_late = |expiry: SystemTime| expiry > now + REUSE;
    age.is_ok_and(|age| age < REUSE) && credentials.expiry().is_none_or(expires_late)
}

/// An upgrade request, ready to send once. It carries a signature, so it does not print itself.
pub struct Upgrade {
    endpoint: Endpoint,
    /// The whole URL.
    pub url: String,
    /// Headers beside those of the websocket protocol, by name.
    pub headers: Vec<(String, String)>,
}

impl Upgrade {
    /// Where to send it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upgrade({})", self.endpoint)
    }
}

fn headers(
    url: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Result<Vec<(String, String)>, Error> {
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsignable(&error))?
        .into();
    // The signer takes the host from the URL and leaves out a default port, as HTTP does; it
    // knows the default ports of HTTP schemes only.
    let url = url.replacen("ws", "http", 1);
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| unsignable(&error))?;
    let signed = sign(request, &params).map_err(|error| unsignable(&error))?;
    let headers = signed.output().headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// How long credentials sign upgrades before the provider is asked again, and how long they must
/// still be good for.
const REUSE: Duration = Duration::from_secs(60);

/// The call that assumes a role.
const ROLE: &str = "AssumeRole";

/// The signing name of the message gateway.
const SERVICE: &str = "ssmmessages";

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new(
            "AKIDEXAMPLE",
            "not-a-secret",
            Some("a-token".to_owned()),
            None,
            "test",
        )
    }

    fn upgrade(url: &str) -> Upgrade {
        let url = StreamUrl::new(url, "eu-west-1").unwrap();
        let provider = SharedCredentialsProvider::new(credentials());
        let signer = Signer::new("eu-west-1".to_owned(), Some(provider), String::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(signer.sign(&url)).unwrap()
    }

    #[test]
    fn credentials_are_reused_for_a_minute_and_not_when_they_expire_soon() {
        let now = SystemTime::now();
        let expiring = |expiry| Credentials::new("a", "b", None, Some(expiry), "test");

        assert!(is_fresh(&credentials(), now, now + Duration::from_secs(59)));
        assert!(!is_fresh(
            &credentials(),
            now,
            now + Duration::from_secs(60)
        ));
        assert!(!is_fresh(
            &expiring(now + Duration::from_secs(59)),
            now,
            now
        ));
        assert!(is_fresh(
            &expiring(now + Duration::from_secs(600)),
            now,
            now
        ));
    }

    #[test]
    fn only_the_host_is_signed_beside_what_signing_adds() {
        let upgrade = upgrade("wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/a?b=c");

        let authorization = upgrade
            .headers
            .iter()
            .find(|(name, _)| name == "authorization");
        let value = &authorization.expect("it is signed").1;
        assert!(
            value.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{value}"
        );
        assert!(
            value.contains("/eu-west-1/ssmmessages/aws4_request"),
            "{value}"
        );
    }

    #[test]
    fn a_presigned_url_is_left_alone() {
        assert!(
            upgrade("ws://127.0.0.1:9/x?X-Amz-Signature=00")
                .headers
                .is_empty()
        );
    }

    #[test]
    fn an_upgrade_prints_no_secret() {
        let upgrade = upgrade("ws://127.0.0.1:9/x?role=a");

        assert_eq!(format!("{upgrade:?}"), "Upgrade(127.0.0.1:9)");
    }
}
