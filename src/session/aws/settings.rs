//! What is said about AWS, and the clients of the SDK that follow from it.
//!
//! An endpoint that a person wrote is called as it is: neither `AWS_ENDPOINT_URL` nor a proxy of the
//! environment leads elsewhere what is meant for this machine. The providers of credentials call
//! other services, and find their own way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{Builder, ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_ssm::error::BoxError;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use tracing::warn;

use crate::network::platform_has_roots;
use crate::session::endpoint::is_loopback_url;
use crate::session::error::{Error, Kind};

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

/// What carries calls. Shared by all that look for credentials anew: it has read the platform's
/// roots.
pub(super) struct Transport {
    /// `None`: the SDK's own, which takes proxies from the environment.
    client: Option<SharedHttpClient>,
    /// To an endpoint on this machine.
    direct: Option<SharedHttpClient>,
}

impl Transport {
    /// # Errors
    ///
    /// If the bundle of certificates cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let has_roots = platform_has_roots();
        let platform = TrustStore::default().with_native_roots(has_roots);
        let client = match settings.ca_bundle.as_deref() {
            Some(bundle) => {
                let roots = platform.clone().with_pem_certificate(read(bundle)?);
                Some(with_tls(roots))
            }
            None if has_roots => None,
            // The SDK's own client would take it for a fault of the program.
            None => {
                warn_of_no_roots(settings);
                Some(with_tls(platform.clone()))
            }
        };
        let is_here = settings
            .ssm_endpoint
            .as_deref()
            .is_some_and(is_loopback_url);
        let direct = is_here.then(|| client.clone().unwrap_or_else(|| with_tls(platform)));
        Ok(Self { client, direct })
    }

    /// The same, with the client that the SDK made if none was made here.
    pub(super) fn remembering(self, client: Option<SharedHttpClient>) -> Self {
        Self {
            client: self.client.or(client),
            ..self
        }
    }
}

/// The client of the SSM API.
pub(super) fn client(config: &SdkConfig, settings: &Settings, transport: &Transport) -> Client {
    let mut builder = Builder::from(config).interceptor(OnlyEncrypted);
    if let Some(endpoint) = &settings.ssm_endpoint {
        // The URL says it all: a FIPS or dual-stack variant of it is not to be made up.
        builder = builder
            .endpoint_url(endpoint)
            .use_fips(false)
            .use_dual_stack(false);
    }
    if let Some(direct) = &transport.direct {
        builder = builder.http_client(direct.clone());
    }
    Client::from_conf(builder.build())
}

/// Reads the usual AWS environment and files.
pub(super) async fn sdk_config(settings: &Settings, transport: &Transport) -> SdkConfig {
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
    if let Some(client) = &transport.client {
        loader = loader.http_client(client.clone());
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
    loader.load().await
}

/// Without TLS there is nobody to trust.
fn warn_of_no_roots(settings: &Settings) {
    let endpoint = settings.ssm_endpoint.as_deref();
    if !endpoint.is_some_and(|url| url.starts_with("http://")) {
        warn!(
            hint = "install the package ca-certificates, or name a file of certificates in `ca_bundle` of [aws]",
            "this machine trusts no certificate, so AWS cannot be called"
        );
    }
}

fn read(ca_bundle: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(ca_bundle).map_err(|error| {
        let why = format!("cannot read {}: {error}", ca_bundle.display());
        Error::new("certificates for AWS", Kind::Invalid, why)
    })
}

/// A client that takes no proxy from the environment.
fn with_tls(roots: TrustStore) -> SharedHttpClient {
    let context = TlsContext::builder().with_trust_store(roots).build();
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context.expect("any set of roots makes one"))
        .build_https()
}

/// Lets no call leave this machine unencrypted, wherever its endpoint was found: an answer holds a
/// token.
#[derive(Debug)]
struct OnlyEncrypted;

impl Intercept for OnlyEncrypted {
    fn name(&self) -> &'static str {
        "OnlyEncrypted"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let url = context.request().uri();
        if url.starts_with("https://") || is_loopback_url(url) {
            return Ok(());
        }
        let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
        Err(Unencrypted { host }.into())
    }
}

/// An endpoint without TLS that is not on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint {host} is not called: without TLS only loopback addresses are")]
pub(super) struct Unencrypted {
    host: String,
}

/// An API that does not answer the telephone in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// StartSession takes a second or two; what has not answered by then will not.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
