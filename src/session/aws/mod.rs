//! The SSM API, called with the AWS SDK.
//!
//! Credentials come from the SDK's own providers and are shared by all calls and signatures of a
//! client (`api_client`). If AWS rejects the credentials, the AWS configuration files are read
//! again and the call is repeated with other credentials, if there are any.
//!
//! The SDK's retries are disabled for SSM calls: StartSession is not idempotent, and callers know
//! better when to retry. The calls of credential providers are idempotent, and the SDK retries
//! them. Every call has a timeout, and a panic in the SDK is returned as an error.

mod api_client;
mod assume_role;
mod body_limit;
mod bundle;
mod call_counts;
mod caller;
mod calls;
mod cause;
mod cluster_tasks;
mod code_prompt;
mod database_token;
mod document;
mod effect;
mod endpoints;
mod files;
mod fixed;
mod guard;
mod instance_connect;
mod lifetime;
mod limits;
mod lookup;
mod machine;
mod managed_nodes;
mod mfa;
mod origin;
mod paging;
mod place;
mod process;
mod profile_place;
mod profiles;
mod refusal;
mod service_endpoint;
mod sessions;
mod settings;
mod source;
mod ssm_host;
mod sso;
mod start;
mod tag_lookup;
mod task_lookup;
mod values;
#[cfg(test)]
mod virtual_http;
#[cfg(test)]
pub mod virtual_provider;
mod web_identity;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use tokio::time::timeout_at;
use tracing::warn;

pub(super) use self::api_client::ApiClient;
use self::api_client::ApiClients;
pub use self::bundle::ProfileBundle;
pub use self::call_counts::{ApiCallCount, api_calls};
pub use self::cluster_tasks::ClusterTask;
pub use self::code_prompt::{allow_prompts, restore_terminal, unless_prompting};
pub use self::document::{DocumentInfo, ParameterInfo};
pub use self::endpoints::Endpoints;
use self::guard::guarded;
pub use self::lifetime::CredentialsInfo;
use self::limits::ClientLimits;
use self::lookup::LookupCache;
pub(super) use self::lookup::Resolved;
pub use self::managed_nodes::{ManagedNode, ManagedNodes, NodeFilter};
pub use self::process::kill_credential_processes;
pub use self::profile_place::ProfilePlace;
use self::settings::Transport;
pub use self::settings::{Identity, Settings};
use self::source::ConfiguredProvider;
pub use self::source::check_profile;
pub(super) use self::start::{Started, is_session_id};
use super::error::{Error, ErrorKind};
use super::sigv4::{Signature, Upgrade, presigned, signed};
use super::stream_url::{EndpointOverride, StreamUrl, StreamUrlError};
use super::{ChannelAccess, Token};

/// The SSM API of one region with one identity. Cheap to clone.
#[derive(Clone)]
pub struct SsmClient(Arc<Inner>);

impl SsmClient {
    /// Reads AWS's environment variables and files. Makes no API call and requests no credentials.
    ///
    /// # Errors
    ///
    /// Fails if no region is configured, or the CA bundle cannot be read.
    pub async fn load(settings: Settings) -> Result<Self, Error> {
        let transport = Transport::new(&settings)?;
        Self::from_transport(transport, settings).await
    }

    /// Creates another client with the same proxy. It shares the connections of this one if both
    /// have the same `ca_bundle`.
    ///
    /// # Errors
    ///
    /// As [`SsmClient::load`].
    pub async fn with_settings(&self, settings: Settings) -> Result<Self, Error> {
        let transport = match settings.ca_bundle == self.0.settings.ca_bundle {
            true => self.0.transport.clone(),
            false => Transport::new(&settings)?,
        };
        Self::from_transport(transport, settings).await
    }

    async fn from_transport(transport: Transport, settings: Settings) -> Result<Self, Error> {
        let endpoint_override = settings
            .ssmmessages_endpoint
            .as_deref()
            .map(EndpointOverride::new);
        let endpoint_override = endpoint_override.transpose().map_err(|error| {
            Error::new(
                "ssmmessages_endpoint",
                ErrorKind::InvalidEndpoint,
                error.to_string(),
            )
        })?;
        let source = ConfiguredProvider::load(&settings, &transport).await?;
        let region = source.region()?;
        Ok(Self(Arc::new(Inner {
            config: source.config.clone(),
            api_clients: ApiClients::new(settings.clone(), transport.clone(), source),
            transport,
            lookups: LookupCache::default(),
            limits: ClientLimits::new(),
            settings,
            region,
            endpoint_override,
        })))
    }

    /// Returns the region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Returns the limits on concurrent calls.
    pub(super) fn limits(&self) -> &ClientLimits {
        &self.0.limits
    }

    /// Returns the current credentials and their client, or waits for them. Can be cancelled.
    pub(super) async fn api_client(&self) -> Result<Arc<ApiClient>, Error> {
        self.0.api_clients.api_client().await
    }

    #[cfg(test)]
    pub(super) fn hang(&self) {
        self.0.api_clients.hang();
    }

    /// Waits for credentials until `deadline`. The request for them continues after that.
    pub(super) async fn await_credentials(&self, deadline: Instant) -> Result<(), Error> {
        self.api_client_until(deadline).await.map(drop)
    }

    /// As [`SsmClient::api_client`], but waits no longer than until `deadline`.
    async fn api_client_until(&self, deadline: Instant) -> Result<Arc<ApiClient>, Error> {
        match timeout_at(deadline.into(), self.api_client()).await {
            Ok(api_client) => api_client,
            Err(_) => {
                let waited = self.0.api_clients.pending_for();
                Err(self.0.settings.slow_provider(waited))
            }
        }
    }

    /// Returns other credentials after AWS has rejected those of `api_client` with `error`; `None`
    /// if there are no others. Can be cancelled.
    pub(super) async fn client_other_than(
        &self,
        api_client: &ApiClient,
        error: &Error,
    ) -> Option<Result<Arc<ApiClient>, Error>> {
        let api_clients = &self.0.api_clients;
        api_clients
            .other_than(&api_client.credentials, Some(error))
            .await
    }

    /// Calls ResumeSession once. A response without a token means that the session has ended
    /// (docs/protocol.md, section 1.1). Without a usable stream URL in the response, `previous` is
    /// used again.
    pub(super) async fn resume(
        &self,
        id: &str,
        previous: &StreamUrl,
    ) -> Result<ChannelAccess, Error> {
        let call = |client: Client| client.resume_session().session_id(id).send();
        let response = self.call(RESUME, call).await?;
        let token = response.token_value.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            let why = "the session has ended: it timed out, or was terminated";
            Error::new(RESUME, ErrorKind::SessionEnded, why)
        })?;
        let url = response.stream_url.filter(|url| !url.is_empty());
        let url = match url.map(|url| self.stream_url(&url)) {
            Some(Ok(url)) => url,
            Some(Err(error)) => {
                warn!(%error, "ResumeSession returned a stream URL that is not allowed; using the previous one");
                previous.clone()
            }
            None => previous.clone(),
        };
        let token = Token(token);
        Ok(ChannelAccess { url, token })
    }

    pub(super) fn access(
        &self,
        call: &'static str,
        url: Option<String>,
        token: Option<String>,
    ) -> Result<ChannelAccess, Error> {
        let url = url.ok_or_else(|| incomplete(call, "a stream URL"))?;
        let token = token.filter(|token| !token.is_empty());
        let token = Token(token.ok_or_else(|| incomplete(call, "a token"))?);
        let url = self.stream_url(&url);
        let url =
            url.map_err(|error| Error::new(call, ErrorKind::InvalidEndpoint, error.to_string()))?;
        Ok(ChannelAccess { url, token })
    }

    fn stream_url(&self, text: &str) -> Result<StreamUrl, StreamUrlError> {
        match &self.0.endpoint_override {
            Some(endpoint_override) => StreamUrl::at(endpoint_override, text),
            None => StreamUrl::new(text, self.region()),
        }
    }

    /// Calls TerminateSession once. Succeeds if the session has already ended.
    pub(super) async fn terminate(&self, id: &str) -> Result<(), Error> {
        let call = |client: Client| client.terminate_session().session_id(id).send();
        match self.call(TERMINATE, call).await {
            Err(error) if error.kind() == ErrorKind::SessionEnded => Ok(()),
            response => response.map(drop),
        }
    }

    /// Signs the upgrade request for a stream URL with the current time.
    pub(super) async fn upgrade(&self, url: &StreamUrl) -> Result<Upgrade, Error> {
        if let Some(upgrade) = presigned(url) {
            return Ok(upgrade);
        }
        let api_client = self.api_client().await?;
        self.sign(url, &api_client).await
    }

    /// Signs the upgrade request for a stream URL with credentials other than those of `refused`.
    /// Returns `None` if the AWS configuration files have no others.
    pub(super) async fn upgrade_again(
        &self,
        url: &StreamUrl,
        refused: &Signature,
    ) -> Result<Option<Upgrade>, Error> {
        match self.0.api_clients.other_than(&refused.0, None).await {
            Some(other) => self.sign(url, &*other?).await.map(Some),
            None => Ok(None),
        }
    }

    async fn sign(&self, url: &StreamUrl, api_client: &ApiClient) -> Result<Upgrade, Error> {
        let signed = async { signed(url, self.region(), api_client.credentials.clone()) };
        guarded("signature", MAX_CALL, signed).await?
    }

    /// Makes the next call check whether the AWS configuration files have changed. Active sessions
    /// are not affected.
    pub fn invalidate_credential_files(&self) {
        self.0.api_clients.invalidate_files();
    }

    /// Makes the next call request credentials at once, without a pause. A request in progress is
    /// cancelled and repeated.
    pub fn retry_now(&self) {
        self.0.api_clients.retry_now();
    }
}

impl fmt::Debug for SsmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.0.region)
    }
}

struct Inner {
    api_clients: ApiClients,
    /// The SDK configuration without credentials, as it was read first.
    config: SdkConfig,
    transport: Transport,
    lookups: LookupCache,
    limits: ClientLimits,
    settings: Settings,
    region: String,
    /// Endpoint of all data channels, in place of that of the stream URL.
    endpoint_override: Option<EndpointOverride>,
}

fn incomplete(call: &'static str, missing: &str) -> Error {
    Error::new(
        call,
        ErrorKind::ServiceFault,
        format!("the response lacks {missing}"),
    )
}

const RESUME: &str = "ResumeSession";
const TERMINATE: &str = "TerminateSession";

/// Timeout of a call, on top of the SDK's timeouts.
const MAX_CALL: Duration = Duration::from_secs(40);

/// Default name of a role session. It must be the same for each call and process: under AWS's
/// example policies, a session can be resumed and terminated only by the role session that started
/// it.
const SESSION_NAME: &str = "ssm-proxyd";
