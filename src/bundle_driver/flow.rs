//! A flow, as its user sees it.
//!
//! Reads and writes access the bundle directly; a blocked one registers a waker. One task reads and
//! one task writes at a time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::warn;

use super::shared::{FlowSlot, FlowState, Inner, Shared};
use super::transfer::{FlowClosed, FlowRead, ReadStep, WriteStep, room};
use crate::bundle::ids::FlowId;
use crate::bundle::record::{Destination, FailureClass};
use crate::compression::{CompressionError, Decoded};
use crate::printable::Printable;

/// One connection through a bundle. Dropping it before both directions have ended resets it.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    id: FlowId,
}

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
        loop {
            if let Some(read) = poll_fn(|context| self.poll_read(context, max)).await {
                return read;
            }
            let frames = Arc::clone(&self.shared.frames.inbound);
            let frame = tokio::select! {
                biased;
                () = self.aborted() => return FlowRead::Reset,
                frame = frames.acquire_owned() => frame.ok(),
            };
            let mut inner = self.shared.lock();
            let slot = inner.flows.get_mut(&self.id);
            if let Some(inbound) = slot.and_then(|slot| slot.inbound.as_mut()) {
                inbound.permit(frame);
            }
        }
    }

    /// Returns `None` if a frame must be permitted.
    fn poll_read(&self, context: &Context<'_>, max: usize) -> Poll<Option<FlowRead>> {
        for _ in 0..DECODES_PER_POLL {
            let begin = |inner: &mut Inner, now| inner.begin_read(now, self.id, max, context);
            let mut inbound = match self.shared.with(begin) {
                ReadStep::Done(read) => return Poll::Ready(Some(read)),
                ReadStep::Blocked => return Poll::Pending,
                ReadStep::Invalid(error) => return Poll::Ready(Some(self.abort(error))),
                ReadStep::Decode(inbound) => inbound,
            };
            let decoded = match inbound.decode(max, &self.shared.frames) {
                Ok(decoded) => decoded,
                Err(error) => return Poll::Ready(Some(self.abort(error))),
            };
            let len = match &decoded {
                Decoded::Data(bytes) => bytes.len(),
                Decoded::NeedsInput | Decoded::NeedsFrame => 0,
            };
            self.shared.lock().end_read(self.id, inbound, len);
            match decoded {
                Decoded::Data(bytes) => return Poll::Ready(Some(FlowRead::Data(bytes))),
                Decoded::NeedsFrame => return Poll::Ready(None),
                Decoded::NeedsInput => {}
            }
        }
        // What arrives has no content. Others come first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes bytes as they are to be sent.
    #[cfg(test)]
    pub(super) fn write_encoded(&self, bytes: &[u8]) {
        let append = |inner: &mut Inner, _| inner.bundle.append(self.id, bytes.to_vec());
        self.shared.with(append);
    }

    /// Resets a flow that cannot be encoded or decoded.
    fn abort(&self, error: CompressionError) -> FlowRead {
        warn!(flow = %self.id, %error, "invalid compressed data; resetting the connection");
        self.reset();
        FlowRead::Reset
    }

    /// Takes as many bytes for the peer as fit, at least one unless `data` is empty. Cancel safe.
    ///
    /// # Errors
    /// The flow was finished or reset.
    pub async fn write(&self, data: &[u8]) -> Result<usize, FlowClosed> {
        poll_fn(|context| self.poll_write(context, data)).await
    }

    fn poll_write(&self, context: &Context<'_>, data: &[u8]) -> Poll<Result<usize, FlowClosed>> {
        let begin = |inner: &mut Inner, now| inner.begin_write(now, self.id, data, context);
        let (mut outbound, len) = match self.shared.with(begin) {
            WriteStep::Done(result) => return Poll::Ready(result),
            WriteStep::Blocked => return Poll::Pending,
            WriteStep::Encode(outbound, len) => (outbound, len),
        };
        match outbound.encode(&data[..len], &self.shared.frames) {
            Ok(encoded) => {
                let end = |inner: &mut Inner, _| inner.end_write(self.id, outbound, len, encoded);
                self.shared.with(end);
                Poll::Ready(Ok(len))
            }
            Err(error) => {
                self.abort(error);
                Poll::Ready(Err(FlowClosed))
            }
        }
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
            match room(&mut inner.bundle, self.id) {
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
        let finished = self.shared.with(|inner, _| {
            if let Some(slot) = inner.flows.get_mut(&self.id) {
                slot.is_finished = true;
                if let Some(outbound) = &mut slot.outbound {
                    inner.bundle.append(self.id, outbound.finish()?);
                }
            }
            inner.bundle.finish(self.id);
            Ok(())
        });
        if let Err(error) = finished {
            self.abort(error);
        }
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

    /// Returns true if both directions have ended, the end of the peer was read, and the peer has
    /// received everything.
    pub fn is_over(&self) -> bool {
        let inner = self.shared.lock();
        let slot = inner.flows.get(&self.id);
        let has_ended = slot.is_some_and(|slot| slot.is_finished && slot.is_end_read);
        has_ended && inner.bundle.is_received(self.id)
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
        let slot = self.shared.with(|inner, _| {
            let slot = inner.flows.remove(&self.id);
            let slot_of_ended = slot
                .as_ref()
                .filter(|slot| slot.is_finished && slot.is_end_read);
            if slot_of_ended.is_none() {
                inner.bundle.reset(self.id);
            }
            slot
        });
        // Compression may hold much memory, which is released outside the lock.
        drop(slot);
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

/// Reads without content, of 16 KiB at most, before other tasks get their turn.
const DECODES_PER_POLL: usize = 8;
