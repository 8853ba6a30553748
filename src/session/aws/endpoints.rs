//! The endpoints of the SSM API and of Session Manager that a client uses.

use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ssm::error::BoxError;

use super::guard::guarded;
use super::settings::Settings;
use super::ssm_host::ssm_host;
use super::{MAX_CALL, SsmClient, settings};
use crate::network::Endpoint;
use crate::session::error::{Error, ErrorKind, sources};
use crate::session::stream_url::endpoint_of_url;

/// The endpoints of a client.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The SSM API.
    pub ssm: Endpoint,
    /// The data channels. `None`: only the stream URL of a session says it, because the SSM API is
    /// on this machine.
    pub ssmmessages: Option<Endpoint>,
}

impl SsmClient {
    /// Returns the endpoints, as the SDK selects them. Makes no call.
    ///
    /// # Errors
    ///
    /// Fails if the SDK has no endpoint for the region, or it is not allowed.
    pub async fn endpoints(&self) -> Result<Endpoints, Error> {
        let url = self.endpoint_url().await?;
        let ssm = endpoint_of_url(&url).ok_or_else(|| {
            let why = format!("cannot use the endpoint {url}");
            Error::new(WHAT, ErrorKind::InvalidEndpoint, why)
        })?;
        let configured = self.0.endpoint_override.as_ref();
        let configured = configured.map(|configured| configured.endpoint().clone());
        let ssmmessages = configured.or_else(|| match ssm.loopback_only {
            true => None,
            false => self.public_channel(),
        });
        Ok(Endpoints { ssm, ssmmessages })
    }

    /// Returns the profile and the role of the settings.
    pub fn profile_and_role(&self) -> (Option<&str>, Option<&str>) {
        let Settings { profile, role, .. } = &self.0.settings;
        (profile.as_deref(), role.as_deref())
    }

    /// Returns the public endpoint of data channels, which has the suffix of that of the SSM API.
    fn public_channel(&self) -> Option<Endpoint> {
        let host = ssm_host(&self.0.config, None, None)?;
        Some(Endpoint {
            host: format!("ssmmessages.{}", host.strip_prefix("ssm.")?),
            port: 443,
            tls: true,
            loopback_only: false,
        })
    }

    /// Returns the URL to which calls are sent: that of a call which is stopped before it is sent.
    async fn endpoint_url(&self) -> Result<String, Error> {
        let captured = CapturedUrl::default();
        let nobody = Credentials::new("none", "none", None, None, "endpoint");
        let client = settings::client(&self.0.config, &self.0.settings, nobody);
        let call = client.describe_instance_information().customize();
        let call = call.interceptor(captured.clone()).send();
        let error = guarded(WHAT, MAX_CALL, call).await?.err();
        let url = captured.0.lock().unwrap_or_else(PoisonError::into_inner);
        url.clone().ok_or_else(|| {
            let why = error.map_or_else(String::new, |error| sources(&error));
            Error::new(WHAT, ErrorKind::InvalidEndpoint, why)
        })
    }
}

/// Records the URL of a call, and stops the call.
#[derive(Clone, Debug, Default)]
struct CapturedUrl(Arc<Mutex<Option<String>>>);

impl Intercept for CapturedUrl {
    fn name(&self) -> &'static str {
        "CapturedUrl"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut url = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *url = Some(context.request().uri().to_owned());
        Err("this call only asks for its endpoint".into())
    }
}

const WHAT: &str = "endpoint of the SSM API";
