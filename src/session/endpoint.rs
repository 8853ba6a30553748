//! Which stream URL may be dialled.
//!
//! The URL comes from the service, but it is a credential's way out of the house: it is dialled
//! only if it is a Session Manager endpoint of the session's region, or a loopback address, and
//! unencrypted only to loopback (interfaces.md section 3; protocol.md sections 0.1 and B).

use std::fmt;
use std::net::IpAddr;

use http::Uri;

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
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            Some(_) | None => return Err(StreamUrlError::Scheme),
        };
        let host = uri
            .host()
            .ok_or(StreamUrlError::Malformed)?
            .trim_matches(['[', ']']);
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(StreamUrlError::Malformed);
        }
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
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let endpoint = Endpoint {
            host: host.to_owned(),
            port,
            tls,
            loopback_only: loopback,
        };
        Ok(Self { endpoint, uri })
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
mod tests {
    use super::*;

    fn check(url: &str) -> Result<StreamUrl, StreamUrlError> {
        StreamUrl::new(url, "eu-west-1")
    }

    #[test]
    fn endpoints_of_the_region_are_dialled() {
        for host in [
            "ssmmessages.eu-west-1.amazonaws.com",
            "SSMMESSAGES.eu-west-1.amazonaws.com",
            "ssmmessages-fips.eu-west-1.amazonaws.com",
            "ssmmessages.eu-west-1.api.aws",
            "vpce-0a1b-xyz.ssmmessages.eu-west-1.vpce.amazonaws.com",
            "vpce-0a1b-xyz-eu-west-1a.ssmmessages.eu-west-1.vpce.amazonaws.com",
        ] {
            let url = check(&format!(
                "wss://{host}/v1/data-channel/s?role=publish_subscribe"
            ));

            let endpoint = url
                .unwrap_or_else(|error| panic!("{host}: {error}"))
                .endpoint;
            assert!(
                endpoint.tls && !endpoint.loopback_only && endpoint.port == 443,
                "{host}"
            );
        }
    }

    #[test]
    fn other_hosts_are_not() {
        for host in [
            "ssmmessages.us-east-1.amazonaws.com",
            "ssmmessages.eu-west-1.amazonaws.com.evil.example",
            "evil.example",
            "ssmmessages.eu-west-1.amazonaws.com@evil.example",
            "ssm.eu-west-1.amazonaws.com",
            "a.b.ssmmessages.eu-west-1.vpce.amazonaws.com",
            "127.0.0.1.evil.example",
        ] {
            assert!(check(&format!("wss://{host}/x")).is_err(), "{host}");
        }
    }

    #[test]
    fn unencrypted_is_for_loopback_only() {
        for host in [
            "127.0.0.1:4000",
            "localhost:4000",
            "[::1]:4000",
            "127.8.9.1:4000",
        ] {
            let url = check(&format!("ws://{host}/x")).unwrap();

            assert!(
                url.endpoint.loopback_only && url.endpoint.port == 4000,
                "{host}"
            );
        }
        assert!(matches!(
            check("ws://ssmmessages.eu-west-1.amazonaws.com/x"),
            Err(StreamUrlError::Unencrypted { .. })
        ));
        assert_eq!(check("https://127.0.0.1/x"), Err(StreamUrlError::Scheme));
        assert_eq!(check("what"), Err(StreamUrlError::Scheme));
    }

    #[test]
    fn a_port_that_goes_without_saying_is_not_said() {
        let url = check("wss://ssmmessages.eu-west-1.amazonaws.com:443/x?a=b").unwrap();

        assert_eq!(
            url.text(),
            "wss://ssmmessages.eu-west-1.amazonaws.com/x?a=b"
        );
        assert_eq!(
            check("ws://[::1]:443/x").unwrap().text(),
            "ws://[::1]:443/x"
        );
    }

    #[test]
    fn a_url_does_not_print_its_query() {
        let url = check("ws://127.0.0.1:1/x?X-Amz-Signature=secret").unwrap();

        assert!(!format!("{url:?}").contains("secret"));
    }
}
