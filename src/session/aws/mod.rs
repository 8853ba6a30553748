//! The SSM API by the AWS SDK.
//!
//! Credentials come from the SDK's own chain. The SDK's retries are off: StartSession is not
//! idempotent, and whoever calls knows better when to try again.

mod refusal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::SharedHttpClient;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use tracing::warn;

use self::refusal::classify;
use super::endpoint::StreamUrl;
use super::error::{Error, Kind};
use super::sign::{Signer, Upgrade};
use super::{Access, StartRequest, Token};

/// The SSM API of one region, as one caller. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

impl Service {
    /// Reads the usual AWS environment and files. No call is made and no credential is asked for.
    ///
    /// # Errors
    ///
    /// If no region is configured anywhere, or the bundle of certificates cannot be read.
    pub async fn load(settings: Settings) -> Result<Self, Error> {
        let config = sdk_config(&settings, None).await?;
        let region = config.region().map(Region::to_string).ok_or_else(|| {
            let why = "neither [aws], the environment nor the profile says which one";
            Error::new("no region", Kind::Region, why)
        })?;
        Ok(Self(Arc::new(Inner {
            caller: Mutex::new(Some(Arc::new(Caller::new(&config, &region)))),
            http_client: config.http_client(),
            settings,
            region,
        })))
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Calls StartSession, once.
    pub(super) async fn start(&self, request: &StartRequest) -> Result<(String, Access), Error> {
        let mut call = self.caller().await?.client.start_session();
        for (name, value) in &request.parameters {
            call = call.parameters(*name, vec![value.clone()]);
        }
        let answer = call
            .target(&request.target)
            .document_name(&request.document)
            .reason(&request.reason)
            .send()
            .await;
        let answer = self.classified(START, answer)?;
        let id = answer
            .session_id
            .ok_or_else(|| incomplete(START, "a session id"))?;
        match self.access(START, answer.stream_url, answer.token_value) {
            Ok(access) => Ok((id, access)),
            Err(error) => {
                // It was started, whatever is wrong with the rest of the answer.
                let ended = self.terminate(&id).await;
                Err(ended.err().unwrap_or(error))
            }
        }
    }

    /// Calls ResumeSession, once. An answer without a token means that the session is over
    /// (protocol.md section 1.1); `former` is dialled again if it brings no other URL.
    pub(super) async fn resume(&self, id: &str, former: &StreamUrl) -> Result<Access, Error> {
        let call = self.caller().await?.client.resume_session();
        let call = call.session_id(id);
        let answer = self.classified(RESUME, call.send().await)?;
        let token = answer.token_value.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            let why = "the session is over: it timed out, or was terminated";
            Error::new(RESUME, Kind::Ended, why)
        })?;
        let url = answer.stream_url.filter(|url| !url.is_empty());
        let url = match url.map(|url| StreamUrl::new(&url, self.region())) {
            Some(Ok(url)) => url,
            Some(Err(error)) => {
                warn!(%error, "ResumeSession gave a stream URL that is not dialled; the former one is");
                former.clone()
            }
            None => former.clone(),
        };
        let token = Token(token);
        Ok(Access { url, token })
    }

    fn access(
        &self,
        call: &'static str,
        url: Option<String>,
        token: Option<String>,
    ) -> Result<Access, Error> {
        let url = url.ok_or_else(|| incomplete(call, "a stream URL"))?;
        let token = token.filter(|token| !token.is_empty());
        let token = Token(token.ok_or_else(|| incomplete(call, "a token"))?);
        let url = StreamUrl::new(&url, self.region())
            .map_err(|error| Error::new(call, Kind::ServiceFault, error.to_string()))?;
        Ok(Access { url, token })
    }

    /// Calls TerminateSession, once. Ending an ended session is no error.
    pub(super) async fn terminate(&self, id: &str) -> Result<(), Error> {
        let call = self.caller().await?.client.terminate_session();
        let call = call.session_id(id);
        match call.send().await {
            Err(error) if code(&error) == Some("DoesNotExistException") => Ok(()),
            answer => self.classified(TERMINATE, answer).map(drop),
        }
    }

    /// Signs the upgrade of a stream URL, as of now.
    pub(super) async fn upgrade(&self, url: &StreamUrl) -> Result<Upgrade, Error> {
        let signed = self.caller().await?.signer.sign(url).await;
        signed.inspect_err(|error| self.forget(error))
    }

    /// Looks for credentials anew if the last ones were of no use.
    async fn caller(&self) -> Result<Arc<Caller>, Error> {
        let inner = &self.0;
        let known = inner.caller().clone();
        if let Some(caller) = known {
            return Ok(caller);
        }
        let config = sdk_config(&inner.settings, inner.http_client.clone()).await?;
        let caller = Arc::new(Caller::new(&config, &inner.region));
        *inner.caller() = Some(Arc::clone(&caller));
        Ok(caller)
    }

    fn classified<T, E, R>(
        &self,
        call: &'static str,
        answer: Result<T, SdkError<E, R>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug + 'static,
    {
        let answer = answer.map_err(|error| classify(call, self.region(), &error));
        answer.inspect_err(|error| self.forget(error))
    }

    /// After credentials were missing or refused, the next call looks for others: the SDK
    /// remembers for ever what it has read in files.
    fn forget(&self, error: &Error) {
        if matches!(error.kind(), Kind::Credentials | Kind::Denied) {
            self.forget_credentials();
        }
    }

    /// The next call looks for credentials anew.
    pub(super) fn forget_credentials(&self) {
        *self.0.caller() = None;
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.0.region)
    }
}

struct Inner {
    caller: Mutex<Option<Arc<Caller>>>,
    /// Shared by all callers: it has read the platform's roots.
    http_client: Option<SharedHttpClient>,
    settings: Settings,
    region: String,
}

impl Inner {
    fn caller(&self) -> MutexGuard<'_, Option<Arc<Caller>>> {
        self.caller.lock().expect("no holder of this lock panics")
    }
}

/// Calls and signs with what was found of credentials at one time.
struct Caller {
    client: Client,
    signer: Signer,
}

impl Caller {
    fn new(config: &SdkConfig, region: &str) -> Self {
        Self {
            client: Client::new(config),
            signer: Signer::new(region.to_owned(), config.credentials_provider()),
        }
    }
}

/// What a person may say about AWS; the environment and its files say the rest.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// The profile of the AWS configuration files.
    pub profile: Option<String>,
    /// The endpoint of the SSM API.
    pub ssm_endpoint: Option<String>,
    /// Certificates to trust beside the platform's, in PEM.
    pub ca_bundle: Option<PathBuf>,
    /// Who calls.
    pub identity: Identity,
}

/// Who calls.
#[derive(Clone, Default)]
pub enum Identity {
    /// Whoever the SDK's own chain of providers finds.
    #[default]
    Chain,
    /// Somebody in particular, for a stand-in of AWS on this machine.
    Fixed {
        /// The id of the access key.
        access_key: String,
        /// Its secret.
        secret_key: String,
    },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            Self::Fixed { access_key, .. } => write!(f, "Fixed({access_key})"),
        }
    }
}

async fn sdk_config(
    settings: &Settings,
    http_client: Option<SharedHttpClient>,
) -> Result<SdkConfig, Error> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(client) = http_client {
        loader = loader.http_client(client);
    } else if let Some(path) = &settings.ca_bundle {
        loader = loader.http_client(https_client(path)?);
    }
    if let Identity::Fixed {
        access_key,
        secret_key,
    } = &settings.identity
    {
        loader = loader.credentials_provider(Credentials::new(
            access_key, secret_key, None, None, "fixed",
        ));
    }
    let config = loader.load().await;
    Ok(match &settings.ssm_endpoint {
        // Set for this client alone: the providers of credentials call other services.
        Some(endpoint) => config.into_builder().endpoint_url(endpoint).build(),
        None => config,
    })
}

fn https_client(ca_bundle: &Path) -> Result<SharedHttpClient, Error> {
    const WHAT: &str = "certificates for AWS";
    let pem = std::fs::read(ca_bundle).map_err(|error| {
        Error::new(
            WHAT,
            Kind::Invalid,
            format!("cannot read {}: {error}", ca_bundle.display()),
        )
    })?;
    let roots = TrustStore::default().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(roots).build();
    let context = context.map_err(|error| Error::new(WHAT, Kind::Invalid, error.to_string()))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

fn incomplete(call: &'static str, missing: &str) -> Error {
    Error::new(
        call,
        Kind::ServiceFault,
        format!("the answer lacks {missing}"),
    )
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

const START: &str = "StartSession";
const RESUME: &str = "ResumeSession";
const TERMINATE: &str = "TerminateSession";

/// An API that does not answer the telephone in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// StartSession takes a second or two; what has not answered by then will not.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
