//! Local addresses.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A local address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A port on both 127.0.0.1 and ::1; 0 picks one free port for both.
    Localhost(u16),
    /// One address; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A Unix socket: an absolute path that fits into a socket address.
    Unix(PathBuf),
    /// A socket passed by the service manager under this name (`FileDescriptorName=`).
    Systemd(String),
}

impl Listen {
    /// Returns the port, if it has one; 0 stands for any free port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Localhost(port) => Some(*port),
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// Returns the path, if it is a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Localhost(_) | Self::Tcp(_) | Self::Systemd(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Returns whether only local programs can connect, as far as the file determines it: the
    /// address of a socket passed by the service manager is known only when it is passed.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Localhost(_) | Self::Unix(_) | Self::Systemd(_) => true,
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
