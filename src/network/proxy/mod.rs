//! CONNECT through a forward proxy.
//!
//! The matcher of the SDK's HTTP client decides which hosts are reached through the proxy, and what
//! the credentials of the proxy are, so that API calls and WebSockets agree.
//!
//! Loopback hosts are never reached through the proxy, as in Go and unlike curl: an environment
//! variable for the outside world must not redirect connections to a local AWS simulator.

use std::fmt;
use std::io;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect_response::{self, ConnectResponse, MAX_HEAD};
use super::{Endpoint, connect_tcp, shortage};
use crate::printable::Printable;

/// A forward proxy, and the hosts exempt from it. `Debug` and `Display` omit user and password.
#[derive(Clone)]
pub struct Proxy {
    endpoint: Endpoint,
    /// With user and password.
    url: String,
    /// See [`exempt_hosts`].
    no_proxy: String,
    matcher: Arc<Matcher>,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Parses `http://[user[:password]@]host[:port]`, in which `http://` may be omitted and user
    /// and password are percent-encoded, and a list of hosts as in `NO_PROXY`. Returns `None` if
    /// that exempts every host.
    ///
    /// # Errors
    ///
    /// If the URL is malformed or has another scheme.
    pub fn new(url: &str, no_proxy: &str) -> Result<Option<Self>, ProxyError> {
        let Some(no_proxy) = exempt_hosts(no_proxy) else {
            return Ok(None);
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" {
            let is_word = scheme.bytes().all(|b| b.is_ascii_alphanumeric());
            return Err(match is_word {
                true => ProxyError::Scheme(scheme.into()),
                false => ProxyError::Malformed,
            });
        }
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (encoded(user) + "@", address),
            None => (String::new(), rest),
        };
        let endpoint = endpoint(address).ok_or(ProxyError::Malformed)?;
        let url = format!("http://{user}{endpoint}");
        let matcher = |no_proxy: &str| Matcher::builder().https(&url).no(no_proxy).build();
        let any = Uri::from_static("https://host");
        let for_any = matcher("").intercept(&any).ok_or(ProxyError::Malformed)?;
        Ok(Some(Self {
            matcher: Arc::new(matcher(&no_proxy)),
            authorization: for_any.basic_auth().cloned(),
            endpoint,
            url,
            no_proxy,
        }))
    }

    /// Returns the URL with user and password, for another HTTP client.
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// Returns the exempt hosts for another HTTP client: as in `NO_PROXY`, and loopback.
    pub fn no_proxy(&self) -> &str {
        &self.no_proxy
    }

    /// Returns true if a host is reached through the proxy. Connections without TLS are not, as
    /// with `HTTPS_PROXY`.
    pub(super) fn applies_to(&self, to: &Endpoint) -> bool {
        let uri = Uri::builder()
            .scheme(if to.tls { "https" } else { "http" })
            .authority(to.to_string())
            .path_and_query("/")
            .build();
        uri.is_ok_and(|uri| self.matcher.intercept(&uri).is_some())
    }

    /// Connects to a host through the proxy. The caller sets the timeout.
    pub(super) async fn connect(&self, to: &Endpoint) -> io::Result<TcpStream> {
        let failed = |what| io::Error::other(self.connect_error(what));
        let connected = connect_tcp(&self.endpoint).await;
        let mut tcp = connected.map_err(|error| match shortage::hint(&error) {
            // Not caused by the proxy.
            Some(_) => error,
            None => failed(ProxyErrorKind::Unreachable(error)),
        })?;
        tcp.set_nodelay(true)?;
        tcp.write_all(self.request(to).as_bytes()).await?;
        let mut received = Vec::with_capacity(MAX_HEAD);
        loop {
            match connect_response::read(&received) {
                ConnectResponse::Established => return Ok(tcp),
                ConnectResponse::Incomplete => {}
                ConnectResponse::Refused { status: 407, .. } => {
                    return Err(failed(ProxyErrorKind::Unauthorized));
                }
                ConnectResponse::Refused { status, reason } => {
                    return Err(failed(ProxyErrorKind::Refused { status, reason }));
                }
                ConnectResponse::Invalid => return Err(failed(ProxyErrorKind::NotHttp)),
            }
            let room = MAX_HEAD - received.len();
            let mut limited = (&mut tcp).take(room as u64);
            if limited.read_buf(&mut received).await? == 0 {
                return Err(failed(ProxyErrorKind::NotHttp));
            }
        }
    }

    fn request(&self, to: &Endpoint) -> String {
        let value = self.authorization.as_ref();
        let user = value.and_then(|value| value.to_str().ok());
        let user = user.map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let user = user.unwrap_or_default();
        format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{user}\r\n")
    }

    /// Adds the proxy to an error of a connection through it.
    pub(super) fn error(&self, error: io::Error) -> io::Error {
        let is_named = error
            .get_ref()
            .is_some_and(|error| error.is::<ProxyConnectError>());
        if is_named || shortage::hint(&error).is_some() {
            return error;
        }
        io::Error::new(
            error.kind(),
            self.connect_error(ProxyErrorKind::Broken(error)),
        )
    }

    fn connect_error(&self, what: ProxyErrorKind) -> ProxyConnectError {
        let proxy = Printable::of(self);
        ProxyConnectError { proxy, what }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.endpoint)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Error of a proxy URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The URL is malformed. It may contain a password, so it is not quoted.
    #[error("malformed proxy URL, expected http://[USER:PASSWORD@]HOST[:PORT]")]
    Malformed,
    /// The scheme is not supported.
    #[error("unsupported proxy scheme {0}://, expected http://")]
    Scheme(Printable),
}

/// Error of a connection through a proxy.
#[derive(Debug, thiserror::Error)]
#[error("{}", described(proxy, what))]
pub(super) struct ProxyConnectError {
    proxy: Printable,
    what: ProxyErrorKind,
}

impl ProxyConnectError {
    /// Returns true if the proxy itself is the cause, not what comes after it.
    pub(super) fn is_of_the_proxy(&self) -> bool {
        match self.what {
            ProxyErrorKind::Unreachable(_)
            | ProxyErrorKind::Unauthorized
            | ProxyErrorKind::Refused { .. }
            | ProxyErrorKind::NotHttp => true,
            ProxyErrorKind::Broken(_) => false,
        }
    }

    /// Returns the suggested action.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self.what {
            ProxyErrorKind::Unreachable(_) => {
                Some("check `proxy` in [aws], or HTTPS_PROXY, and that the proxy is running")
            }
            ProxyErrorKind::Unauthorized => Some(
                "set user and password in `proxy` of [aws], or in HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
            ),
            ProxyErrorKind::Refused { .. } => Some(
                "the proxy must allow CONNECT to this host and port; NO_PROXY lists the hosts that bypass it",
            ),
            ProxyErrorKind::NotHttp => {
                Some("is it an HTTP proxy? check `proxy` in [aws], or HTTPS_PROXY")
            }
            ProxyErrorKind::Broken(_) => None,
        }
    }
}

fn described(proxy: &Printable, what: &ProxyErrorKind) -> String {
    match what {
        ProxyErrorKind::Broken(error) => format!("{error}, through the proxy {proxy}"),
        ProxyErrorKind::Unreachable(_)
        | ProxyErrorKind::Unauthorized
        | ProxyErrorKind::Refused { .. }
        | ProxyErrorKind::NotHttp => {
            format!("the proxy {proxy} {what}")
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ProxyErrorKind {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("requires a user and a password (HTTP 407)")]
    Unauthorized,
    #[error("refused the CONNECT request (HTTP {status} {reason})")]
    Refused { status: u16, reason: Printable },
    #[error("did not send an HTTP response")]
    NotHttp,
    /// After the proxy was connected.
    #[error("failed: {0}")]
    Broken(io::Error),
}

/// Parses `host[:port]`, with an optional trailing slash.
fn endpoint(address: &str) -> Option<Endpoint> {
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if port.is_empty() { ":80" } else { port };
            (host, port.strip_prefix(':')?)
        }
        None => address.split_once(':').unwrap_or((address, "80")),
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let is_good = !host.is_empty() && host.chars().all(is_letter);
    Some(Endpoint {
        host: host.to_owned(),
        port: port.parse().ok().filter(|port| *port > 0 && is_good)?,
        tls: false,
        loopback_only: false,
    })
}

/// Percent-encodes a user and a password, but not what is already encoded, nor the `:` between
/// them.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || b"%:".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Rewrites a list of hosts for the matcher, and adds loopback. Returns `None` if the list has `*`,
/// which the matcher applies to names only.
///
/// curl also accepts spaces between the hosts, `*.` before a name, brackets around an IPv6 address
/// and a dot behind a name; the matcher does not.
fn exempt_hosts(no_proxy: &str) -> Option<String> {
    let mut hosts = LOOPBACK.map(str::to_owned).to_vec();
    for entry in no_proxy.split(|c: char| c == ',' || c.is_whitespace()) {
        if entry == "*" {
            return None;
        }
        let host = entry.strip_prefix('*').unwrap_or(entry);
        let host = host.trim_matches('.').replace(['[', ']'], "");
        if !host.is_empty() {
            hosts.push(format!("{host}."));
            hosts.push(host);
        }
    }
    Some(hosts.join(","))
}

/// The last one is IPv4-mapped.
const LOOPBACK: [&str; 5] = [
    "localhost",
    "localhost.",
    "127.0.0.0/8",
    "::1",
    "::ffff:127.0.0.0/104",
];

#[cfg(test)]
mod tests;
