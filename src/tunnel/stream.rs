//! A stream of a tunnel, used by the one task that relays it.
//!
//! Reads and writes access the core directly; a blocked one registers a waker. Dropping the stream
//! resets it: what was written is still sent, and nothing more is read.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Inner, Shared};
use crate::proto::{Read, Reason, StreamId, Upload, Write};

/// One connection in a tunnel.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: StreamId,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId) -> Self {
        Self { shared, id }
    }

    /// Returns its number in the tunnel.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Takes as many bytes for the destination as fit. Cancel safe.
    ///
    /// # Errors
    ///
    /// If nothing can be written any more; [`Stream::read`] returns the reason.
    pub async fn write(&self, data: &[u8]) -> Result<usize, WriteClosed> {
        std::future::poll_fn(|cx| self.poll_write(cx, data)).await
    }

    /// As [`Stream::write`].
    ///
    /// # Errors
    ///
    /// As [`Stream::write`].
    pub fn poll_write(&self, cx: &Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteClosed>> {
        let mut inner = self.shared.lock();
        match inner.core.write(self.id, data) {
            Write::Accepted(taken) => {
                drop(inner);
                self.shared.output_ready.notify_one();
                Poll::Ready(Ok(taken))
            }
            Write::Closed => Poll::Ready(Err(WriteClosed)),
            Write::Full => {
                inner.writers.insert(self.id, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits for bytes from the destination and appends them to `into`, up to `max` in total.
    /// Cancel safe.
    pub async fn read(&self, into: &mut Vec<u8>, max: usize) -> ReadOutcome {
        std::future::poll_fn(|cx| self.poll_read(cx, into, max)).await
    }

    /// As [`Stream::read`].
    pub fn poll_read(&self, cx: &Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<ReadOutcome> {
        self.shared.with_backpressure(|inner| {
            let before = into.len();
            match self.read_into(inner, into, max) {
                _ if into.len() > before => Poll::Ready(ReadOutcome::Bytes),
                Read::End => Poll::Ready(ReadOutcome::End),
                Read::Lost(reason) => Poll::Ready(ReadOutcome::Lost(reason)),
                Read::Blocked | Read::Data(_) => {
                    // An idle connection must not hold a buffer.
                    *into = Vec::new();
                    inner.readers.insert(self.id, cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Reads available bytes, and returns why there are no more.
    fn read_into(&self, inner: &mut Inner, into: &mut Vec<u8>, max: usize) -> Read {
        while into.len() < max {
            match inner.core.read(self.id, max - into.len()) {
                Read::Data(chunk) => into.extend_from_slice(&chunk),
                other @ (Read::Blocked | Read::End | Read::Lost(_)) => return other,
            }
        }
        Read::Blocked
    }

    /// The local side has half-closed: it writes no more, but still reads.
    pub fn finish(&self) {
        self.shared.with_core(|core| core.finish(self.id));
    }

    /// The local side has closed.
    pub fn reset(&self) {
        self.shared.with_core(|core| core.reset(self.id));
    }

    /// The local side has closed. Returns whether the written bytes were delivered, once that is
    /// known.
    pub async fn leave(&self) -> Upload {
        self.shared.with_core(|core| core.leave(self.id));
        std::future::poll_fn(|cx| {
            let mut inner = self.shared.lock();
            match inner.core.upload(self.id) {
                Upload::Pending => {
                    inner.readers.insert(self.id, cx.waker().clone());
                    Poll::Pending
                }
                upload @ (Upload::Delivered | Upload::CutShort | Upload::Lost(_)) => {
                    Poll::Ready(upload)
                }
            }
        })
        .await
    }

    /// Returns what is known of the delivery of the written bytes.
    pub fn upload(&self) -> Upload {
        self.shared.lock().core.upload(self.id)
    }

    /// Returns false while the websocket is being replaced; missing traffic is normal then.
    pub fn is_connected(&self) -> bool {
        self.shared.lock().core.is_connected()
    }

    /// Returns the bytes of this stream sent and received, to detect progress. 0 once the core has
    /// removed the stream.
    pub fn traffic(&self) -> (u64, u64) {
        self.shared.lock().core.traffic(self.id)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes, now in the buffer.
    Bytes,
    /// The destination ended, and every byte of it was read.
    End,
    /// Any other end of the stream.
    Lost(Reason),
}

/// Error: nothing can be written to the stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed for writing")]
pub struct WriteClosed;
