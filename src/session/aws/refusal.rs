//! What the errors of the AWS SDK mean.

use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};

use super::CALL_TIMEOUT;
use crate::session::error::{Error, Kind, sources};
use crate::session::sign::no_credentials;

/// Every error of the SDK is put into one of a few classes, here and nowhere else.
pub(super) fn classify<E, R>(what: &'static str, region: &str, error: &SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let service = context.err();
            let code = service.code().unwrap_or("an error without a code");
            let message = service.message().unwrap_or_default();
            let why = format!("{code}: {message}");
            Error::new(what, kind_of(code), why.trim_end_matches(": "))
        }
        SdkError::TimeoutError(_) => {
            let seconds = CALL_TIMEOUT.as_secs();
            let why = format!("no answer from the SSM API of {region} within {seconds} s");
            Error::new(what, Kind::Unreachable, why)
        }
        SdkError::ResponseError(_) => Error::new(what, Kind::ServiceFault, sources(error)),
        // The list is not ours to close: what was not answered was not reached.
        other @ (SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) | _) => {
            if let Some(credentials) = credentials_error(other) {
                return no_credentials(credentials);
            }
            let why = format!("cannot reach the SSM API of {region}: {}", sources(other));
            Error::new(what, Kind::Unreachable, why)
        }
    }
}

/// Codes of the operations' own errors and of the generic ones (protocol.md section 1.2).
fn kind_of(code: &str) -> Kind {
    match code {
        "TargetNotConnected" => Kind::TargetNotConnected,
        "InvalidDocument" | "InvalidDocumentVersion" | "InvalidParameters" => Kind::Document,
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => {
            Kind::Denied
        }
        "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottledException"
        | "RequestThrottled"
        | "SlowDown" => Kind::Throttled,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Kind::Credentials,
        "ValidationException" | "ValidationError" | "InvalidTarget" => Kind::Invalid,
        "DoesNotExistException" => Kind::Ended,
        _ => Kind::ServiceFault,
    }
}

fn credentials_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_protocol_have_their_class() {
        for (code, kind) in [
            ("TargetNotConnected", Kind::TargetNotConnected),
            ("InvalidDocument", Kind::Document),
            ("AccessDeniedException", Kind::Denied),
            ("ThrottlingException", Kind::Throttled),
            ("ExpiredTokenException", Kind::Credentials),
            ("ValidationException", Kind::Invalid),
            ("DoesNotExistException", Kind::Ended),
            ("InternalServerError", Kind::ServiceFault),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
