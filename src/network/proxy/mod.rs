//! CONNECT through a forward proxy.
//!
//! Loopback hosts are never reached through the proxy, as in Go and unlike curl: an environment
//! variable for the outside world must not redirect connections to a local AWS simulator.

use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect_response::{self, Answer, MAX_HEAD};
use super::no_proxy::NoProxy;
use super::{Endpoint, connect_tcp, shortage};
use crate::printable::Printable;

/// A forward proxy, and the hosts exempt from it. `Debug` and `Display` omit user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    endpoint: Endpoint,
    /// User and password, decoded.
    user: Option<(String, String)>,
    exempt: NoProxy,
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
        let exempt = NoProxy::new(no_proxy);
        if exempt.is_everyone() {
            return Ok(None);
        }
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
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let user = user.map(|user| user.split_once(':').unwrap_or((user, "")));
        let user = user.map(|(user, password)| Some((decoded(user)?, decoded(password)?)));
        let user = match user {
            None => None,
            Some(user) => Some(user.ok_or(ProxyError::Malformed)?),
        };
        let endpoint = endpoint(address).ok_or(ProxyError::Malformed)?;
        Ok(Some(Self {
            endpoint,
            user,
            exempt,
        }))
    }

    /// Returns the URL with user and password, for another HTTP client.
    pub fn expose(&self) -> String {
        let user = self.user.as_ref();
        let user = user.map(|(user, password)| format!("{}:{}@", encoded(user), encoded(password)));
        format!("http://{}{}", user.unwrap_or_default(), self.endpoint)
    }

    /// Returns the exempt hosts for another HTTP client: as in `NO_PROXY`, and loopback.
    pub fn no_proxy(&self) -> String {
        format!("{},localhost,127.0.0.0/8,::1", self.exempt.text())
    }

    /// Returns true if a host is reached through the proxy.
    pub(super) fn leads_to(&self, host: &str) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        let is_here = match address {
            Some(address) => address.to_canonical().is_loopback(),
            None => {
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost")
            }
        };
        !is_here && !self.exempt.has(host)
    }

    /// Connects to a host through the proxy. The caller sets the timeout.
    pub(super) async fn connect(&self, to: &Endpoint) -> io::Result<TcpStream> {
        let fault = |what| io::Error::other(self.fault(what));
        let connected = connect_tcp(&self.endpoint).await;
        let mut tcp = connected.map_err(|error| match shortage::hint(&error) {
            // Not caused by the proxy.
            Some(_) => error,
            None => fault(What::Unreachable(error)),
        })?;
        tcp.set_nodelay(true)?;
        tcp.write_all(self.request(to).as_bytes()).await?;
        let mut came = Vec::with_capacity(MAX_HEAD);
        loop {
            match connect_response::read(&came) {
                Answer::Open => return Ok(tcp),
                Answer::More => {}
                Answer::Refused { status: 407, .. } => return Err(fault(What::Unauthorized)),
                Answer::Refused { status, reason } => {
                    return Err(fault(What::Refused { status, reason }));
                }
                Answer::Nonsense => return Err(fault(What::Nonsense)),
            }
            let room = MAX_HEAD - came.len();
            let mut limited = (&mut tcp).take(room as u64);
            if limited.read_buf(&mut came).await? == 0 {
                return Err(fault(What::Nonsense));
            }
        }
    }

    fn request(&self, to: &Endpoint) -> String {
        let user = self.user.as_ref().map(|(user, password)| {
            let word = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("Proxy-Authorization: Basic {word}\r\n")
        });
        let user = user.unwrap_or_default();
        format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{user}\r\n")
    }

    fn fault(&self, what: What) -> ProxyConnectError {
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
#[error("the proxy {proxy} {what}")]
pub(super) struct ProxyConnectError {
    proxy: Printable,
    what: What,
}

impl ProxyConnectError {
    /// Returns the suggested action.
    pub(super) fn hint(&self) -> &'static str {
        match self.what {
            What::Unreachable(_) => {
                "check `proxy` in [aws], or HTTPS_PROXY, and that the proxy is running"
            }
            What::Unauthorized => {
                "set user and password in `proxy` of [aws], or in HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"
            }
            What::Refused { .. } => {
                "the proxy must allow CONNECT to this host and port; NO_PROXY lists the hosts that bypass it"
            }
            What::Nonsense => "is it an HTTP proxy? check `proxy` in [aws], or HTTPS_PROXY",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum What {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("requires a user and a password (HTTP 407)")]
    Unauthorized,
    #[error("refused the CONNECT request (HTTP {status} {reason})")]
    Refused { status: u16, reason: Printable },
    #[error("did not send an HTTP response")]
    Nonsense,
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

/// Decodes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes all bytes other than ASCII letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests;
