//! The caller: its credentials, and its identity by GetCallerIdentity of STS.

use std::time::SystemTime;

use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ssm::error::{BoxError, SdkError};
use aws_sdk_sts::Client;

use super::guard::guarded;
use super::machine::STS;
use super::refusal::{classify, find, unreached};
use super::{MAX_CALL, SsmClient};
use crate::printable::Printable;
use crate::session::error::{Error, sources};
use crate::session::stream_url::is_loopback_url;

impl SsmClient {
    /// Requests credentials. Returns when they expire, if they do.
    ///
    /// # Errors
    ///
    /// Fails if there are none.
    pub async fn credentials_expiry(&self) -> Result<Option<SystemTime>, Error> {
        let api_client = self.api_client().await?;
        Ok(api_client.credentials.expiry())
    }

    /// Returns the ARN of the caller. `None` if STS was not called, because the SSM API is on this
    /// machine and STS would not be.
    ///
    /// # Errors
    ///
    /// The error of GetCallerIdentity. Sessions do not need that call: only a rejection of the
    /// credentials concerns them too.
    pub async fn caller(&self) -> Result<Option<Printable>, Error> {
        let api_client = self.api_client().await?;
        let is_local = self.endpoints().await?.ssm.loopback_only;
        let config = aws_sdk_sts::config::Builder::from(&self.0.config)
            .credentials_provider(api_client.credentials.clone())
            .interceptor(OnlyLocal { is_local });
        let call = Client::from_conf(config.build())
            .get_caller_identity()
            .send();
        let error = match guarded(WHAT, MAX_CALL, call).await? {
            Ok(identity) => return Ok(Some(identity.arn.unwrap_or_default().into())),
            Err(error) => error,
        };
        if find::<NotLocal>(&error).is_some() {
            return Ok(None);
        }
        let settings = &self.0.settings;
        if let SdkError::ServiceError(_) | SdkError::ResponseError(_) = &error {
            return Err(classify(WHAT, self.region(), settings, &error));
        }
        let (kind, why) = unreached(STS, settings.proxy.as_ref(), &sources(&error));
        Err(Error::new(WHAT, kind, why))
    }
}

/// Keeps a call on this machine, if the SSM API is there too: a simulator must not lead to calls of
/// the real AWS.
#[derive(Debug)]
struct OnlyLocal {
    is_local: bool,
}

impl Intercept for OnlyLocal {
    fn name(&self) -> &'static str {
        "OnlyLocal"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match self.is_local && !is_loopback_url(context.request().uri()) {
            true => Err(NotLocal.into()),
            false => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the SSM API is on this machine, and this service is not")]
struct NotLocal;

const WHAT: &str = "GetCallerIdentity";
