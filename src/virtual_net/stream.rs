//! One end of a stream.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Address;
use super::pipe::Pipe;
use super::route::Route;

/// One end of a stream. Dropping it ends it; with unread bytes, or if requested, that is a reset.
pub struct Stream {
    local: Address,
    peer: Address,
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    reset_on_drop: AtomicBool,
}

impl Stream {
    /// Returns the end of the client and the end of the listener.
    pub(super) fn pair(client: Address, server: Address, route: &Arc<Route>) -> (Self, Self) {
        let (up, down) = (Pipe::new(route), Pipe::new(route));
        let end = |local, peer, incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>| Self {
            local,
            peer,
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            reset_on_drop: AtomicBool::new(false),
        };
        let near = end(client.clone(), server.clone(), &down, &up);
        (near, end(server, client, &up, &down))
    }

    /// Returns the address of this end.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// Returns the address of the other end.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// Sets whether a drop resets the stream, as with `SO_LINGER` of zero.
    pub fn reset_on_drop(&self, reset: bool) {
        self.reset_on_drop.store(reset, Relaxed);
    }

    /// Reads available bytes, at most `max`; empty at the end. Cancel safe.
    pub async fn read(&self, max: usize) -> io::Result<Bytes> {
        poll_fn(|cx| self.incoming.poll_read(cx, max)).await
    }

    /// Reads bytes that are available now; `WouldBlock` if there are none.
    pub fn try_read(&self, max: usize) -> io::Result<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        now(self.incoming.poll_read(&mut cx, max))
    }

    /// Waits until a byte can be read, without reading it: false at the end. Cancel safe.
    pub async fn peek(&self) -> io::Result<bool> {
        poll_fn(|cx| self.incoming.poll_peek(cx)).await
    }

    /// Writes some bytes. Cancel safe.
    pub async fn write(&self, data: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.outgoing.poll_write(cx, data)).await
    }

    /// Ends this direction.
    pub fn finish(&self) {
        self.outgoing.finish();
    }

    /// Resets both directions.
    pub fn reset(&self) {
        self.incoming.reset();
        self.outgoing.reset();
    }

    /// Returns true if the other end was dropped, or the stream was reset.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_abandoned() || self.outgoing.is_reset()
    }

    /// Returns true if no more bytes will come, or the stream was reset.
    pub fn is_ended(&self) -> bool {
        self.incoming.is_ended() || self.is_closed()
    }

    /// Returns the number of bytes written that the other end has not read.
    pub fn unread(&self) -> usize {
        self.outgoing.queued()
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({} to {})", self.local, self.peer)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let is_unread = self.incoming.abandon();
        match is_unread || self.reset_on_drop.load(Relaxed) {
            true => self.reset(),
            false => self.finish(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.incoming.poll_read(cx, into.remaining());
        read.map_ok(|bytes| into.put_slice(&bytes))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
