//! Checks of the stream URL of a session before it is used.
//!
//! The URL comes from AWS, but signed requests and tokens are sent to it. It is accepted only if
//! its host is a Session Manager endpoint of the session's region or a loopback address, and
//! without TLS only for loopback (docs/interfaces.md, section 3; docs/protocol.md, sections 0.1 and
//! B).
//!
//! An [`EndpointOverride`] can be configured instead, such as a VPC endpoint without private DNS.
//! All sessions then connect to it: scheme, host and port of the URL are replaced, path and query
//! are kept. The replaced host is also the one that is signed and that the certificate must match,
//! since Session Manager verifies the signature over the `Host` header it receives.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::network::Endpoint;
use crate::session::domains::AWS_DOMAINS;

/// A stream URL that passed the checks.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamUrl {
    uri: Uri,
    endpoint: Endpoint,
}

impl StreamUrl {
    /// Checks a URL that AWS returned for a session in `region`.
    ///
    /// # Errors
    ///
    /// Fails unless it is a `wss` URL of a Session Manager endpoint in that region, or a `ws` or
    /// `wss` URL of a loopback address.
    pub fn new(text: &str, region: &str) -> Result<Self, StreamUrlError> {
        let uri: Uri = text.parse().map_err(|_| StreamUrlError::Malformed)?;
        let tls = is_encrypted(&uri)?;
        let host = host(&uri)?;
        let loopback = is_loopback(host);
        if !loopback && !is_session_manager(host, region) {
            let (host, region) = (host.to_owned(), region.to_owned());
            return Err(StreamUrlError::Foreign { host, region });
        }
        if !loopback && !tls {
            return Err(StreamUrlError::Unencrypted {
                host: host.to_owned(),
            });
        }
        let endpoint = endpoint(&uri, host, tls, loopback);
        Ok(Self { endpoint, uri })
    }

    /// Replaces the endpoint of a URL, whatever host it names.
    ///
    /// # Errors
    ///
    /// Fails if it is not a websocket URL, or is presigned for its host.
    pub(super) fn at(
        endpoint_override: &EndpointOverride,
        text: &str,
    ) -> Result<Self, StreamUrlError> {
        let uri: Uri = text.parse().map_err(|_| StreamUrlError::Malformed)?;
        is_encrypted(&uri)?;
        host(&uri)?;
        if is_presigned(&uri) {
            return Err(StreamUrlError::Presigned);
        }
        let mut parts = uri.into_parts();
        parts.scheme = Some(endpoint_override.scheme.clone());
        parts.authority = Some(endpoint_override.authority.clone());
        Ok(Self {
            uri: Uri::from_parts(parts).map_err(|_| StreamUrlError::Malformed)?,
            endpoint: endpoint_override.endpoint.clone(),
        })
    }

    /// Returns the endpoint to connect to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the URL. Its query may contain a signature.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the URL as it is signed and requested: without a default port, which signers leave
    /// out of the host.
    pub(super) fn text(&self) -> String {
        let text = self.uri.to_string();
        let default = if self.endpoint.tls { ":443" } else { ":80" };
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        match authority.strip_suffix(default) {
            Some(host) => text.replacen(authority, host, 1),
            None => text,
        }
    }
}

fn is_encrypted(uri: &Uri) -> Result<bool, StreamUrlError> {
    match uri.scheme_str() {
        Some("wss") => Ok(true),
        Some("ws") => Ok(false),
        Some(_) | None => Err(StreamUrlError::Scheme),
    }
}

/// Returns the host without brackets. Fails if the URL contains user information.
fn host(uri: &Uri) -> Result<&str, StreamUrlError> {
    let authority = uri.authority().ok_or(StreamUrlError::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(StreamUrlError::Malformed);
    }
    Ok(authority.host().trim_matches(['[', ']']))
}

fn endpoint(uri: &Uri, host: &str, tls: bool, loopback: bool) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        tls,
        loopback_only: loopback,
    }
}

/// Returns the endpoint of an `https` or `http` URL.
pub(super) fn endpoint_of_url(url: &str) -> Option<Endpoint> {
    let uri: Uri = url.parse().ok()?;
    let host = host(&uri).ok()?;
    let tls = uri.scheme() == Some(&Scheme::HTTPS);
    Some(endpoint(&uri, host, tls, is_loopback(host)))
}

/// Returns whether the query of a URL contains a signature.
pub(super) fn is_presigned(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.to_ascii_lowercase().starts_with("x-amz-signature="))
    })
}

/// The configured endpoint of all data channels.
#[derive(Clone, Debug)]
pub(super) struct EndpointOverride {
    /// `ws` or `wss`.
    scheme: Scheme,
    authority: Authority,
    endpoint: Endpoint,
}

impl EndpointOverride {
    /// Parses an `https` or `wss` URL, or an `http` or `ws` URL of a loopback address.
    ///
    /// # Errors
    ///
    /// Fails for any other text.
    pub(super) fn new(text: &str) -> Result<Self, EndpointOverrideError> {
        let uri: Uri = text.parse().map_err(|_| EndpointOverrideError)?;
        let (name, tls) = match uri.scheme_str() {
            Some("https" | "wss") => ("wss", true),
            Some("http" | "ws") => ("ws", false),
            Some(_) | None => return Err(EndpointOverrideError),
        };
        let host = host(&uri).map_err(|_| EndpointOverrideError)?;
        let loopback = is_loopback(host);
        let authority = uri.authority().filter(|_| tls || loopback);
        Ok(Self {
            scheme: name.parse().map_err(|_| EndpointOverrideError)?,
            authority: authority.ok_or(EndpointOverrideError)?.clone(),
            endpoint: endpoint(&uri, host, tls, loopback),
        })
    }

    /// Returns the endpoint to connect to.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// The configured endpoint is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an https:// or wss:// URL; without TLS, only loopback addresses are allowed")]
pub(super) struct EndpointOverrideError;

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({})", self.endpoint)
    }
}

/// Errors of stream URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamUrlError {
    /// It cannot be parsed.
    #[error("the stream URL of the session is malformed")]
    Malformed,
    /// It is not a websocket URL.
    #[error("the stream URL of the session is neither wss:// nor ws://")]
    Scheme,
    /// Its host is not a Session Manager endpoint of the region.
    #[error(
        "the stream URL of the session has the host {host}, which is not a Session Manager endpoint of {region}"
    )]
    Foreign {
        /// The host of the URL.
        host: String,
        /// The region of the session.
        region: String,
    },
    /// It is presigned, so its host cannot be replaced.
    #[error(
        "the stream URL of the session is signed for its own host, and cannot be used with `ssmmessages_endpoint`"
    )]
    Presigned,
    /// It would send a token over an unencrypted connection.
    #[error(
        "the stream URL of the session is unencrypted (ws://{host}), which is allowed for loopback addresses only"
    )]
    Unencrypted {
        /// The host of the URL.
        host: String,
    },
}

/// Returns whether the host of a URL is a loopback address.
pub(super) fn is_loopback_url(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host);
    host.is_some_and(|host| is_loopback(host.trim_matches(['[', ']'])))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Returns true for `ssmmessages[-fips].<region>.<suffix>` and for interface endpoints,
/// `*.ssmmessages[-fips].<region>.vpce.<suffix>`.
fn is_session_manager(host: &str, region: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let labels = host.strip_suffix('.').unwrap_or(&host);
    SERVICES.iter().any(|service| {
        let public = labels.strip_prefix(&format!("{service}.{region}."));
        let private = labels.split_once(&format!(".{service}.{region}.vpce."));
        public.is_some_and(|suffix| AWS_DOMAINS.contains(&suffix))
            || private.is_some_and(|(id, suffix)| is_label(id) && AWS_DOMAINS.contains(&suffix))
    })
}

fn is_label(id: &str) -> bool {
    id.starts_with("vpce-")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

const SERVICES: &[&str] = &["ssmmessages", "ssmmessages-fips"];

#[cfg(test)]
mod tests;
