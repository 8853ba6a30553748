//! An accepted connection: reads, writes, and how it is told an end.
//!
//! A connection is born with the promise to be reset: whatever drops it, an error, a panic or
//! the death of the process, its client sees a reset and never a clean end. Only
//! [`Connection::finish`], after the last byte of a true end, turns the promise into a FIN.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::peer;

/// An accepted local socket.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Connection {
    /// Takes an accepted socket.
    ///
    /// # Errors
    ///
    /// If it is gone already.
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
        let local = tcp.local_addr()?;
        Ok(Self { tcp, local, peer })
    }

    /// Who connected.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads what is there, or waits for something. An empty buffer is the end.
    ///
    /// # Errors
    ///
    /// What the socket says; a reset above all.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        loop {
            self.tcp.readable().await?;
            // Made when there is something to read: an idle connection holds no buffer.
            let mut buffer = Vec::with_capacity(READ_BUFFER);
            match self.tcp.try_read_buf(&mut buffer) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// What the socket says: the client has gone.
    pub(super) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.tcp.try_write(data) {
                Ok(written) => data = &data[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a client that has ended its side turns out to be gone altogether. Never ends
    /// if that cannot be found out.
    pub(super) async fn gone(&self) {
        let mut pause = FIRST_LOOK;
        while !peer::is_gone(self.local, self.peer) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Ends the connection truly: FIN, and time for the client to take what was written. What it
    /// still sends has nobody to go to.
    pub(super) async fn finish(self) {
        let socket = SockRef::from(&self.tcp);
        let ended = socket
            .set_linger(None)
            .and_then(|()| socket.shutdown(Shutdown::Write));
        if ended.is_ok() {
            // Closing with unread input would reset the client before it has read our last byte.
            let _ = tokio::time::timeout(LINGER, self.discard()).await;
        }
    }

    async fn discard(&self) {
        while let Ok(bytes) = self.read().await {
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// What is read from a client at a time.
const READ_BUFFER: usize = 64 * 1024;

/// When to look after a client that ended its side, and how the pauses grow.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How long a client may take to close after a true end.
const LINGER: Duration = Duration::from_secs(10);
