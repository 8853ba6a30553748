//! Who is at the other end of a connection, and whether it is still there.
//!
//! A client that has closed fully and one that has closed one direction look the same on a TCP
//! socket: an end of file. But while a client that half-closed still holds its end, one that is
//! gone holds none, and the kernel knows: its socket has the inode 0, or is not there any more.
//! The kernel tells of this machine's sockets only, so of clients elsewhere nothing is known.
//!
//! ```text
//!   diag    asks for one socket by its addresses: 5 µs, however many there are
//!   table   reads all of them in /proc: 20 ms and more; where diag is not allowed
//! ```
//!
//! Where an address was rewritten on the way (a REDIRECT of the packet filter), or the listener
//! came from another network namespace, the client's socket is not found although it is there. So
//! a socket that is *not found* means that its client is gone only if it was found before.

mod proc_net_tcp;
mod sock_diag;

use std::fmt;
use std::net::SocketAddr;

/// Who connected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Tcp(TcpPeer),
    Unix(Credentials),
    /// Whoever started this process.
    Standard,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(peer) => peer.address.fmt(f),
            Self::Unix(credentials) => credentials.fmt(f),
            Self::Standard => f.write_str("stdin"),
        }
    }
}

/// A process, as the kernel knew it when it connected.
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

/// The other end of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpPeer {
    /// Our end.
    local: SocketAddr,
    address: SocketAddr,
    /// Its socket was found on this machine.
    sighted: bool,
}

impl TcpPeer {
    /// The peer of a connection that was just accepted.
    pub(super) fn new(local: SocketAddr, address: SocketAddr) -> Self {
        let (local, address) = (canonical(local), canonical(address));
        let sighted = matches!(sock_diag::find(address, local), Ok(Some(_)));
        Self {
            local,
            address,
            sighted,
        }
    }

    /// True if it is on this machine, whatever was found of it.
    pub(super) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// True if its socket was found when it was accepted.
    pub(super) fn is_known(&self) -> bool {
        self.sighted
    }

    /// True if it holds its socket no more. False if it does, or if nobody knows.
    pub(super) async fn is_closed(&self) -> bool {
        match sock_diag::find(self.address, self.local) {
            Ok(Some(entry)) => entry.inode == 0,
            Ok(None) if self.sighted => true,
            Ok(None) | Err(_) if self.address.ip().is_loopback() => {
                proc_net_tcp::is_orphaned(self.address, self.local).await
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// How much of what was written its system has not taken, in bytes, a FIN included. 0 if that is
    /// not known.
    pub(super) fn unacknowledged(&self) -> u32 {
        match sock_diag::find(self.local, self.address) {
            Ok(Some(entry)) => entry.unacknowledged,
            Ok(None) | Err(_) => 0,
        }
    }
}

/// A client may reach an IPv4 listener by a mapped address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests;
