//! An accepted client connection: reads, writes, and closes it gracefully or with a reset.
//!
//! By default a connection is reset when it is dropped: after an error, a panic or the death of the
//! process, the client sees a reset and never a clean end. Only [`Connection::close_gracefully`]
//! (or [`Connection::close_without_waiting`]), called after the last byte, closes it with FIN.

mod stdio;
mod tcp;
mod unix;
#[cfg(test)]
mod virtually;

use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tracing::debug;

pub use self::stdio::Stdio;
use self::stdio::StdioSocket;
pub(super) use self::stdio::{StdioIoError, StdioIoErrors};
use self::tcp::TcpSocket;
use self::unix::UnixSocket;
#[cfg(test)]
use self::virtually::VirtualSocket;
use super::peer::Peer;

/// An accepted local socket, or stdin and stdout.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpSocket),
    Unix(UnixSocket),
    Stdio(StdioSocket),
    /// In memory, in virtual time.
    #[cfg(test)]
    Virtual(VirtualSocket),
}

impl Connection {
    /// Wraps an accepted TCP socket.
    ///
    /// # Errors
    ///
    /// If the client has already closed it.
    pub(super) fn tcp(tcp: TcpStream) -> io::Result<Self> {
        TcpSocket::new(tcp).map(Self::Tcp)
    }

    /// Wraps an accepted Unix socket.
    ///
    /// # Errors
    ///
    /// If the kernel does not report the credentials of the peer.
    pub(super) fn unix(unix: UnixStream) -> io::Result<Self> {
        UnixSocket::new(unix).map(Self::Unix)
    }

    /// Wraps a stream of the virtual network.
    #[cfg(test)]
    pub(super) fn in_memory(stream: crate::virtual_net::Stream) -> Self {
        Self::Virtual(VirtualSocket::new(stream))
    }

    /// Wraps stdin and stdout; also returns a receiver of their faults.
    ///
    /// # Errors
    ///
    /// If they cannot be registered with the runtime.
    pub(super) fn standard(standard: Stdio) -> io::Result<(Self, StdioIoErrors)> {
        let socket = StdioSocket::new(standard)?;
        let faults = socket.faults();
        Ok((Self::Stdio(socket), faults))
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(socket) => Peer::Tcp(socket.peer()),
            Self::Unix(socket) => Peer::Unix(socket.credentials()),
            Self::Stdio(_) => Peer::Stdio,
            #[cfg(test)]
            Self::Virtual(socket) => Peer::Tcp(socket.peer()),
        }
    }

    /// Reads available bytes, or waits for some. An empty buffer means end of file.
    ///
    /// # Errors
    ///
    /// Returns the I/O error of the socket, such as a reset.
    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Tcp(socket) => socket.read().await,
            Self::Unix(socket) => socket.read().await,
            Self::Stdio(socket) => socket.read().await,
            #[cfg(test)]
            Self::Virtual(socket) => socket.read().await,
        }
    }

    /// Writes everything, and calls `written` with the number of bytes of each write.
    ///
    /// # Errors
    ///
    /// Returns the I/O error of the socket: the client takes no more bytes.
    pub(super) async fn write_all(
        &self,
        mut data: &[u8],
        written: impl Fn(usize),
    ) -> io::Result<()> {
        while !data.is_empty() {
            match self.write(data).await {
                Ok(len) => {
                    written(len);
                    data = &data[len..];
                }
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
            Self::Stdio(socket) => socket.write(data).await,
            #[cfg(test)]
            Self::Virtual(socket) => socket.write(data).await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.stream().writable().await,
            Self::Unix(socket) => socket.stream().writable().await,
            Self::Stdio(socket) => socket.writable().await,
            #[cfg(test)]
            Self::Virtual(_) => Ok(()),
        }
    }

    /// Waits until a client that has closed its sending direction has closed fully. Never returns
    /// if that cannot be detected.
    pub(super) async fn client_closed(&self) {
        if let Self::Stdio(socket) = self {
            return socket.client_closed().await;
        }
        let mut pause = FIRST_PAUSE;
        while !self.is_closed().await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Returns true if the client is known to have closed, whether or not bytes of it are unread.
    pub(super) async fn is_closed(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_closed(),
            Self::Unix(socket) => socket.is_closed().await,
            Self::Stdio(socket) => socket.is_closed(),
            #[cfg(test)]
            Self::Virtual(socket) => socket.is_closed(),
        }
    }

    /// Waits until a client that has sent no byte has closed, or one that has sent some has reset
    /// its connection: bytes of a client that has closed must be delivered. stdin counts as having
    /// sent none.
    pub(super) async fn closed_while_waiting(&self) {
        let sent = match self {
            Self::Tcp(socket) => socket.stream().peek(&mut [0]).await,
            Self::Unix(socket) => socket.peek().await,
            Self::Stdio(_) => Ok(0),
            #[cfg(test)]
            Self::Virtual(socket) => socket.peek().await,
        };
        match sent {
            Ok(0) => self.client_closed().await,
            Ok(_) => self.failed().await,
            Err(_) => {}
        }
    }

    /// Waits until the client has reset its connection, or it has failed otherwise, whether or not
    /// bytes of it are unread. Never returns if that cannot be detected: a Unix socket has no reset.
    pub(super) async fn failed(&self) {
        match self {
            Self::Tcp(socket) => socket.failed().await,
            Self::Unix(_) | Self::Stdio(_) => pending().await,
            #[cfg(test)]
            Self::Virtual(_) => pending().await,
        }
    }

    /// Sends FIN, and waits until the client has what was written. Then
    /// [`Connection::close_gracefully`] must be called.
    pub(super) async fn deliver(&self) -> Delivery {
        match self {
            Self::Tcp(socket) => socket.deliver().await,
            // What was written stays readable after the close.
            Self::Unix(_) | Self::Stdio(_) => Delivery::Complete,
            #[cfg(test)]
            Self::Virtual(_) => Delivery::Complete,
        }
    }

    /// Ends the direction towards the client; it may still send. Returns false if that is only
    /// possible by closing the connection.
    pub(super) fn finish(&self) -> bool {
        let ended = match self {
            Self::Tcp(socket) => socket.end_output(),
            Self::Unix(socket) => SockRef::from(socket.stream()).shutdown(Shutdown::Write),
            Self::Stdio(_) => return false,
            #[cfg(test)]
            Self::Virtual(_) => return false,
        };
        // If the client is gone, the next read reports it.
        drop(ended);
        true
    }

    /// Resets a connection that [`Connection::deliver`] has ended.
    pub(super) fn reset(self) {
        if let Self::Tcp(socket) = &self {
            socket.reset_on_drop();
        }
    }

    /// Closes the connection gracefully: sends FIN and gives the client time to read what was
    /// written. What it still sends is discarded.
    pub(super) async fn close_gracefully(self) {
        match self {
            Self::Tcp(socket) => socket.close_gracefully().await,
            Self::Unix(socket) => socket.close_gracefully().await,
            // What was written stays readable, and closing is the only way to signal the end.
            Self::Stdio(socket) => drop(socket),
            #[cfg(test)]
            Self::Virtual(socket) => socket.close_gracefully().await,
        }
    }

    /// Closes the connection gracefully after a message to a client that may still send a long
    /// request, of which little is read. May never return: the caller has a deadline.
    pub(super) async fn close_after_message(self) {
        match self {
            Self::Tcp(socket) => socket.close_discarding(MAX_REQUEST).await,
            Self::Unix(_) | Self::Stdio(_) => self.close_gracefully().await,
            #[cfg(test)]
            Self::Virtual(_) => self.close_gracefully().await,
        }
    }

    /// Closes the connection gracefully without waiting: the kernel delivers what was written. A
    /// client that still sends may be reset.
    pub(super) fn close_without_waiting(self) {
        match self {
            Self::Tcp(socket) => socket.close_without_waiting(),
            Self::Unix(socket) => socket.close_without_waiting(),
            Self::Stdio(socket) => drop(socket),
            #[cfg(test)]
            Self::Virtual(socket) => socket.close_without_waiting(),
        }
    }
}

/// Whether a client has received everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It has everything, as far as its kernel says.
    Complete,
    /// It closed or reset the connection before.
    ClientClosed,
    /// It does not read; the kernel keeps trying for a while.
    LeftToKernel,
}

/// Delivers urgent ("out-of-band") bytes in line with the others; the kernel would skip them
/// otherwise. Ignores the error of a system without such bytes.
fn take_urgent_bytes_as_others<'a, S>(stream: &'a S)
where
    SockRef<'a>: From<&'a S>,
{
    if let Err(error) = SockRef::from(stream).set_out_of_band_inline(true) {
        debug!(%error, "cannot receive urgent bytes of this client inline; they will be skipped");
    }
}

/// Maximum bytes per read from a client.
const READ_BUFFER: usize = 64 * 1024;

/// Poll interval for the close of a client that has half-closed, initial and maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Maximum bytes that a client may continue to send after a message.
const MAX_REQUEST: usize = 1 << 20;

/// How long a client may continue to send after a graceful close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn bytes_of_a_write_that_does_not_end_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection::tcp(listener.accept().await.unwrap().0).unwrap();
        let count = Cell::new(0);
        let more_than_buffers = vec![7; 64 * 1024 * 1024];

        let add = |len| count.set(count.get() + len);
        let writing = connection.write_all(&more_than_buffers, add);
        let unfinished = timeout(Duration::from_millis(100), writing).await;

        assert!(unfinished.is_err());
        assert_ne!(count.get(), 0);
        client.read_exact(&mut vec![0; count.get()]).unwrap();
        client.set_nonblocking(true).unwrap();
        let more = client.read(&mut [0]).unwrap_err();
        assert_eq!(more.kind(), io::ErrorKind::WouldBlock);
    }
}
