//! One stripe of a bundle: a stream of a session that leads to the port of the relay, as byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::opening::first_stream;
use super::pool_handle::{AcceptPermit, Lease, PoolHandle, SlotRefusal};
use crate::printable::Printable;
use crate::tunnel::{ReadOutcome, Stream};

/// A stream to the relay. Dropping it returns the session to the pool, which ends it.
#[derive(Debug)]
pub(super) struct StripeStream {
    stream: Stream,
    lease: Lease,
    /// Read, and not yet passed on.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were passed on.
    taken: usize,
    has_received: Arc<AtomicBool>,
}

impl StripeStream {
    /// Starts a session, and opens its stream. Fails at `deadline`.
    pub(super) async fn connect(
        pool: Arc<PoolHandle>,
        permit: AcceptPermit,
        deadline: Instant,
    ) -> Result<Self, SlotRefusal> {
        let acquire = || pool.acquire(deadline, &permit, None);
        let (lease, stream) = first_stream(deadline, acquire, Lease::open_stream).await?;
        Ok(Self {
            stream,
            lease,
            buffer: Vec::new(),
            taken: 0,
            has_received: Arc::default(),
        })
    }

    /// Returns the id of its session.
    pub(super) fn session_id(&self) -> Printable {
        self.lease.tunnel().session_id().into()
    }

    /// Returns whether a byte was received, also after this was dropped.
    pub(super) fn has_received(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_received)
    }
}

impl AsyncRead for StripeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.buffer.len() {
            this.buffer.clear();
            this.taken = 0;
            match ready!(
                this.stream
                    .poll_read(context, &mut this.buffer, READ_BUFFER)
            ) {
                ReadOutcome::Bytes => this.has_received.store(true, Relaxed),
                ReadOutcome::End => return Poll::Ready(Ok(())),
                ReadOutcome::Lost(reason) => {
                    return Poll::Ready(Err(io::Error::other(reason.to_string())));
                }
            }
        }
        let rest = &this.buffer[this.taken..];
        let len = rest.len().min(into.remaining());
        into.put_slice(&rest[..len]);
        this.taken += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StripeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(context, data);
        written.map(|written| written.map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The tunnel sends on its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.finish();
        Poll::Ready(Ok(()))
    }
}

/// Maximum bytes of one read from a session.
const READ_BUFFER: usize = 16 * 1024;
