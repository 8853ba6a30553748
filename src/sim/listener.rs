//! The listener of the simulator.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::tls_stream::Socket;
#[cfg(test)]
use crate::virtual_net;

/// Accepts the connections of clients.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Listener),
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be bound.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        #[cfg(test)]
        if virtual_net::is_active() {
            return virtual_net::bind(virtual_net::Address::Tcp(address)).map(Self::Virtual);
        }
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// Returns the bound address.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(test)]
            Self::Virtual(listener) => listener.address().tcp(),
        }
    }

    /// Waits for a connection without TLS. Cancel safe.
    ///
    /// # Errors
    ///
    /// Returns the system's error, which concerns the listener or one connection.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(tcp, _)| Socket::Plain(tcp)),
            #[cfg(test)]
            Self::Virtual(listener) => Ok(Socket::Virtual(listener.accept().await)),
        }
    }
}
