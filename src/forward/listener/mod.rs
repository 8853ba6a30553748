//! Local listeners: TCP and Unix sockets behind one type.

mod error;
mod socket_activation;
mod tcp;
mod unix;
#[cfg(test)]
mod virtually;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::client::Connection;
use crate::config::{Forward, Listen};
#[cfg(test)]
use crate::virtual_net;

pub(super) use self::error::is_of_one_connection;
pub use self::error::{ListenError, ListenErrorKind};
pub use self::socket_activation::{ActivatedSockets, InheritedSockets};
pub use self::unix::SocketFile;

/// Bound local addresses, as configured. A clone keeps them bound too.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Vec<ListenerGroup>);

/// A configured address, and the listeners that it resolves to.
type ListenerGroup = (Listen, Vec<Arc<Listener>>);

/// Specification of the addresses to bind.
#[derive(Clone, Copy, Debug)]
pub struct ListenSpec<'a> {
    /// The addresses as configured.
    pub listen: &'a [Listen],
    /// The permissions of Unix sockets.
    pub mode: u32,
    /// Whether activated sockets may listen where other machines can reach them.
    pub allow_remote_clients: bool,
}

impl<'a> From<&'a Forward> for ListenSpec<'a> {
    fn from(forward: &'a Forward) -> Self {
        Self {
            listen: &forward.listen,
            mode: forward.mode,
            allow_remote_clients: forward.allow_remote_clients,
        }
    }
}

impl Listeners {
    /// Binds all `wanted` addresses, or none. Reuses listeners of `own` (the predecessor's) or
    /// `released` (others'), of the same configured address or of a single port of it.
    ///
    /// # Errors
    ///
    /// Returns the error of the first address that cannot be bound.
    pub async fn bind(
        wanted: ListenSpec<'_>,
        passed: &ActivatedSockets,
        mut own: Self,
        released: &mut Self,
    ) -> Result<Self, ListenError> {
        let mut bound = Self::default();
        for listen in wanted.listen {
            let taken = own.take(listen).or_else(|| released.take(listen));
            let existing = |port| own.take_port(port).or_else(|| released.take_port(port));
            let group = match (taken, listen) {
                (Some(group), _) => Ok(group),
                (None, Listen::Systemd(name)) => passed_by(passed, name, wanted),
                (None, _) => Listener::bind(listen, wanted.mode, existing).await,
            };
            let group = group.map_err(|error| {
                error.or_own_listener(|port| {
                    own.conflicting(port).or_else(|| released.conflicting(port))
                })
            })?;
            bound.0.push((listen.clone(), group));
        }
        Ok(bound)
    }

    /// Adds the listeners of `other`, except those configured with port 0.
    pub fn extend(&mut self, other: &Self) {
        let chosen = other
            .0
            .iter()
            .filter(|(listen, _)| listen.port() != Some(0));
        self.0.extend(chosen.cloned());
    }

    fn take(&mut self, listen: &Listen) -> Option<Vec<Arc<Listener>>> {
        let index = self.0.iter().position(|(address, _)| address == listen)?;
        Some(self.0.remove(index).1)
    }

    /// Removes and returns a listener on exactly this port. Ports chosen by the system (port 0)
    /// stay with their forward.
    fn take_port(&mut self, port: SocketAddr) -> Option<Arc<Listener>> {
        let is_chosen = |listen: &Listen| listen.port().is_some_and(|port| port != 0);
        let groups = self.0.iter_mut().filter(|(listen, _)| is_chosen(listen));
        groups.map(|(_, group)| group).find_map(|group| {
            let index = group.iter().position(|one| one.port() == Some(port))?;
            Some(group.remove(index))
        })
    }

    /// Returns the address of a listener that conflicts with a listener on `port`.
    fn conflicting(&self, port: SocketAddr) -> Option<SocketAddr> {
        let mut ports = self.listeners().filter_map(|one| one.port());
        ports.find(|other| {
            let (a, b) = (port.ip(), other.ip());
            port.port() == other.port()
                && a.is_ipv4() == b.is_ipv4()
                && (a == b || a.is_unspecified() || b.is_unspecified())
        })
    }

    /// Returns the individual listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.0.iter().flat_map(|(_, group)| group)
    }

    /// Applies `mode` to Unix sockets that were bound by another forward.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.listeners().try_for_each(|listener| match &**listener {
            Listener::Tcp(_) | Listener::Activated(_) => Ok(()),
            Listener::Unix(socket) => socket.set_mode(mode),
            #[cfg(test)]
            Listener::Virtual(_) => Ok(()),
        })
    }
}

/// A bound local address.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket, and its file.
    Unix(SocketFile),
    /// A Unix socket whose file is owned by the service manager.
    Activated(UnixListener),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Listener),
}

/// An accepted socket.
#[derive(Debug)]
pub enum AcceptedSocket {
    /// From a TCP port.
    Tcp(TcpStream),
    /// From a Unix socket.
    Unix(UnixStream),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(virtual_net::Stream),
}

/// Returns the activated sockets of a name, if the forward may use them.
fn passed_by(
    passed: &ActivatedSockets,
    name: &str,
    wanted: ListenSpec<'_>,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    let error = |kind| ListenError::new(Listen::Systemd(name.to_owned()), kind);
    let Some(group) = passed.of(name) else {
        return Err(error(ListenErrorKind::NotActivated(passed.names())));
    };
    let addresses = group.iter().filter_map(|listener| listener.address().ok());
    let is_open = |address: &Listen| !address.is_loopback() && !wanted.allow_remote_clients;
    match addresses.into_iter().find(is_open) {
        Some(address) => Err(error(ListenErrorKind::NotLoopback(address.to_string()))),
        None => Ok(group.clone()),
    }
}

impl Listener {
    /// Binds an address (`localhost`: each loopback). Ports that `existing` returns are not bound.
    ///
    /// # Errors
    ///
    /// Returns the error of the first address that cannot be bound.
    async fn bind(
        listen: &Listen,
        mode: u32,
        existing: impl FnMut(SocketAddr) -> Option<Arc<Self>>,
    ) -> Result<Vec<Arc<Self>>, ListenError> {
        #[cfg(test)]
        if virtual_net::is_active() {
            return virtually::bind(listen, existing);
        }
        match listen {
            Listen::Tcp(address) => Ok(vec![tcp::bind(*address, existing)?]),
            Listen::Localhost(port) => tcp::bind_localhost(*port, existing),
            Listen::Unix(path) => {
                let bound = SocketFile::bind(path, mode).await;
                let error = |kind| ListenError::new(listen.clone(), kind);
                Ok(vec![Arc::new(Self::Unix(bound.map_err(error)?))])
            }
            // Nothing to bind.
            Listen::Systemd(_) => Ok(Vec::new()),
        }
    }

    /// Returns its TCP address, if it has one.
    fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) | Self::Activated(_) => None,
            #[cfg(test)]
            Self::Virtual(listener) => listener.address().tcp().ok(),
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// Returns the system's error, which concerns the listener or one connection.
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                Connection::tcp(tcp)
            }
            Self::Unix(socket) => Connection::unix(socket.accept().await?),
            Self::Activated(socket) => Connection::unix(socket.accept().await?.0),
            #[cfg(test)]
            Self::Virtual(listener) => Ok(Connection::in_memory(listener.accept().await)),
        }
    }

    /// Waits for a connection and returns its socket unchanged.
    ///
    /// # Errors
    ///
    /// Returns the system's error, which concerns the listener or one connection.
    pub async fn accept_stream(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .await
                .map(|(tcp, _)| AcceptedSocket::Tcp(tcp)),
            Self::Unix(socket) => socket.accept().await.map(AcceptedSocket::Unix),
            Self::Activated(socket) => socket
                .accept()
                .await
                .map(|(unix, _)| AcceptedSocket::Unix(unix)),
            #[cfg(test)]
            Self::Virtual(listener) => Ok(AcceptedSocket::Virtual(listener.accept().await)),
        }
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(socket) => Ok(Listen::Unix(socket.path().to_owned())),
            Self::Activated(socket) => {
                let address = socket.local_addr()?;
                let path = address
                    .as_pathname()
                    .unwrap_or_else(|| Path::new("(abstract)"));
                Ok(Listen::Unix(path.to_owned()))
            }
            #[cfg(test)]
            Self::Virtual(listener) => Ok(virtually::address(listener)),
        }
    }
}

/// Maximum number of connections pending in the kernel.
const BACKLOG: i32 = 1024;
