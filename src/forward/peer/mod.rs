//! The peer of a connection, and whether it still holds its socket.
//!
//! A client that has closed fully and one that has half-closed look the same on a TCP socket: end
//! of file. But a half-closed client still holds its socket, which the kernel knows: a closed
//! client's socket has inode 0, or does not exist any more. The kernel only knows sockets of this
//! machine, so clients on other machines cannot be checked, nor any client where netlink is not
//! permitted: keep-alive finds those that are gone.
//!
//! If an address was rewritten (REDIRECT of the packet filter), or the listener belongs to another
//! network namespace, the client's socket is not found although it exists. So a socket that is *not
//! found* means that its client is gone only if it was found before.

mod sock_diag;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::blocking;
use crate::printable::Printable;

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(TcpPeer),
    Unix(Credentials),
    /// The parent process, on stdin and stdout.
    Stdio,
}

impl Peer {
    /// Returns whether it is on this machine, as far as that is known.
    pub(super) fn is_local(self) -> bool {
        match self {
            Self::Tcp(peer) => peer.is_loopback() || peer.is_known(),
            Self::Unix(_) | Self::Stdio => true,
        }
    }

    /// Returns the name of the program that opened a Unix socket, if it still runs. The name is the
    /// program's choice.
    pub(super) async fn command(self) -> Option<Printable> {
        let Self::Unix(Credentials { pid: Some(pid), .. }) = self else {
            return None;
        };
        // The file system of processes may hang with the process.
        let read = blocking::spawn(move || command_of(pid));
        timeout(COMMAND_TIMEOUT, read).await.ok()?.ok()?
    }
}

fn command_of(pid: i32) -> Option<Printable> {
    let mut text = Vec::new();
    let file = File::open(format!("/proc/{pid}/comm")).ok()?;
    file.take(MAX_COMMAND as u64).read_to_end(&mut text).ok()?;
    let command = Printable::from_bytes(&text, MAX_COMMAND);
    (!command.is_empty()).then_some(command)
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(peer) => peer.address.fmt(f),
            Self::Unix(credentials) => credentials.fmt(f),
            Self::Stdio => f.write_str("stdin"),
        }
    }
}

/// Credentials of a process when it connected, as reported by the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials {
    pub(super) pid: Option<i32>,
    pub(super) uid: u32,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "pid {pid}, ")?;
        }
        write!(f, "uid {}", self.uid)
    }
}

/// The peer of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpPeer {
    /// Our address.
    local: SocketAddr,
    address: SocketAddr,
    /// Its socket was found on this machine.
    was_found: bool,
}

impl TcpPeer {
    /// Returns the peer of a connection that was just accepted.
    pub(super) fn new(local: SocketAddr, address: SocketAddr) -> Self {
        let (local, address) = (canonical(local), canonical(address));
        let was_found = matches!(sock_diag::find(address, local), Ok(Some(_)));
        Self {
            local,
            address,
            was_found,
        }
    }

    /// Returns the peer of a connection in memory, which no kernel knows.
    #[cfg(test)]
    pub(super) fn unseen(local: SocketAddr, address: SocketAddr) -> Self {
        Self {
            local,
            address,
            was_found: false,
        }
    }

    /// Returns true for a loopback address, whether its socket was found or not.
    pub(super) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// Returns true if its socket was found at accept.
    pub(super) fn is_known(&self) -> bool {
        self.was_found
    }

    /// Returns true if it no longer holds its socket. False if it does, or if that is unknown.
    pub(super) fn is_closed(&self) -> bool {
        match sock_diag::find(self.address, self.local) {
            Ok(Some(entry)) => entry.inode == 0,
            Ok(None) => self.was_found,
            Err(_) => false,
        }
    }

    /// Returns the written bytes, plus a FIN, that its kernel has not acknowledged. 0 if unknown.
    pub(super) fn unacknowledged(&self) -> u32 {
        match sock_diag::find(self.local, self.address) {
            Ok(Some(entry)) => entry.unacknowledged,
            Ok(None) | Err(_) => 0,
        }
    }
}

/// Unmaps an IPv4-mapped address: a client may reach an IPv4 listener by one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

/// Timeout of the search for a program.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum length of the name of a program; Linux cuts it to 15 bytes.
const MAX_COMMAND: usize = 64;

#[cfg(test)]
mod tests;
