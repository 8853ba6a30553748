//! Local listeners: TCP and Unix sockets under one name.

mod error;
mod socket_activation;
mod tcp;
mod unix;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::client::Connection;
use crate::config::{Forward, Listen};

pub use self::error::{ListenError, ListenErrorKind};
pub use self::socket_activation::{ActivatedSockets, InheritedSockets};
pub use self::unix::SocketFile;

/// Local addresses that are bound, as they were written. A clone keeps them bound too.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Vec<Group>);

/// What was written, and what it stands for.
type Group = (Listen, Vec<Arc<Listener>>);

/// What is to be bound.
#[derive(Clone, Copy, Debug)]
pub struct ListenSpec<'a> {
    /// The addresses, as they were written.
    pub listen: &'a [Listen],
    /// The permissions of Unix sockets.
    pub mode: u32,
    /// Whether what was passed may listen where other machines can reach it.
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
    /// Every address that is wanted, or none. What `own` has, which the predecessor held, is taken from
    /// there, and what `held` has that others held: as it was written, or a single port of it.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub async fn bind(
        wanted: ListenSpec<'_>,
        passed: &ActivatedSockets,
        mut own: Self,
        held: &mut Self,
    ) -> Result<Self, ListenError> {
        let mut bound = Self::default();
        for listen in wanted.listen {
            let taken = own.take(listen).or_else(|| held.take(listen));
            let there = |port| own.take_port(port).or_else(|| held.take_port(port));
            let group = match (taken, listen) {
                (Some(group), _) => Ok(group),
                (None, Listen::Systemd(name)) => passed_by(passed, name, wanted),
                (None, _) => Listener::bind(listen, wanted.mode, there).await,
            };
            let group = group.map_err(|error| {
                error.or_ours(|port| own.in_the_way(port).or_else(|| held.in_the_way(port)))
            })?;
            bound.0.push((listen.clone(), group));
        }
        Ok(bound)
    }

    /// Adds what another has, but for free ports: those are not what somebody else asks for.
    pub fn join(&mut self, other: &Self) {
        let chosen = other
            .0
            .iter()
            .filter(|(listen, _)| listen.port() != Some(0));
        self.0.extend(chosen.cloned());
    }

    fn take(&mut self, listen: &Listen) -> Option<Vec<Arc<Listener>>> {
        let place = self.0.iter().position(|(held, _)| held == listen)?;
        Some(self.0.remove(place).1)
    }

    /// A listener on exactly that port, of those that were written as ports. One that was free when
    /// it was chosen stays with its own.
    fn take_port(&mut self, port: SocketAddr) -> Option<Arc<Listener>> {
        let is_chosen = |listen: &Listen| listen.port().is_some_and(|port| port != 0);
        let groups = self.0.iter_mut().filter(|(listen, _)| is_chosen(listen));
        groups.map(|(_, group)| group).find_map(|group| {
            let place = group.iter().position(|one| one.port() == Some(port))?;
            Some(group.remove(place))
        })
    }

    /// Where something listens that leaves no place for a listener there.
    fn in_the_way(&self, port: SocketAddr) -> Option<SocketAddr> {
        let mut ports = self.listeners().filter_map(|one| one.port());
        ports.find(|other| {
            let (a, b) = (port.ip(), other.ip());
            port.port() == other.port()
                && a.is_ipv4() == b.is_ipv4()
                && (a == b || a.is_unspecified() || b.is_unspecified())
        })
    }

    /// Each by itself.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.0.iter().flat_map(|(_, group)| group)
    }

    /// What was bound for somebody else may be for others to connect to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.listeners().try_for_each(|listener| match &**listener {
            Listener::Tcp(_) | Listener::Passed(_) => Ok(()),
            Listener::Unix(socket) => socket.set_mode(mode),
        })
    }
}

/// A bound local address.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A Unix socket, and its file.
    Unix(SocketFile),
    /// A Unix socket whose file is somebody else's.
    Passed(UnixListener),
}

/// An accepted socket.
#[derive(Debug)]
pub enum Stream {
    /// Of a port.
    Tcp(TcpStream),
    /// Of a Unix socket.
    Unix(UnixStream),
}

/// What was passed under a name, if it is as the forward wants it.
fn passed_by(
    passed: &ActivatedSockets,
    name: &str,
    wanted: ListenSpec<'_>,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    let error = |obstacle| ListenError::new(Listen::Systemd(name.to_owned()), obstacle);
    let Some(group) = passed.of(name) else {
        return Err(error(ListenErrorKind::NotPassed(passed.names())));
    };
    let addresses = group.iter().filter_map(|listener| listener.address().ok());
    let is_open = |address: &Listen| !address.is_loopback() && !wanted.allow_remote_clients;
    match addresses.into_iter().find(is_open) {
        Some(address) => Err(error(ListenErrorKind::Open(address.to_string()))),
        None => Ok(group.clone()),
    }
}

impl Listener {
    /// Binds what was written: a port may be one on each loopback. What is `there` is not bound again.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    async fn bind(
        listen: &Listen,
        mode: u32,
        there: impl FnMut(SocketAddr) -> Option<Arc<Self>>,
    ) -> Result<Vec<Arc<Self>>, ListenError> {
        match listen {
            Listen::Tcp(address) => Ok(vec![tcp::bind(*address, there)?]),
            Listen::Localhost(port) => tcp::bind_localhost(*port, there),
            Listen::Unix(path) => {
                let bound = SocketFile::bind(path, mode).await;
                let error = |obstacle| ListenError::new(listen.clone(), obstacle);
                Ok(vec![Arc::new(Self::Unix(bound.map_err(error)?))])
            }
            // Nothing is to be bound.
            Listen::Systemd(_) => Ok(Vec::new()),
        }
    }

    /// Its port, if it is one.
    fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) | Self::Passed(_) => None,
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// What the system says, of the listener or of one connection.
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                Connection::tcp(tcp)
            }
            Self::Unix(socket) => Connection::unix(socket.accept().await?),
            Self::Passed(socket) => Connection::unix(socket.accept().await?.0),
        }
    }

    /// Waits for a connection, and takes it as it is.
    ///
    /// # Errors
    ///
    /// What the system says, of the listener or of one connection.
    pub async fn accept_stream(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(tcp, _)| Stream::Tcp(tcp)),
            Self::Unix(socket) => socket.accept().await.map(Stream::Unix),
            Self::Passed(socket) => socket.accept().await.map(|(unix, _)| Stream::Unix(unix)),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(socket) => Ok(Listen::Unix(socket.path().to_owned())),
            Self::Passed(socket) => {
                let address = socket.local_addr()?;
                let path = address
                    .as_pathname()
                    .unwrap_or_else(|| Path::new("(abstract)"));
                Ok(Listen::Unix(path.to_owned()))
            }
        }
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
