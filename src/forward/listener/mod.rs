//! Local listeners: TCP and Unix sockets under one name.

mod error;
mod tcp;
mod unix;

use std::io;

use tokio::net::TcpListener;

use self::unix::SocketFile;
use super::connection::Connection;
use crate::config::{Forward, Listen};

pub use self::error::{ListenError, Obstacle};

/// A bound local address.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(SocketFile),
}

impl Listener {
    /// Binds every address of a forward, or none.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub(super) async fn bind(settings: &Forward) -> Result<Vec<Self>, ListenError> {
        let mut listeners = Vec::new();
        for address in &settings.listen {
            match address {
                Listen::Tcp(address) => listeners.push(Self::Tcp(tcp::bind(*address)?)),
                Listen::Localhost(port) => {
                    listeners.extend(tcp::bind_localhost(*port)?.into_iter().map(Self::Tcp));
                }
                Listen::Unix(path) => {
                    let bound = SocketFile::bind(path, settings.mode).await;
                    let error = |obstacle| ListenError::new(address.clone(), obstacle);
                    listeners.push(Self::Unix(bound.map_err(error)?));
                }
            }
        }
        Ok(listeners)
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
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(socket) => Ok(Listen::Unix(socket.path().to_owned())),
        }
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
