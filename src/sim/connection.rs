//! A connection of an agent to its destination: what waits to be written, and what comes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// One TCP connection. Its queue is bounded by the budget of the agent that fills it.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    queue: VecDeque<Bytes>,
    buffer: BytesMut,
}

impl Connection {
    /// Dials the addresses in order.
    ///
    /// # Errors
    ///
    /// That of the last one, or that there is none.
    pub(super) async fn dial(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::HostUnreachable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Self::new(tcp),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self {
            tcp,
            queue: VecDeque::new(),
            buffer: BytesMut::new(),
        })
    }

    /// Adds to what waits to be written.
    pub(super) fn push(&mut self, data: Bytes) {
        self.queue.push_back(data);
    }

    /// Writes what the connection takes, many pieces at once; how much that was.
    ///
    /// Pending only if nothing could be written, and always if nothing waits.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut written = 0;
        while !self.queue.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); MAX_SLICES];
            let pieces = self.queue.len().min(MAX_SLICES);
            for (slice, piece) in slices.iter_mut().zip(&self.queue) {
                *slice = io::IoSlice::new(piece);
            }
            match Pin::new(&mut self.tcp).poll_write_vectored(cx, &slices[..pieces]) {
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

    /// Reads what is there; empty at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.buffer.reserve(READ_SIZE);
        let read = pin!(self.tcp.read_buf(&mut self.buffer)).poll(cx);
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

/// Pieces in one write; Linux takes 1024, and 64 of 1 KiB fill a socket's buffer well.
const MAX_SLICES: usize = 64;
/// Bytes asked for in one read.
const READ_SIZE: usize = 64 << 10;
