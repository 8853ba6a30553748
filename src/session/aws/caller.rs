//! The caller: its credentials, and its identity by GetCallerIdentity of STS.

use std::time::SystemTime;

use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;

use super::call_counts::counted;
use super::guard::guarded;
use super::machine::STS;
use super::refusal::{classify, find, unreached};
use super::service_endpoint::{UrlNotAllowed, UrlRule};
use super::{MAX_CALL, SsmClient};
use crate::printable::Printable;
use crate::session::error::{Error, sources};

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
        let rule = match self.endpoints().await?.ssm.loopback_only {
            true => UrlRule::OnlyLoopback,
            false => UrlRule::RequireTls,
        };
        let config = aws_sdk_sts::config::Builder::from(&self.0.config)
            .credentials_provider(api_client.credentials.clone())
            .interceptor(rule);
        let call = Client::from_conf(config.build())
            .get_caller_identity()
            .send();
        let response = guarded(WHAT, MAX_CALL, call).await;
        let caller = response.and_then(|response| match response {
            Ok(identity) => Ok(Some(identity.arn.unwrap_or_default().into())),
            Err(error) => self.unidentified(&error),
        });
        match caller {
            // Nothing was called.
            Ok(None) => Ok(None),
            caller => counted(WHAT, caller),
        }
    }

    /// Returns the error of a failed call; `None` if it was kept on this machine.
    fn unidentified(
        &self,
        error: &SdkError<GetCallerIdentityError, HttpResponse>,
    ) -> Result<Option<Printable>, Error> {
        let not_allowed = find::<UrlNotAllowed>(error);
        if let Some(UrlNotAllowed::LeavesLoopback { .. }) = not_allowed {
            return Ok(None);
        }
        let settings = &self.0.settings;
        if let SdkError::ServiceError(_) | SdkError::ResponseError(_) = error {
            return Err(classify(WHAT, self.region(), settings, error));
        }
        let (kind, why) = unreached(STS, settings.proxy.as_ref(), &sources(error));
        Err(Error::new(WHAT, kind, why))
    }
}

const WHAT: &str = "GetCallerIdentity";
