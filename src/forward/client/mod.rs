//! An accepted connection: reads, writes, and how it is told an end.
//!
//! A connection is born with the promise to be reset: whatever drops it, an error, a panic or
//! the death of the process, its client sees a reset and never a clean end. Only
//! [`Connection::finish`], after the last byte of a true end, turns the promise into a FIN.

mod stdio;
mod tcp;
mod unix;

use std::future::pending;
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tracing::debug;

pub use self::stdio::Standard;
use self::stdio::StandardSocket;
pub(super) use self::stdio::{Fault, Faults};
use self::tcp::TcpSocket;
use self::unix::UnixSocket;
use super::peer::Peer;

/// An accepted local socket, or what stands for one.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpSocket),
    Unix(UnixSocket),
    Standard(StandardSocket),
}

impl Connection {
    /// Takes an accepted TCP socket.
    ///
    /// # Errors
    ///
    /// If it is gone already.
    pub(super) fn tcp(tcp: TcpStream) -> io::Result<Self> {
        TcpSocket::new(tcp).map(Self::Tcp)
    }

    /// Takes an accepted Unix socket.
    ///
    /// # Errors
    ///
    /// If the system does not say whose it is.
    pub(super) fn unix(unix: UnixStream) -> io::Result<Self> {
        UnixSocket::new(unix).map(Self::Unix)
    }

    /// Takes stdin and stdout; also returns where their faults are told.
    ///
    /// # Errors
    ///
    /// If they cannot be waited for.
    pub(super) fn standard(standard: Standard) -> io::Result<(Self, Faults)> {
        let socket = StandardSocket::new(standard)?;
        let faults = socket.faults();
        Ok((Self::Standard(socket), faults))
    }

    /// Who connected.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(socket) => Peer::Tcp(socket.peer()),
            Self::Unix(socket) => Peer::Unix(socket.credentials()),
            Self::Standard(_) => Peer::Standard,
        }
    }

    /// Reads what is there, or waits for something. An empty buffer is the end.
    ///
    /// # Errors
    ///
    /// What the socket says; a reset above all.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Tcp(socket) => socket.read().await,
            Self::Unix(socket) => socket.read().await,
            Self::Standard(socket) => socket.read().await,
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// What the socket says: the client takes no more.
    pub(super) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.write(data).await {
                Ok(written) => data = &data[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write(&self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.stream().try_write(data),
            Self::Unix(socket) => socket.stream().try_write(data),
            Self::Standard(socket) => socket.write(data).await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.stream().writable().await,
            Self::Unix(socket) => socket.stream().writable().await,
            Self::Standard(socket) => socket.writable().await,
        }
    }

    /// Waits until a client that has ended its side turns out to be gone altogether. Never ends
    /// if that cannot be found out.
    pub(super) async fn gone(&self) {
        if let Self::Standard(socket) = self {
            return socket.gone().await;
        }
        let mut pause = FIRST_LOOK;
        while !self.is_closed().await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_closed().await,
            Self::Unix(socket) => socket.is_closed().await,
            Self::Standard(socket) => socket.is_closed(),
        }
    }

    /// Waits until a client is gone that has not said a byte. Never ends for one that has: what it
    /// said must be delivered. Of stdin nobody knows.
    pub(super) async fn abandoned(&self) {
        let said = match self {
            Self::Tcp(socket) => socket.stream().peek(&mut [0]).await,
            Self::Unix(socket) => socket.peek().await,
            Self::Standard(_) => Ok(0),
        };
        match said {
            Ok(0) => self.gone().await,
            Ok(_) => pending().await,
            Err(_) => {}
        }
    }

    /// Ends the connection truly: FIN, and time for the client to take what was written. What it
    /// still sends has nobody to go to.
    pub(super) async fn finish(self) {
        match self {
            Self::Tcp(socket) => socket.finish().await,
            Self::Unix(socket) => socket.finish().await,
            // What was written stays readable, and there is no other end than this.
            Self::Standard(socket) => drop(socket),
        }
    }

    /// Ends the connection truly, and waits for nothing: the system delivers what was written. A client
    /// that still sends may be reset.
    pub(super) fn leave(self) {
        match self {
            Self::Tcp(socket) => socket.leave(),
            Self::Unix(socket) => socket.leave(),
            Self::Standard(socket) => drop(socket),
        }
    }
}

/// Keeps urgent ("out-of-band") bytes among the others: the system would skip them otherwise, and
/// they would be lost. A system without such bytes has none to lose.
fn take_urgent_bytes_as_others<'a, S>(stream: &'a S)
where
    SockRef<'a>: From<&'a S>,
{
    if let Err(error) = SockRef::from(stream).set_out_of_band_inline(true) {
        debug!(%error, "urgent bytes of this client will be skipped");
    }
}

/// What is read from a client at a time.
const READ_BUFFER: usize = 64 * 1024;

/// When to look after a client that ended its side, and how the pauses grow.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may go on sending after a true end.
const LINGER: Duration = Duration::from_secs(5);
