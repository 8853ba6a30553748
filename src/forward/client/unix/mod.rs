//! A Unix connection: a byte left unread is the promise to be reset.
//!
//! A Unix socket has no RST. Its peer sees ECONNRESET when bytes that it sent are unread at the
//! close, and an end like any other if none are. So the last byte that a client has sent is
//! relayed and yet left in the socket, until the next one comes or a true end:
//!
//! ```text
//!   in the socket   x│abc        x was relayed before and kept; abc is fresh
//!   peek            x abc  ──▶ relayed: abc
//!   read            x ab
//!   in the socket        c│      kept
//! ```
//!
//! Only a short write is kept. Its whole memory stays on the client's account until its last byte
//! is read, and Linux wakes a writer when a quarter of its buffer is in use: a long write that is
//! kept would leave a client with a small buffer asleep for ever. So a client that never sent a
//! byte, or a long write last, cannot be told: it sees an end either way (interfaces.md section 7).

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

use super::{LINGER, READ_BUFFER, take_urgent_bytes_as_others};
use crate::forward::peer::Credentials;

/// An accepted Unix socket.
#[derive(Debug)]
pub(in crate::forward) struct UnixSocket {
    stream: UnixStream,
    credentials: Credentials,
    queue: Mutex<Queue>,
}

/// What is known of the bytes in a socket.
#[derive(Debug, Default)]
struct Queue {
    /// Bytes at its head that were relayed already; they came with short writes.
    kept: usize,
    /// The first byte behind them may belong to a write of which a part was read.
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
            // Known before the look: what comes before an end is in the queue when the end is known.
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

    /// Takes what is fresh, but leaves the last byte of a short write in the queue.
    fn take(&self, is_last: bool) -> io::Result<Vec<u8>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        let seen = recv(&self.stream, spare_capacity(&mut buffer), RecvFlags::PEEK)?.1;
        let kept = queue.kept;
        if seen > kept {
            let is_short = seen <= MAX_KEPT_WRITE && !queue.is_torn;
            queue.is_torn = seen == READ_BUFFER;
            // The same bytes again, over themselves.
            queue.kept = seen - self.consume(&mut buffer[..seen - usize::from(is_short)])?;
            buffer.drain(..kept);
            return Ok(buffer);
        }
        // A peek sees neither beyond a byte that came with a file descriptor, nor beyond an urgent one.
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

    /// Removes bytes from the queue that were seen there. Returns how many.
    fn consume(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match bytes {
            [] => Ok(0),
            bytes => Ok(recv(&self.stream, bytes, RecvFlags::empty())?.1),
        }
    }

    /// Waits for a byte, and leaves it; 0 is the end.
    pub(super) async fn peek(&self) -> io::Result<usize> {
        let peek = || Ok(recv(&self.stream, &mut [0_u8][..], RecvFlags::PEEK)?.1);
        self.stream.async_io(Interest::READABLE, peek).await
    }

    /// A peer that has closed fully is told by POLLHUP, one that has closed one direction is not.
    pub(super) async fn is_closed(&self) -> bool {
        let mut ready = pin!(self.stream.ready(Interest::WRITABLE));
        poll_fn(|cx| {
            let ready = ready.as_mut().poll(cx);
            Poll::Ready(matches!(ready, Poll::Ready(Ok(ready)) if ready.is_write_closed()))
        })
        .await
    }

    /// What was written stays readable when the socket is closed, so there is nothing to wait for
    /// but the client's own bytes: one left unread would be a reset.
    pub(super) async fn finish(self) {
        let ended = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        if ended.is_ok() && timeout(LINGER, self.discard()).await.is_err() {
            self.refuse();
        }
    }

    /// Ends it without waiting.
    pub(super) fn leave(self) {
        self.refuse();
    }

    /// Lets the client's writes fail from now on, and discards the last ones.
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

/// Writes whose last byte may be kept, in bytes together. Each takes at most 768 bytes of the
/// kernel's memory, and the smallest buffer that Linux gives a client has 4608.
const MAX_KEPT_WRITE: usize = 192;

#[cfg(test)]
mod tests;
