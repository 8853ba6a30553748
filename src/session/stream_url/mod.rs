//! Which stream URL may be dialled.
//!
//! The URL comes from the service, but it is a credential's way out of the house: it is dialled
//! only if it is a Session Manager endpoint of the session's region, or a loopback address, and
//! unencrypted only to loopback (interfaces.md section 3; protocol.md sections 0.1 and B).
//!
//! A person may name a [`EndpointOverride`] instead, such as a VPC endpoint without private DNS. Then every
//! session is dialled there: host, port and scheme of the URL are replaced, path and query are the
//! service's. What is dialled is what is signed and what the certificate must name, since the gateway
//! verifies a signature over the `Host` that it gets.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::network::Endpoint;

/// A stream URL that may be dialled.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamUrl {
    uri: Uri,
    endpoint: Endpoint,
}

impl StreamUrl {
    /// Checks a URL that the service gave for a session in `region`.
    ///
    /// # Errors
    ///
    /// If it is no `wss` (or, to loopback, `ws`) URL of an endpoint that is expected there.
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

    /// The same URL at a gateway, whatever host it names.
    ///
    /// # Errors
    ///
    /// If it is no websocket URL, or is signed for the host that it names.
    pub(super) fn at(gateway: &EndpointOverride, text: &str) -> Result<Self, StreamUrlError> {
        let uri: Uri = text.parse().map_err(|_| StreamUrlError::Malformed)?;
        is_encrypted(&uri)?;
        host(&uri)?;
        if is_presigned(&uri) {
            return Err(StreamUrlError::Presigned);
        }
        let mut parts = uri.into_parts();
        parts.scheme = Some(gateway.scheme.clone());
        parts.authority = Some(gateway.authority.clone());
        Ok(Self {
            uri: Uri::from_parts(parts).map_err(|_| StreamUrlError::Malformed)?,
            endpoint: gateway.endpoint.clone(),
        })
    }

    /// Where to dial.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The URL itself. Its query may carry a signature.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL as it is signed and dialled: without a port that goes without saying, which
    /// signers leave out of the host.
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

/// The host without brackets, of a URL that holds no user.
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

/// Whether a URL carries a signature in its query.
pub(super) fn is_presigned(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair.to_ascii_lowercase().starts_with("x-amz-signature="))
    })
}

/// Where every stream URL is dialled, because a person says so.
#[derive(Clone, Debug)]
pub(super) struct EndpointOverride {
    /// Of a websocket.
    scheme: Scheme,
    authority: Authority,
    endpoint: Endpoint,
}

impl EndpointOverride {
    /// Reads an `https` or `wss` URL, or an `http` or `ws` URL of a loopback address.
    ///
    /// # Errors
    ///
    /// If it is none of these.
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
}

/// What was given as a gateway is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an https:// or wss:// URL, nor one without TLS of a loopback address")]
pub(super) struct EndpointOverrideError;

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({})", self.endpoint)
    }
}

/// Why a stream URL is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamUrlError {
    /// It cannot be taken apart.
    #[error("the stream URL of the session is malformed")]
    Malformed,
    /// It is no websocket URL.
    #[error("the stream URL of the session is neither wss:// nor ws://")]
    Scheme,
    /// Its host is not where sessions live.
    #[error(
        "the stream URL of the session names {host}, which is no Session Manager endpoint of {region}"
    )]
    Foreign {
        /// The host of the URL.
        host: String,
        /// The region of the session.
        region: String,
    },
    /// It cannot be dialled elsewhere.
    #[error(
        "the stream URL of the session is signed for its own host, and cannot be dialled at `ssmmessages_endpoint`"
    )]
    Presigned,
    /// It would send a token over an unencrypted connection.
    #[error(
        "the stream URL of the session is unencrypted (ws://{host}), which is for loopback only"
    )]
    Unencrypted {
        /// The host of the URL.
        host: String,
    },
}

/// Whether a URL names a host of this machine.
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

/// True for `ssmmessages[-fips].<region>.<suffix>` and for interface endpoints,
/// `*.ssmmessages[-fips].<region>.vpce.<suffix>`.
fn is_session_manager(host: &str, region: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let labels = host.strip_suffix('.').unwrap_or(&host);
    SERVICES.iter().any(|service| {
        let public = labels.strip_prefix(&format!("{service}.{region}."));
        let private = labels.split_once(&format!(".{service}.{region}.vpce."));
        public.is_some_and(|suffix| SUFFIXES.contains(&suffix))
            || private.is_some_and(|(id, suffix)| is_label(id) && SUFFIXES.contains(&suffix))
    })
}

fn is_label(id: &str) -> bool {
    id.starts_with("vpce-")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

const SERVICES: &[&str] = &["ssmmessages", "ssmmessages-fips"];

/// The DNS and dual-stack suffixes of the partitions that the SDK's own partition data names.
const SUFFIXES: &[&str] = &[
    "amazonaws.com",
    "api.aws",
    "amazonaws.com.cn",
    "api.amazonwebservices.com.cn",
    "amazonaws.eu",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "api.aws.ic.gov",
    "sc2s.sgov.gov",
    "api.aws.scloud",
    "cloud.adc-e.uk",
    "api.cloud-aws.adc-e.uk",
    "csp.hci.ic.gov",
    "api.aws.hci.ic.gov",
];

#[cfg(test)]
mod tests;
