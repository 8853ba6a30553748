//! AWS settings, and the SDK clients configured by them.
//!
//! A configured endpoint is used unchanged: `AWS_ENDPOINT_URL` does not override it, and loopback
//! addresses are not reached through a proxy. The SDK does not read proxy variables itself: all
//! connections use the proxy of these settings, or none. The credential providers call other
//! services and select their endpoints themselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::{self as ssm, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use tracing::warn;

use super::body_limit::limited;
use super::service_endpoint::{ServiceEndpoint, UrlRule};
use crate::network::{Proxy, platform_roots, read_ca_bundle};
use crate::session::error::{Error, ErrorKind, sources};

/// AWS settings of the configuration. The rest comes from AWS's environment variables and files.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// The profile in the AWS configuration files.
    pub profile: Option<String>,
    /// Whether only the credentials of this profile are accepted, whatever the environment
    /// contains.
    pub profile_first: bool,
    /// The ARN of a role to assume with these credentials.
    pub role: Option<String>,
    /// The endpoint of the SSM API.
    pub ssm_endpoint: Option<String>,
    /// The endpoint of the ECS API.
    pub ecs_endpoint: Option<String>,
    /// The endpoint of the API of EC2 Instance Connect.
    pub ec2_instance_connect_endpoint: Option<String>,
    /// The endpoint of all data channels, in place of that of the stream URL.
    pub ssmmessages_endpoint: Option<String>,
    /// CA certificates to trust in addition to the platform's, in PEM.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy for connections to AWS.
    pub proxy: Option<Proxy>,
    /// The source of the credentials.
    pub identity: Identity,
}

impl Settings {
    /// Returns the message for missing credentials.
    pub(super) fn searched_places(&self) -> String {
        match &self.profile {
            Some(profile) if self.profile_first => format!(
                "the profile {profile:?} has none, and a forward with its own `profile` uses no other source"
            ),
            Some(profile) => format!("{NONE}, and the profile {profile:?} has none"),
            None => NONE.to_owned(),
        }
    }
}

impl Settings {
    /// Returns the error of a credential provider that has not answered after `waited`.
    pub(super) fn slow_provider(&self, waited: Duration) -> Error {
        let profile = self.profile.as_deref().unwrap_or("default");
        let seconds = waited.as_secs_f32();
        let why = format!(
            "the credential provider of the profile {profile:?} has run for {seconds:.0} s and has \
             not answered; raise `connect_timeout` if it is only slow"
        );
        Error::new("credentials", ErrorKind::Credentials, why)
    }
}

/// The source of the credentials.
#[derive(Clone, Default)]
pub enum Identity {
    /// The SDK's chain of credential providers.
    #[default]
    Chain,
    /// Fixed keys, for a local AWS simulator.
    Fixed {
        /// The access key id.
        access_key: String,
        /// The secret access key.
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

/// The HTTP client of all calls. Shared by all requests for credentials and by clients created by
/// `SsmClient::with_settings`, because creating it reads the platform's CA certificates.
#[derive(Clone, Debug)]
pub(super) struct Transport(pub(super) SharedHttpClient);

impl Transport {
    /// Creates the HTTP client.
    ///
    /// # Errors
    ///
    /// Fails if the CA bundle or the proxy cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        #[cfg(test)]
        if crate::virtual_net::is_active() {
            return Ok(Self(super::virtual_http::client()));
        }
        let context = trusting(settings)?;
        let proxy = match &settings.proxy {
            Some(proxy) => ProxyConfig::https(proxy.expose())
                .map_err(|_| {
                    Error::new(
                        "proxy",
                        ErrorKind::Invalid,
                        format!("{proxy} is not a valid proxy URL"),
                    )
                })?
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
        Ok(Self(limited(client)))
    }
}

/// Returns an SSM client that signs with these credentials only.
pub(super) fn client(config: &SdkConfig, settings: &Settings, credentials: Credentials) -> Client {
    let mut builder = ssm::Builder::from(config)
        .credentials_provider(credentials)
        .interceptor(UrlRule::RequireTls);
    if let Some(endpoint) = &settings.ssm_endpoint {
        // The URL is complete: the SDK must not change it into a FIPS or dual-stack variant.
        builder = builder
            .endpoint_url(endpoint)
            .use_fips(false)
            .use_dual_stack(false);
    }
    Client::from_conf(builder.build())
}

/// Returns an ECS client that signs with these credentials only.
pub(super) fn ecs_client(
    config: &SdkConfig,
    settings: &Settings,
    credentials: Credentials,
) -> aws_sdk_ecs::Client {
    let (of_ssm, own) = (&settings.ssm_endpoint, &settings.ecs_endpoint);
    let endpoint = ServiceEndpoint::new(config, of_ssm.as_deref(), "ECS", own.as_deref());
    let mut builder = aws_sdk_ecs::config::Builder::from(config)
        .credentials_provider(credentials)
        .interceptor(endpoint.rule);
    if let Some(url) = endpoint.url {
        builder = builder
            .endpoint_url(url)
            .use_fips(false)
            .use_dual_stack(false);
    }
    aws_sdk_ecs::Client::from_conf(builder.build())
}

pub(super) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .build()
}

/// Returns the platform's CA certificates and those of the bundle. A machine without any is not an
/// internal error, as which the SDK's own client would treat it.
fn trusting(settings: &Settings) -> Result<TlsContext, Error> {
    // The SDK would read the platform's certificates once and lazily, and continue without them if
    // that failed.
    let of_platform = platform_roots().map_err(|error| {
        let why = sources(&error);
        Error::new(CERTIFICATES, ErrorKind::Shortage, why)
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
    context.map_err(|error| Error::new(CERTIFICATES, ErrorKind::Invalid, error.to_string()))
}

/// Warns that TLS cannot work without CA certificates. Logged once, however many clients are
/// loaded.
fn warn_of_no_roots(settings: &Settings) {
    static LOGGED: Once = Once::new();
    let endpoint = settings.ssm_endpoint.as_deref();
    if !endpoint.is_some_and(|url| url.starts_with("http://")) {
        LOGGED.call_once(|| {
            warn!(
                hint = "install the package ca-certificates, or set `ca_bundle` in [aws] to a file of CA certificates",
                "this machine has no CA certificates, so AWS cannot be called"
            );
        });
    }
}

fn read(ca_bundle: &Path) -> Result<Vec<u8>, Error> {
    read_ca_bundle(ca_bundle).map_err(|error| {
        let why = format!("cannot read {}: {error}", ca_bundle.display());
        Error::new(CERTIFICATES, ErrorKind::Invalid, why)
    })
}

/// Message for credentials that the SDK's chain did not find.
const NONE: &str = "none found in the environment, the AWS files or a role of this machine";

/// Timeout of a connection attempt to the API.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a call. StartSession takes one or two seconds; after this time no response will come.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

const CERTIFICATES: &str = "certificates for AWS";
