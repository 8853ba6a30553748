//! A Unix connection. A byte left unread makes a plain close a reset.
//!
//! A Unix socket has no RST. Its peer sees ECONNRESET if bytes that it sent are unread at the
//! close, and a normal end of file otherwise. So the last byte that a client has sent is relayed
//! but left in the socket, until the next one arrives or the connection closes gracefully:
//!
//! ```text
//!   in the socket   x│abc        x was relayed before and kept; abc is new
//!   peek            x abc  ──▶ relayed: abc
//!   read            x ab
//!   in the socket        c│      kept
//! ```
//!
//! Only a short write is kept. Its whole memory counts against the client's send buffer until its
//! last byte is read, and Linux wakes a writer only below a quarter of the buffer: keeping a long
//! write would block a client with a small buffer indefinitely. So a client that never sent a byte,
//! or sent a long write last, sees no reset but end of file (docs/interfaces.md, section 7).

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use rustix::buffer::spare_capacity;
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{CLOSE_TIMEOUT, READ_BUFFER, take_urgent_bytes_as_others};
use crate::forward::peer::Credentials;

/// An accepted Unix socket.
#[derive(Debug)]
pub(in crate::forward) struct UnixSocket {
    stream: UnixStream,
    credentials: Credentials,
    queue: Mutex<ReceiveQueue>,
}

/// State of the receive queue of a socket.
#[derive(Debug, Default)]
struct ReceiveQueue {
    /// Bytes at its head that were relayed already; they came with short writes.
    kept: usize,
    /// The first byte after them may belong to a write that was partly read.
    is_torn: bool,
}

impl UnixSocket {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        take_urgent_bytes_as_others(&stream);
        Ok(Self {
            stream,
            credentials: Credentials {
                pid: credentials.pid(),
                uid: credentials.uid(),
            },
            queue: Mutex::default(),
        })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.credentials
    }

    pub(super) async fn read(&self) -> io::Result<Vec<u8>> {
        loop {
            let ready = self.stream.ready(Interest::READABLE).await?;
            // Read before the peek: bytes before the end are in the queue once the end is known.
            let is_last = ready.is_read_closed();
            match self
                .stream
                .try_io(Interest::READABLE, || self.take(is_last))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    /// Takes the new bytes, but leaves the last byte of a short write in the queue.
    fn take(&self, is_last: bool) -> io::Result<Vec<u8>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        let seen = recv(&self.stream, spare_capacity(&mut buffer), RecvFlags::PEEK)?.1;
        let kept = queue.kept;
        if seen > kept {
            let is_short = seen <= MAX_KEPT_WRITE && !queue.is_torn;
            queue.is_torn = seen == READ_BUFFER;
            // Reads the same bytes again, over themselves.
            queue.kept = seen - self.consume(&mut buffer[..seen - usize::from(is_short)])?;
            buffer.drain(..kept);
            return Ok(buffer);
        }
        // A peek stops at a byte that came with a file descriptor, and at an urgent one.
        if kept > 0 && ioctl_fionread(&self.stream)? > kept as u64 {
            queue.kept -= self.consume(&mut buffer)?;
            drop(queue);
            return self.take(is_last);
        }
        if seen == 0 || is_last {
            return Ok(Vec::new());
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Removes peeked bytes from the queue. Returns how many.
    fn consume(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match bytes {
            [] => Ok(0),
            bytes => Ok(recv(&self.stream, bytes, RecvFlags::empty())?.1),
        }
    }

    /// Waits for a byte without taking it; 0 means end of file.
    pub(super) async fn peek(&self) -> io::Result<usize> {
        let peek = || Ok(recv(&self.stream, &mut [0_u8][..], RecvFlags::PEEK)?.1);
        self.stream.async_io(Interest::READABLE, peek).await
    }

    /// A peer that has closed fully causes POLLHUP, one that has closed one direction does not.
    pub(super) async fn is_closed(&self) -> bool {
        let mut ready = pin!(self.stream.ready(Interest::WRITABLE));
        poll_fn(|cx| {
            let ready = ready.as_mut().poll(cx);
            Poll::Ready(matches!(ready, Poll::Ready(Ok(ready)) if ready.is_write_closed()))
        })
        .await
    }

    /// What was written stays readable after the close, so only the client's own bytes must be
    /// waited for: one left unread would cause a reset.
    pub(super) async fn close_gracefully(self) {
        let ended = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        if ended.is_ok() && timeout(CLOSE_TIMEOUT, self.discard()).await.is_err() {
            self.refuse();
        }
    }

    /// Closes without waiting.
    pub(super) fn close_without_waiting(self) {
        self.refuse();
    }

    /// Makes the client's writes fail from now on, and discards the last ones.
    fn refuse(&self) {
        if SockRef::from(&self.stream).shutdown(Shutdown::Both).is_ok() {
            let mut buffer = [0; 4096];
            while self.stream.try_read(&mut buffer).is_ok_and(|len| len > 0) {}
        }
    }

    async fn discard(&self) {
        let mut buffer = [0; 4096];
        loop {
            let read = match self.stream.readable().await {
                Ok(()) => self.stream.try_read(&mut buffer),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Maximum size of writes whose last byte is kept, in total. Each takes at most 768 bytes of kernel
/// memory, and the smallest send buffer on Linux has 4608.
const MAX_KEPT_WRITE: usize = 192;

#[cfg(test)]
mod tests;
