//! One stripe: the task that moves bytes between its byte stream and the bundle.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::shared::{Shared, StripeSlot};
use crate::bundle::event::StripeEnd;
use crate::bundle::ids::StripeId;
use crate::printable::Printable;

/// Why a stripe has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeOutcome {
    /// The bundle has closed it.
    #[error(transparent)]
    Closed(#[from] StripeEnd),
    /// Its byte stream has ended.
    #[error("{0}")]
    Lost(Printable),
}

/// A stripe that was added to a bundle. Dropping it does not end the stripe.
#[derive(Debug)]
pub struct StripeHandle {
    id: StripeId,
    outcome: oneshot::Receiver<StripeOutcome>,
}

impl StripeHandle {
    /// Returns its number in [`super::BundleStatus`].
    pub fn id(&self) -> StripeId {
        self.id
    }

    /// Waits until its byte stream was dropped, and returns why.
    pub async fn ended(self) -> StripeOutcome {
        let lost = || StripeOutcome::Lost("the bundle has ended".into());
        self.outcome.await.unwrap_or_else(|_| lost())
    }
}

/// The task of a stripe, run by the driver.
pub(super) struct StripeTask(Pin<Box<dyn Future<Output = ()> + Send>>);

impl StripeTask {
    /// Creates the task of a stripe that was added to the bundle. `received` was read from its byte
    /// stream before.
    pub(super) fn new<S>(
        shared: Arc<Shared>,
        id: StripeId,
        io: S,
        received: Vec<u8>,
    ) -> (Self, StripeHandle)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, outcome) = oneshot::channel();
        let membership = Membership { shared, id };
        let task = async move {
            let outcome = run(&membership, io, received).await;
            drop(membership);
            // Nobody may wait for it.
            send.send(outcome).unwrap_or_default();
        };
        (Self(Box::pin(task)), StripeHandle { id, outcome })
    }
}

impl Future for StripeTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for StripeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeTask")
    }
}

/// A stripe in its bundle. Dropped when its byte stream has ended, also in a panic.
struct Membership {
    shared: Arc<Shared>,
    id: StripeId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.with(|inner, now| {
            inner.bundle.handle_stripe_lost(now, self.id);
            inner.stripes.remove(&self.id);
        });
    }
}

async fn run<S>(stripe: &Membership, io: S, received: Vec<u8>) -> StripeOutcome
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (reader, mut writer) = split(io);
    let mut reader = Reader { half: reader };
    stripe.handle_bytes(&received);
    drop(received);
    let ended = {
        let writing = stripe.write(&mut writer);
        tokio::select! {
            lost = reader.read(stripe) => Err(lost),
            written = writing => written,
            end = stripe.closed_for(CLOSE_TIMEOUT) => return end.into(),
        }
    };
    match ended {
        Ok(end) => {
            // A close with unread bytes would be a reset, which can destroy the last bytes.
            let leaving = async {
                if writer.shutdown().await.is_ok() {
                    reader.discard().await;
                }
            };
            drop(timeout(CLOSE_TIMEOUT, leaving).await);
            end.into()
        }
        Err(lost) => StripeOutcome::Lost(lost),
    }
}

impl Membership {
    fn slot<T>(&self, call: impl FnOnce(&mut StripeSlot) -> T) -> Option<T> {
        self.shared.lock().stripes.get_mut(&self.id).map(call)
    }

    fn handle_bytes(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.shared.with(|inner, now| {
            inner.bundle.handle_bytes(now, self.id, bytes);
            if let Some(slot) = inner.stripes.get_mut(&self.id) {
                slot.received += bytes.len() as u64;
            }
        });
    }

    /// Writes what the bundle transmits. Returns why the bundle has removed the stripe, after the
    /// last bytes.
    async fn write<S: AsyncWrite>(
        &self,
        writer: &mut WriteHalf<S>,
    ) -> Result<StripeEnd, Printable> {
        let mut is_flushed = true;
        loop {
            let next = match self.next_output() {
                Some(next) => next,
                None if !is_flushed => {
                    writer
                        .flush()
                        .await
                        .map_err(|error| Printable::of(&error))?;
                    is_flushed = true;
                    continue;
                }
                None => poll_fn(|context| self.poll_output(context)).await,
            };
            match next {
                Output::Bytes(bytes) => {
                    let written = writer.write_all(&bytes).await;
                    written.map_err(|error| Printable::of(&error))?;
                    is_flushed = false;
                }
                Output::End(end) => return Ok(end),
            }
        }
    }

    /// Returns what is to be written now. Called when everything before was written.
    fn next_output(&self) -> Option<Output> {
        // The bundle may have more for a stripe that takes bytes.
        self.shared.with(|inner, _| {
            if let Some(slot) = inner.stripes.get_mut(&self.id) {
                slot.is_writing = false;
            }
        });
        self.slot(StripeSlot::take).flatten()
    }

    fn poll_output(&self, context: &Context<'_>) -> Poll<Output> {
        let output = self.slot(|slot| {
            let output = slot.take();
            if output.is_none() {
                slot.writer = Some(context.waker().clone());
            }
            output
        });
        output.flatten().map_or(Poll::Pending, Poll::Ready)
    }

    /// Returns when the bundle has removed the stripe, and a time has passed since.
    async fn closed_for(&self, time: Duration) -> StripeEnd {
        let end = poll_fn(|context| {
            let end = self.slot(|slot| {
                slot.closer = Some(context.waker().clone());
                slot.end.clone()
            });
            end.flatten().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        tokio::time::sleep(time).await;
        end
    }
}

/// What a stripe does next.
enum Output {
    Bytes(Bytes),
    End(StripeEnd),
}

impl StripeSlot {
    fn take(&mut self) -> Option<Output> {
        if let Some(bytes) = self.output.take() {
            self.is_writing = true;
            return Some(Output::Bytes(bytes));
        }
        // While bytes are written, the bundle may have last bytes to add.
        let end = self.end.clone().filter(|_| !self.is_writing)?;
        Some(Output::End(end))
    }
}

struct Reader<S> {
    half: ReadHalf<S>,
}

impl<S: AsyncRead> Reader<S> {
    /// Reads until the byte stream has ended. Returns why. Does not return if the bundle has
    /// removed the stripe.
    async fn read(&mut self, stripe: &Membership) -> Printable {
        let mut buffer = vec![0; READ_BUFFER];
        let lost = loop {
            match self.half.read(&mut buffer).await {
                Ok(0) => break "the connection was closed".into(),
                Ok(len) => stripe.handle_bytes(&buffer[..len]),
                Err(error) => break Printable::of(&error),
            }
        };
        if stripe.slot(|slot| slot.end.is_some()).unwrap_or_default() {
            std::future::pending::<()>().await;
        }
        lost
    }

    /// Reads until the byte stream has ended.
    async fn discard(&mut self) {
        let mut buffer = [0; 1024];
        while self.half.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
    }
}

/// Maximum bytes of one read from a stripe.
const READ_BUFFER: usize = 32 * 1024;

/// Time for the last bytes of a stripe, and then for the peer to close it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
