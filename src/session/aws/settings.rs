//! What is said about AWS, and the clients of the SDK that follow from it.
//!
//! An endpoint that a person wrote is called as it is: `AWS_ENDPOINT_URL` does not lead elsewhere, nor
//! does a proxy what is meant for this machine. The SDK reads no proxy from the environment by
//! itself: everything goes through the proxy of the settings, or through none. The providers of
//! credentials call other services, and find their own way there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{self as ssm, ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_ssm::error::BoxError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use tracing::warn;

use crate::network::{Proxy, platform_roots, read_ca_bundle};
use crate::session::error::{Error, Kind, sources};
use crate::session::stream_url::is_loopback_url;

/// What a person may say about AWS; the environment and its files say the rest.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// The profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Whether only the credentials of this profile will do, whatever the environment has.
    pub profile_first: bool,
    /// The ARN of a role to assume with these credentials.
    pub role: Option<String>,
    /// The endpoint of the SSM API.
    pub ssm_endpoint: Option<String>,
    /// Where data channels are dialled, in place of what the service names.
    pub ssmmessages_endpoint: Option<String>,
    /// Certificates to trust beside the platform's, in PEM.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy through which AWS is reached.
    pub proxy: Option<Proxy>,
    /// Who calls.
    pub identity: Identity,
}

impl Settings {
    /// What is said if there are no credentials.
    pub(super) fn looked_at(&self) -> String {
        match &self.profile {
            Some(profile) if self.profile_first => format!(
                "the profile {profile:?} has none, and a forward with a profile of its own uses no others"
            ),
            Some(profile) => format!("{NONE}, and the profile {profile:?} has none"),
            None => NONE.to_owned(),
        }
    }
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

/// What carries calls. Shared by all that look for credentials anew, and by services beside each
/// other: it has read the platform's roots.
#[derive(Clone, Debug)]
pub(super) struct Transport(pub(super) SharedHttpClient);

impl Transport {
    /// # Errors
    ///
    /// If the bundle of certificates, or the proxy, cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let context = trusting(settings)?;
        let proxy = match &settings.proxy {
            Some(proxy) => ProxyConfig::https(proxy.expose())
                .map_err(|_| Error::new("proxy", Kind::Invalid, format!("{proxy} is none")))?
                .no_proxy(proxy.no_proxy()),
            None => ProxyConfig::disabled(),
        };
        let client = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder().proxy_config(proxy.clone());
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .build()
        });
        Ok(Self(client))
    }
}

/// The client of the SSM API, which signs with these credentials and no others.
pub(super) fn client(config: &SdkConfig, settings: &Settings, credentials: Credentials) -> Client {
    let mut builder = ssm::Builder::from(config)
        .credentials_provider(credentials)
        .interceptor(RequireTls);
    if let Some(endpoint) = &settings.ssm_endpoint {
        // The URL says it all: a FIPS or dual-stack variant of it is not to be made up.
        builder = builder
            .endpoint_url(endpoint)
            .use_fips(false)
            .use_dual_stack(false);
    }
    Client::from_conf(builder.build())
}

pub(super) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .build()
}

/// The platform's certificates and those of a bundle. A machine without any is no fault of the
/// program, for which the SDK's own client would take it.
fn trusting(settings: &Settings) -> Result<TlsContext, Error> {
    // The SDK reads the platform's once and lazily, and would go on without them if it could not.
    let of_platform = platform_roots().map_err(|error| {
        let why = sources(&error);
        Error::new(CERTIFICATES, Kind::Shortage, why)
    })?;
    let has_roots = !of_platform.is_empty();
    let mut roots = TrustStore::empty();
    if has_roots {
        roots = roots.with_pem_certificate(of_platform);
    }
    match settings.ca_bundle.as_deref() {
        Some(bundle) => roots = roots.with_pem_certificate(read(bundle)?),
        None if !has_roots => warn_of_no_roots(settings),
        None => {}
    }
    let context = TlsContext::builder().with_trust_store(roots).build();
    context.map_err(|error| Error::new(CERTIFICATES, Kind::Invalid, error.to_string()))
}

/// Without TLS there is nobody to trust. Told once, however many services are loaded.
fn warn_of_no_roots(settings: &Settings) {
    static TOLD: Once = Once::new();
    let endpoint = settings.ssm_endpoint.as_deref();
    if !endpoint.is_some_and(|url| url.starts_with("http://")) {
        TOLD.call_once(|| {
            warn!(
                hint = "install the package ca-certificates, or name a file of certificates in `ca_bundle` of [aws]",
                "this machine trusts no certificate, so AWS cannot be called"
            );
        });
    }
}

fn read(ca_bundle: &Path) -> Result<Vec<u8>, Error> {
    read_ca_bundle(ca_bundle).map_err(|error| {
        let why = format!("cannot read {}: {error}", ca_bundle.display());
        Error::new(CERTIFICATES, Kind::Invalid, why)
    })
}

/// Lets no call leave this machine unencrypted, wherever its endpoint was found: an answer holds a
/// token.
#[derive(Debug)]
struct RequireTls;

impl Intercept for RequireTls {
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

/// Where the SDK's chain looks.
const NONE: &str = "there are none in the environment, the AWS files or a role of this machine";

/// An API that does not answer the telephone in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// StartSession takes a second or two; what has not answered by then will not.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

const CERTIFICATES: &str = "certificates for AWS";
