//! Classification of the AWS SDK's errors.

use std::io;

use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use http_body_util::LengthLimitError;

use super::body_limit::{EmptyResponse, MAX_BODY, is_marked};
use super::service_endpoint::UrlNotAllowed;
use super::settings::{CALL_TIMEOUT, Settings};
use crate::error_class::ErrorClass;
use crate::network::{Proxy, shortage};
use crate::session::error::{Error, ErrorKind, PUSH_KEY, is_of_ecs, sources};

/// Returns the class and message of an error of the SDK. The only place where these errors are
/// classified.
pub(super) fn classify<E>(
    what: &'static str,
    region: &str,
    settings: &Settings,
    error: &SdkError<E, HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let api = match what {
        PUSH_KEY => format!("EC2 Instance Connect in {region}"),
        what if is_of_ecs(what) => format!("the ECS API of {region}"),
        _ => format!("the SSM API of {region}"),
    };
    match error {
        SdkError::ServiceError(context) => {
            let service_error = context.err();
            let Some(code) = service_error.code() else {
                return not_from_aws(what, context.raw());
            };
            let message = service_error.message().unwrap_or_default();
            let why = format!("{code}: {message}");
            let (kind, class) = match is_of_ecs(what) {
                true => of_ecs(code),
                false => (kind_of(code), None),
            };
            let error = Error::new(what, kind, why.trim_end_matches(": "));
            match class.or_else(|| class_of(code, message)) {
                Some(class) => error.with_class(class),
                None => error,
            }
        }
        SdkError::TimeoutError(_) => {
            let seconds = CALL_TIMEOUT.as_secs();
            let why = format!("no response from {api} within {seconds} s");
            Error::new(
                what,
                ErrorKind::Unreachable,
                with_proxy(why, settings.proxy.as_ref()),
            )
        }
        SdkError::ResponseError(_) if find::<LengthLimitError>(error).is_some() => {
            let most = MAX_BODY / 1024 / 1024;
            let why = format!("a response of more than {most} MiB, which is not from AWS");
            Error::new(what, ErrorKind::NotAws, why)
        }
        SdkError::ResponseError(context) => not_from_aws(what, context.raw()),
        // The enum is non-exhaustive: without a response, AWS counts as not reached.
        other @ (SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) | _) => {
            if let Some(not_allowed) = find::<UrlNotAllowed>(other) {
                return Error::new(what, ErrorKind::InvalidEndpoint, not_allowed.to_string());
            }
            if let Some(empty) = find::<EmptyResponse>(other) {
                return Error::new(what, ErrorKind::NotAws, empty.to_string());
            }
            if let Some(shortage) = shortage_behind(other) {
                let why = format!("cannot reach {api}: {shortage}");
                return Error::new(what, ErrorKind::Shortage, why);
            }
            let (kind, why) = unreached(&api, settings.proxy.as_ref(), &sources(other));
            Error::new(what, kind, why)
        }
    }
}

/// Returns class and message for a service that was not reached. `sources` is the error of the HTTP
/// client.
pub(super) fn unreached(
    service: &str,
    proxy: Option<&Proxy>,
    sources: &str,
) -> (ErrorKind, String) {
    match proxy {
        Some(proxy) if sources.contains(TUNNEL_ERROR) => {
            let status = match sources.contains(UNAUTHORIZED) {
                true => " (HTTP 407)",
                false => "",
            };
            let why =
                format!("cannot connect through the proxy {proxy} to {service}: {sources}{status}");
            (ErrorKind::Proxy, why)
        }
        _ => {
            let why = format!("cannot reach {service}: {sources}");
            (ErrorKind::Unreachable, with_proxy(why, proxy))
        }
    }
}

/// Adds the proxy to the failure of a connection, as it may be the cause.
fn with_proxy(why: String, proxy: Option<&Proxy>) -> String {
    match proxy {
        Some(proxy) => format!("{why}; the proxy, except for hosts in NO_PROXY, is {proxy}"),
        None => why,
    }
}

/// Returns the resource that this process or machine has run out of, if that is why nothing was
/// reached.
fn shortage_behind(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let named = find::<io::Error>(error).filter(|error| shortage::hint(error).is_some());
    match named {
        Some(error) => error.raw_os_error().map(io::Error::from_raw_os_error),
        // A failed DNS lookup for lack of a file descriptor is reported as an unknown name.
        None => shortage::current(),
    }
}

/// Returns the error of a response that is not from the API but, for example, a proxy, a captive
/// portal or an error page.
fn not_from_aws(what: &'static str, response: &HttpResponse) -> Error {
    let status = response.status().as_u16();
    // The body of a successful response may contain a token.
    let body = response.body().bytes().filter(|_| status >= 300);
    let body = body.unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED)]);
    let quoted = match body.trim() {
        "" => String::new(),
        words => format!(": {words}"),
    };
    let why = format!("HTTP {status}, not a response from AWS{quoted}");
    let kind = match status {
        429 => ErrorKind::Throttled,
        300..=499 => ErrorKind::NotAws,
        200..=299 if !is_marked(response) => ErrorKind::NotAws,
        _ => ErrorKind::ServiceFault,
    };
    Error::new(what, kind, why)
}

/// Classifies error codes, those of the operations and the common ones (docs/protocol.md, section
/// 1.2).
pub(super) fn kind_of(code: &str) -> ErrorKind {
    match code {
        "TargetNotConnected"
        | "EC2InstanceNotFoundException"
        | "EC2InstanceStateInvalidException"
        | "EC2InstanceUnavailableException" => ErrorKind::TargetNotConnected,
        "InvalidDocument" | "InvalidDocumentVersion" | "InvalidParameters" => ErrorKind::Document,
        "AccessDeniedException"
        | "AccessDenied"
        | "AuthException"
        | "NotAuthorized"
        | "OptInRequired" => ErrorKind::Denied,
        "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottledException"
        | "RequestThrottled"
        | "SlowDown" => ErrorKind::Throttled,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => ErrorKind::Credentials,
        "ValidationException"
        | "ValidationError"
        | "InvalidArgsException"
        | "InvalidTarget"
        | "InvalidFilterKey"
        | "InvalidInstanceInformationFilterValue" => ErrorKind::Invalid,
        "DoesNotExistException" => ErrorKind::SessionEnded,
        _ => ErrorKind::ServiceFault,
    }
}

/// Returns the kind of an error code of ECS, and its class, if it is known more exactly.
fn of_ecs(code: &str) -> (ErrorKind, Option<ErrorClass>) {
    match code {
        "ClusterNotFoundException" | "ServiceNotFoundException" => {
            let class = ErrorClass::TaskNotRunning;
            (ErrorKind::TargetNotConnected, Some(class))
        }
        "ClientException" | "InvalidParameterException" => (ErrorKind::Invalid, None),
        _ => (kind_of(code), None),
    }
}

/// Returns the class of an error code, if it is known more exactly than by its kind.
pub(super) fn class_of(code: &str, message: &str) -> Option<ErrorClass> {
    match code {
        "InvalidParameters" => Some(ErrorClass::DocumentParameters),
        "ExpiredTokenException" | "ExpiredToken" => Some(ErrorClass::CredentialsExpired),
        "RequestExpired" | "RequestTimeTooSkewed" => Some(ErrorClass::ClockSkew),
        "InvalidSignatureException" | "SignatureDoesNotMatch"
            if CLOCK.iter().any(|words| message.contains(words)) =>
        {
            Some(ErrorClass::ClockSkew)
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Some(ErrorClass::CredentialsRejected),
        "ServiceQuotaExceededException" | "LimitExceededException" => {
            Some(ErrorClass::SessionQuota)
        }
        _ => None,
    }
}

/// AWS's messages for a signature whose date is too early or too late.
const CLOCK: [&str; 2] = ["Signature expired", "Signature not yet current"];

/// Returns the first error of type `T` in a chain of sources.
pub(super) fn find<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The message of the SDK's HTTP client if a proxy did not open the tunnel.
const TUNNEL_ERROR: &str = "tunnel error: ";

/// The same if the proxy requires a user and a password, or others.
pub(super) const UNAUTHORIZED: &str = "tunnel error: proxy authorization required";

/// Maximum number of bytes quoted from a response that is not from the API.
const MAX_QUOTED: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_protocol_have_their_class() {
        for (code, kind) in [
            ("TargetNotConnected", ErrorKind::TargetNotConnected),
            ("InvalidDocument", ErrorKind::Document),
            ("AccessDeniedException", ErrorKind::Denied),
            ("ThrottlingException", ErrorKind::Throttled),
            ("ExpiredTokenException", ErrorKind::Credentials),
            ("ValidationException", ErrorKind::Invalid),
            ("DoesNotExistException", ErrorKind::SessionEnded),
            ("InternalServerError", ErrorKind::ServiceFault),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn the_codes_of_ecs_have_their_kind() {
        for (code, kind) in [
            ("ClusterNotFoundException", ErrorKind::TargetNotConnected),
            ("ServiceNotFoundException", ErrorKind::TargetNotConnected),
            ("InvalidParameterException", ErrorKind::Invalid),
            ("AccessDeniedException", ErrorKind::Denied),
            ("ThrottlingException", ErrorKind::Throttled),
            ("ServerException", ErrorKind::ServiceFault),
        ] {
            assert_eq!(of_ecs(code).0, kind, "{code}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_from_wrong_keys_by_the_message() {
        let early = "Signature not yet current: 20261128T120000Z is still later than …";
        for (code, message, class) in [
            ("InvalidSignatureException", early, ErrorClass::ClockSkew),
            (
                "SignatureDoesNotMatch",
                "Signature expired: 20261128T100000Z is now earlier than …",
                ErrorClass::ClockSkew,
            ),
            (
                "InvalidSignatureException",
                "The request signature we calculated does not match …",
                ErrorClass::CredentialsRejected,
            ),
            ("ExpiredTokenException", "", ErrorClass::CredentialsExpired),
            ("InvalidParameters", "", ErrorClass::DocumentParameters),
        ] {
            assert_eq!(class_of(code, message), Some(class), "{code}: {message}");
        }
        assert_eq!(class_of("AccessDeniedException", ""), None);
    }
}
