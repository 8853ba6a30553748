//! Byte streams to remote hosts: name resolution, proxy, TLS, deadline.
//!
//! This module connects; it knows nothing of the protocol in the stream. Every TCP socket has
//! `TCP_NODELAY`, so that small frames do not wait for each other's acknowledgement. TLS is rustls
//! with aws-lc-rs, verified against the platform's roots and a configured CA bundle.

mod addresses;
mod certificate;
mod connect_response;
mod probe;
mod proxy;
mod roots;
mod secret;
pub mod shortage;
mod unreachable;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::addresses::connect_any;
use self::addresses::{connect_tcp, resolve};
pub use self::probe::{DialStep, ProbeError, Route};
use self::proxy::ProxyConnectError;
pub use self::proxy::{Proxy, ProxyError};
pub use self::roots::{RootsError, platform_roots, read_ca_bundle};
pub use self::secret::random_bytes;
pub use self::unreachable::class_of_unreachable;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
#[cfg(test)]
use crate::virtual_net;

/// Everything needed to connect: the roots, read once, and a proxy.
#[derive(Clone)]
pub struct Network {
    tls: Arc<ClientConfig>,
    /// The roots in `tls`, which does not expose them.
    store: Arc<RootCertStore>,
    /// Subject and public key of each root.
    roots: Arc<BTreeSet<(Vec<u8>, Vec<u8>)>>,
    proxy: Option<Proxy>,
}

impl Network {
    /// Reads the platform's roots, and those of `ca_bundle` in addition.
    ///
    /// # Errors
    ///
    /// If the bundle cannot be read or contains no certificate.
    pub fn new(ca_bundle: Option<&Path>) -> Result<Self, RootsError> {
        let roots = roots::load(ca_bundle)?;
        let trusted = roots.roots.iter().map(|root| {
            let key = &root.subject_public_key_info;
            (root.subject.to_vec(), key.to_vec())
        });
        let trusted = Arc::new(trusted.collect());
        let store = Arc::new(roots);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(RootsError::Tls)?
            .with_root_certificates(Arc::clone(&store))
            .with_no_client_auth();
        let tls = Arc::new(tls);
        Ok(Self {
            tls,
            store,
            roots: trusted,
            proxy: None,
        })
    }

    /// Returns true if both trust the same certificate authorities.
    pub fn trusts_the_same(&self, other: &Self) -> bool {
        self.roots == other.roots
    }

    /// Uses a proxy for the hosts that are not exempt from it.
    pub fn with_proxy(self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self }
    }

    /// Connects to a host within `limit`. Tries each of its addresses, each soon after the previous
    /// one.
    ///
    /// # Errors
    ///
    /// If the name does not resolve, no address answers, the proxy refuses, TLS fails, or the limit
    /// expires.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<NetworkStream, DialError> {
        let tls = Arc::clone(&self.tls);
        self.connect_within(endpoint, tls, &mut Route::default(), limit)
            .await
    }

    /// Connects within `limit`, and records in `route` how far it gets.
    async fn connect_within(
        &self,
        endpoint: &Endpoint,
        tls: Arc<ClientConfig>,
        route: &mut Route,
        limit: Duration,
    ) -> Result<NetworkStream, DialError> {
        let connected = timeout(limit, self.connect(endpoint, tls, route)).await;
        let connected = connected.unwrap_or_else(|_| {
            let why = format!("no response within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        });
        connected.map_err(|error| DialError {
            endpoint: endpoint.clone(),
            source: match self.proxy_for(endpoint) {
                Some(proxy) => proxy.error(error),
                None => error,
            },
        })
    }

    /// Returns the proxy through which an endpoint is reached.
    pub fn proxy_for(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        self.proxy
            .as_ref()
            .filter(|proxy| proxy.applies_to(endpoint))
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        tls: Arc<ClientConfig>,
        route: &mut Route,
    ) -> io::Result<NetworkStream> {
        #[cfg(test)]
        if virtual_net::is_active() {
            let stream = virtual_net::connect(&endpoint.virtual_address()).await?;
            return Ok(NetworkStream::Virtual(stream));
        }
        let tcp = match self.proxy_for(endpoint) {
            Some(proxy) => {
                route.step = DialStep::Proxy;
                proxy.connect(endpoint).await?
            }
            None => {
                route.addresses = resolve(endpoint).await?;
                route.step = DialStep::Tcp;
                connect_any(route.addresses.clone()).await?
            }
        };
        tcp.set_nodelay(true)?;
        route.peer = Some(tcp.peer_addr()?);
        if !endpoint.tls {
            return Ok(NetworkStream::Plain(tcp));
        }
        route.step = DialStep::Tls;
        let name = ServerName::try_from(endpoint.host.clone()).map_err(invalid_name)?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await?;
        Ok(NetworkStream::Tls(Box::new(tls)))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

/// The host and port to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// A TCP port.
    pub port: u16,
    /// Use TLS.
    pub tls: bool,
    /// Connect to loopback addresses only, whatever the name resolves to.
    pub loopback_only: bool,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
impl Endpoint {
    /// Returns the address in the virtual network, where every host is 127.0.0.1.
    pub(crate) fn virtual_address(&self) -> virtual_net::Address {
        virtual_net::Address::Tcp((std::net::Ipv4Addr::LOCALHOST, self.port).into())
    }
}

/// Error of a connection attempt.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}")]
pub struct DialError {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The cause.
    pub source: io::Error,
}

impl DialError {
    /// Returns the class of the error.
    pub fn class(&self) -> ErrorClass {
        if shortage::hint(&self.source).is_some() {
            return ErrorClass::OutOfResources;
        }
        let cause = self.source.get_ref();
        let proxy = cause.and_then(|cause| cause.downcast_ref::<ProxyConnectError>());
        match proxy.is_some_and(ProxyConnectError::is_of_the_proxy) {
            true => ErrorClass::ProxyRefused,
            false => class_of_unreachable(&Printable::of_sources(&self.source)),
        }
    }

    /// Returns the suggested action, if the proxy or a shortage on this machine is the cause.
    pub fn hint(&self) -> Option<&'static str> {
        if let Some(hint) = shortage::hint(&self.source) {
            return Some(hint);
        }
        let error = self.source.get_ref()?.downcast_ref::<ProxyConnectError>()?;
        error.hint()
    }
}

/// A byte stream to a remote host.
#[derive(Debug)]
pub enum NetworkStream {
    /// Unencrypted, for loopback.
    Plain(TcpStream),
    /// Encrypted with TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Stream),
}

impl AsyncRead for NetworkStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, into),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, into),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for NetworkStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, data),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            #[cfg(test)]
            Self::Virtual(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn invalid_name(error: InvalidDnsNameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
