//! A flow, as its user sees it.
//!
//! Reads and writes access the bundle directly; a blocked one registers a waker. One task reads and
//! one task writes at a time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::shared::{FlowSlot, FlowState, Shared};
use crate::bundle::event::Read;
use crate::bundle::ids::FlowId;
use crate::bundle::record::{Destination, FailureClass};
use crate::printable::Printable;

/// One connection through a bundle. Dropping it before both directions have ended resets it.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    id: FlowId,
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowRead {
    /// The next bytes; never empty.
    Data(Bytes),
    /// The peer has ended its direction, and every byte of it was read.
    End,
    /// The flow was aborted: by the peer, or because the bundle has ended.
    Reset,
}

/// Error: nothing can be written to a flow, which was finished or reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed for writing")]
pub struct FlowClosed;

impl Flow {
    /// Wraps a flow of the bundle that has a slot.
    pub(super) fn new(shared: Arc<Shared>, id: FlowId) -> Self {
        Self { shared, id }
    }

    /// Returns its number in the bundle, the same at both ends.
    pub fn id(&self) -> FlowId {
        self.id
    }

    /// Returns up to `max` bytes, as soon as there are some. Cancel safe. The peer may send more
    /// for what was read, so read only what can be passed on.
    pub async fn read(&self, max: usize) -> FlowRead {
        poll_fn(|context| self.poll_read(context, max)).await
    }

    fn poll_read(&self, context: &Context<'_>, max: usize) -> Poll<FlowRead> {
        self.shared.with(|inner, now| {
            let Some(slot) = inner.flows.get_mut(&self.id) else {
                return Poll::Ready(FlowRead::Reset);
            };
            if slot.is_end_read {
                return Poll::Ready(FlowRead::End);
            }
            if slot.is_closed() {
                return Poll::Ready(FlowRead::Reset);
            }
            match inner.bundle.read(now, self.id, max) {
                Read::Data(bytes) => {
                    slot.received += bytes.len() as u64;
                    Poll::Ready(FlowRead::Data(bytes))
                }
                Read::End => {
                    slot.is_end_read = true;
                    Poll::Ready(FlowRead::End)
                }
                Read::Reset => Poll::Ready(FlowRead::Reset),
                Read::Blocked => {
                    slot.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Takes as many bytes for the peer as fit, at least one unless `data` is empty. Cancel safe.
    ///
    /// # Errors
    /// The flow was finished or reset.
    pub async fn write(&self, data: &[u8]) -> Result<usize, FlowClosed> {
        poll_fn(|context| self.poll_write(context, data)).await
    }

    fn poll_write(&self, context: &Context<'_>, data: &[u8]) -> Poll<Result<usize, FlowClosed>> {
        self.shared.with(|inner, _| {
            let slot = inner.flows.get_mut(&self.id);
            let slot = slot.filter(|slot| !slot.is_finished && !slot.is_closed());
            let slot = slot.ok_or(FlowClosed)?;
            match inner.bundle.write(self.id, data) {
                0 if !data.is_empty() => {
                    slot.writer = Some(context.waker().clone());
                    Poll::Pending
                }
                taken => {
                    slot.sent += taken as u64;
                    Poll::Ready(Ok(taken))
                }
            }
        })
    }

    /// Waits until bytes can be written, and returns how many: a user who reads no more than that
    /// from elsewhere holds none back. Cancel safe.
    ///
    /// # Errors
    /// As [`Flow::write`].
    pub async fn room(&self) -> Result<usize, FlowClosed> {
        poll_fn(|context| self.poll_room(context)).await
    }

    fn poll_room(&self, context: &Context<'_>) -> Poll<Result<usize, FlowClosed>> {
        self.shared.with(|inner, _| {
            let slot = inner.flows.get_mut(&self.id);
            let slot = slot.filter(|slot| !slot.is_finished && !slot.is_closed());
            let slot = slot.ok_or(FlowClosed)?;
            match inner.bundle.room(self.id) {
                0 => {
                    slot.writer = Some(context.waker().clone());
                    Poll::Pending
                }
                room => Poll::Ready(Ok(room)),
            }
        })
    }

    /// Takes all bytes for the peer. Not cancel safe.
    ///
    /// # Errors
    /// As [`Flow::write`].
    pub async fn write_all(&self, mut data: &[u8]) -> Result<(), FlowClosed> {
        while !data.is_empty() {
            let taken = self.write(data).await?;
            data = &data[taken..];
        }
        Ok(())
    }

    /// Ends the direction towards the peer, after all bytes that were written.
    pub fn finish(&self) {
        self.shared.with(|inner, _| {
            if let Some(slot) = inner.flows.get_mut(&self.id) {
                slot.is_finished = true;
            }
            inner.bundle.finish(self.id);
        });
    }

    /// Returns true if the peer has received everything that was written, and the end, and the flow
    /// was not reset.
    pub fn is_received(&self) -> bool {
        let inner = self.shared.lock();
        let slot = inner.flows.get(&self.id);
        slot.is_some_and(|slot| !slot.is_closed()) && inner.bundle.is_received(self.id)
    }

    /// Returns true if the relay has confirmed that the destination took everything that was written,
    /// and the end (daemon).
    pub fn is_confirmed(&self) -> bool {
        self.shared.lock().bundle.is_confirmed(self.id)
    }

    /// Returns numbers that change while the peer takes what was written.
    pub fn progress(&self) -> impl PartialEq + use<> {
        let inner = self.shared.lock();
        let sent = inner.flows.get(&self.id).map(|slot| slot.sent);
        (sent, inner.bundle.progress(self.id))
    }

    /// What is read from now on is not passed on, so that its end is not confirmed (relay).
    pub fn discard(&self) {
        self.shared.with(|inner, _| inner.bundle.discard(self.id));
    }

    /// Aborts both directions.
    pub fn reset(&self) {
        self.shared.with(|inner, _| {
            inner.bundle.reset(self.id);
            inner.set_flow_state(self.id, FlowState::Reset);
        });
    }

    /// Waits until the flow is aborted, by whomever. For a user who does not read at the moment.
    pub async fn aborted(&self) {
        let is_closed = |slot: &FlowSlot| slot.is_closed().then_some(());
        poll_fn(|context| self.poll_state(context, is_closed)).await;
    }

    /// Waits until the flow is connected.
    ///
    /// # Errors
    /// The relay could not connect it, or (`None`) it was aborted.
    pub(super) async fn opened(&self) -> Result<(), Option<(FailureClass, Printable)>> {
        let outcome = |slot: &FlowSlot| match &slot.state {
            FlowState::Opening => None,
            FlowState::Open => Some(Ok(())),
            FlowState::Failed(class, text) => Some(Err(Some((*class, text.clone())))),
            FlowState::Reset => Some(Err(None)),
        };
        poll_fn(|context| self.poll_state(context, outcome)).await
    }

    fn poll_state<T>(
        &self,
        context: &Context<'_>,
        outcome: impl Fn(&FlowSlot) -> Option<T>,
    ) -> Poll<T> {
        let mut inner = self.shared.lock();
        let slot = inner.flows.get_mut(&self.id);
        let slot = slot.expect("the slot of a flow exists until it is dropped");
        match outcome(slot) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.watcher = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns the bytes written to the flow, and read from it.
    pub fn traffic(&self) -> (u64, u64) {
        let inner = self.shared.lock();
        let slot = inner.flows.get(&self.id);
        slot.map_or((0, 0), |slot| (slot.sent, slot.received))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.with(|inner, _| {
            let slot = inner.flows.remove(&self.id);
            let is_over = slot.is_some_and(|slot| slot.is_finished && slot.is_end_read);
            if !is_over {
                inner.bundle.reset(self.id);
            }
        });
    }
}

/// A flow that the relay must connect. Dropping it reports an error to the daemon.
#[derive(Debug)]
pub struct IncomingFlow {
    flow: Option<Flow>,
    destination: Destination,
}

impl IncomingFlow {
    pub(super) fn new(flow: Flow, destination: Destination) -> Self {
        let flow = Some(flow);
        Self { flow, destination }
    }

    /// Returns its number in the bundle.
    pub fn id(&self) -> FlowId {
        self.flow.as_ref().map_or(FlowId::NONE, Flow::id)
    }

    /// Returns where the daemon wants it to be connected.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Waits until the daemon no longer wants it, or the bundle has ended.
    pub async fn aborted(&self) {
        if let Some(flow) = &self.flow {
            flow.aborted().await;
        }
    }

    /// Tells the daemon that it is connected.
    pub fn connected(mut self) -> Flow {
        let flow = self.flow.take().expect("it is taken once, here or in fail");
        flow.shared.with(|inner, _| {
            inner.bundle.handle_dialled(flow.id);
            if let Some(slot) = inner.flows.get_mut(&flow.id)
                && slot.state == FlowState::Opening
            {
                slot.state = FlowState::Open;
            }
        });
        flow
    }

    /// Tells the daemon why it is not connected.
    pub fn fail(mut self, class: FailureClass, text: Printable) {
        self.report(class, text);
    }

    fn report(&mut self, class: FailureClass, text: Printable) {
        if let Some(flow) = self.flow.take() {
            flow.shared
                .with(|inner, _| inner.bundle.handle_dial_failed(flow.id, class, text));
        }
    }
}

impl Drop for IncomingFlow {
    fn drop(&mut self) {
        self.report(FailureClass::Other, "internal error of the relay".into());
    }
}

impl FlowSlot {
    /// Returns true if nothing can be read or written.
    fn is_closed(&self) -> bool {
        match self.state {
            FlowState::Opening | FlowState::Open => false,
            FlowState::Failed(..) | FlowState::Reset => true,
        }
    }
}
