//! The socket of a destination. A TCP connection that is dropped is reset, unless it was closed
//! gracefully.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

/// A connection to a destination.
#[derive(Debug)]
pub(super) enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// To a Unix socket of this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Wraps a TCP connection.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO))?;
        // A destination that is gone is noticed.
        let keepalive = TcpKeepalive::new();
        let keepalive = keepalive.with_time(IDLE).with_interval(PROBE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)?;
        Ok(Self::Tcp(stream))
    }

    /// Reads available bytes. Empty at the end. `None` if there are none now.
    pub(super) fn try_read(&self, max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = Vec::with_capacity(max);
        let read = match self {
            Self::Tcp(stream) => stream.try_read_buf(&mut buffer),
            Self::Unix(stream) => stream.try_read_buf(&mut buffer),
        };
        match read {
            Ok(_) => Ok(Some(buffer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes everything.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            let written = match self {
                Self::Tcp(stream) => stream.try_write(bytes),
                Self::Unix(stream) => stream.try_write(bytes),
            };
            match written {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until there is something to read, or the end.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Waits until there is room for bytes, or the connection has failed.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Ends the direction towards the destination, after all bytes that were written.
    pub(super) fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        }
    }

    /// Closes a connection whose directions have both ended: the kernel delivers what was written.
    pub(super) fn close_gracefully(self) {
        if let Self::Tcp(stream) = &self {
            // If it fails, the connection is reset.
            let _closed = SockRef::from(stream).set_linger(None);
        }
    }
}

/// Idle time of a destination before it is probed, and time between probes.
const IDLE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(20);
