//! Whether a failed call may have taken effect.
//!
//! StartSession is not idempotent: a call that was sent but not answered may have started a session
//! whose id is unknown.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ssm::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ssm::error::{BoxError, ConnectorError, ProvideErrorMetadata, SdkError};

use super::refusal::{UNAUTHORIZED, find};
use super::service_endpoint::UrlNotAllowed;
use crate::network::shortage;
use crate::session::error::{Effect, Transience, sources};

/// Records that a signed request was passed to the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Transmission(Arc<AtomicBool>);

impl Transmission {
    /// Returns the effect of a call that ended by a timeout or panic.
    pub(super) fn effect_of_cut(&self) -> Effect {
        match self.0.load(Relaxed) {
            true => Effect::Unknown,
            false => Effect::NotSent,
        }
    }

    /// Returns the effect of a failed call.
    pub(super) fn effect<E>(&self, error: &SdkError<E, HttpResponse>) -> Effect
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(context) if context.err().code().is_some() => Effect::Answered,
            SdkError::ServiceError(context) => of_status(context.raw()),
            SdkError::ResponseError(context) => of_status(context.raw()),
            SdkError::ConstructionFailure(_) => Effect::NotSent,
            // The enum is non-exhaustive: a request that may have been sent counts as sent.
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | _ => {
                match self.0.load(Relaxed) && !is_of_connecting(error) {
                    true => Effect::Unknown,
                    false => Effect::NotSent,
                }
            }
        }
    }
}

impl Intercept for Transmission {
    fn name(&self) -> &'static str {
        "Transmission"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Relaxed);
        Ok(())
    }
}

/// Returns whether a failed call may succeed shortly. Not the case for an untrusted certificate, a
/// rejection by a proxy, or a lack of file descriptors.
pub(super) fn transience<E>(error: &SdkError<E, HttpResponse>) -> Transience
where
    E: std::error::Error + 'static,
{
    let status = error.raw_response().map(|response| response.status());
    match status.map(|status| status.as_u16()) {
        Some(500 | 503) => Transience::Fault,
        Some(_) => Transience::None,
        None if is_of_connecting(error) && !is_lasting(error) => Transience::Unreached,
        None => Transience::None,
    }
}

/// Returns whether a failed request for credentials may succeed shortly: it did not reach its
/// service.
pub(super) fn transience_of_credentials(error: &CredentialsError) -> Transience {
    match find::<ConnectorError>(error) {
        Some(connector) if !is_lasting(connector) => Transience::Unreached,
        Some(_) | None => Transience::None,
    }
}

/// Returns whether the cause of a failed connection lasts until something is changed.
fn is_lasting(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_short = find::<io::Error>(error).is_some_and(|error| shortage::hint(error).is_some());
    let text = sources(error);
    let is_named = LASTING.iter().any(|cause| text.contains(cause));
    is_short || is_named || find::<UrlNotAllowed>(error).is_some()
}

/// Parts of the HTTP client's messages about certificates, and about proxies that refuse. A proxy
/// that cannot be reached may only be starting.
const LASTING: [&str; 3] = ["certificate", UNAUTHORIZED, "tunnel error: unsuccessful"];

/// Returns the effect of a call whose response has no AWS error code. The call was forwarded if the
/// status is a success, or says that a gateway received no response.
fn of_status(response: &HttpResponse) -> Effect {
    match response.status().as_u16() {
        200..=299 | 502 | 504 => Effect::Unknown,
        _ => Effect::NotSent,
    }
}

/// Returns whether no connection was made, or none was allowed.
fn is_of_connecting(error: &(dyn std::error::Error + 'static)) -> bool {
    if find::<UrlNotAllowed>(error).is_some() {
        return true;
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string() == CONNECT_ERROR {
            return true;
        }
        next = error.source();
    }
    false
}

/// The message of the SDK's HTTP client if no connection was made.
const CONNECT_ERROR: &str = "client error (Connect)";
