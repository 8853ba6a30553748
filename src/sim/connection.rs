//! A TCP connection of an agent to its destination, with its write queue.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::tls_stream::Socket;
#[cfg(test)]
use crate::virtual_net;

/// A TCP connection. Its queue is bounded by the budget of the agent that fills it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    queue: VecDeque<Bytes>,
    buffer: BytesMut,
}

impl Connection {
    /// Dials the addresses in order.
    ///
    /// # Errors
    ///
    /// Returns the error of the last address, or `HostUnreachable` if there are none.
    pub(super) async fn dial(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::HostUnreachable);
        for address in addresses {
            #[cfg(test)]
            if virtual_net::is_active() {
                match virtual_net::connect(&virtual_net::Address::Tcp(*address)).await {
                    Ok(stream) => return Ok(Self::over(Socket::Virtual(stream))),
                    Err(error) => failure = error,
                }
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => return Self::new(tcp),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self::over(Socket::Plain(tcp)))
    }

    fn over(socket: Socket) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            buffer: BytesMut::new(),
        }
    }

    /// Queues data to be written.
    pub(super) fn push(&mut self, data: Bytes) {
        self.queue.push_back(data);
    }

    /// Writes what the connection accepts, many chunks at once. Returns the number of bytes.
    ///
    /// Pending if nothing could be written or the queue is empty.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut written = 0;
        while !self.queue.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
            let pieces = self.queue.len().min(MAX_SLICES);
            for (slice, piece) in slices.iter_mut().zip(&self.queue) {
                *slice = io::IoSlice::new(piece);
            }
            match Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..pieces]) {
                Poll::Ready(Ok(len)) => {
                    written += len;
                    self.advance(len);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        match written {
            0 => Poll::Pending,
            written => Poll::Ready(Ok(written)),
        }
    }

    /// Reads the available bytes; empty at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.buffer.reserve(READ_SIZE);
        let read = pin!(self.socket.read_buf(&mut self.buffer)).poll(cx);
        read.map_ok(|_| self.buffer.split().freeze())
    }

    fn advance(&mut self, mut len: usize) {
        while let Some(piece) = self.queue.front_mut() {
            if len < piece.len() {
                piece.advance(len);
                return;
            }
            len -= piece.len();
            self.queue.pop_front();
        }
    }
}

/// Chunks per write; Linux accepts 1024, and 64 of 1 KiB fill a socket buffer well.
const MAX_SLICES: usize = 64;
/// Maximum number of bytes per read.
const READ_SIZE: usize = 64 << 10;
