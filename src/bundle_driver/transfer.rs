//! Reads and writes of a flow: the steps under the lock of the bundle.
//!
//! With compression, an encoder or decoder is taken out of its slot between two steps, so that the
//! bundle is not locked while it works, which takes less than a millisecond. What is encoded is in the
//! bundle when the write returns, so nothing waits for a later one.

use std::task::Context;
use std::time::Instant;

use bytes::Bytes;

use super::codec::{Inbound, Outbound};
use super::shared::{FlowSlot, Inner};
use crate::bundle::Bundle;
use crate::bundle::event::Read;
use crate::bundle::features;
use crate::bundle::ids::FlowId;
use crate::compression::{CompressionError, MAX_PIECE, OVERHEAD};

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

/// The first step of a write.
#[derive(Debug)]
pub(super) enum WriteStep {
    Done(Result<usize, FlowClosed>),
    /// There is no room; a waker is registered.
    Blocked,
    /// So many bytes are to be encoded.
    Encode(Box<Outbound>, usize),
}

/// The first step of a read.
#[derive(Debug)]
pub(super) enum ReadStep {
    Done(FlowRead),
    /// There is nothing; a waker is registered.
    Blocked,
    Decode(Box<Inbound>),
    /// The peer has sent what cannot be decoded.
    Invalid(CompressionError),
}

impl Inner {
    fn is_compressed(&self) -> bool {
        is_compressed(&self.bundle)
    }

    /// Writes, or takes the encoder for it.
    pub(super) fn begin_write(
        &mut self,
        now: Instant,
        id: FlowId,
        data: &[u8],
        context: &Context<'_>,
    ) -> WriteStep {
        let is_compressed = self.is_compressed();
        let slot = self.flows.get_mut(&id);
        let slot = slot.filter(|slot| !slot.is_finished && !slot.is_closed());
        let Some(slot) = slot else {
            return WriteStep::Done(Err(FlowClosed));
        };
        if data.is_empty() {
            return WriteStep::Done(Ok(0));
        }
        let room = match is_compressed {
            true => room(&mut self.bundle, id),
            false => self.bundle.write(id, data),
        };
        if room == 0 {
            slot.writer = Some(context.waker().clone());
            return WriteStep::Blocked;
        }
        if !is_compressed {
            slot.sent += room as u64;
            return WriteStep::Done(Ok(room));
        }
        let features = self.bundle.features();
        let outbound = slot.outbound.take();
        let mut outbound = outbound.unwrap_or_else(|| Box::new(Outbound::new(now, features)));
        outbound.handle_use(now);
        WriteStep::Encode(outbound, data.len().min(room))
    }

    /// Adds what was encoded, of so many bytes.
    pub(super) fn end_write(
        &mut self,
        id: FlowId,
        outbound: Box<Outbound>,
        len: usize,
        encoded: Vec<u8>,
    ) {
        if let Some(slot) = self.flows.get_mut(&id) {
            slot.outbound = Some(outbound);
            slot.sent += len as u64;
        }
        self.bundle.append(id, encoded);
    }

    /// Reads, or takes the decoder for it.
    pub(super) fn begin_read(
        &mut self,
        now: Instant,
        id: FlowId,
        max: usize,
        context: &Context<'_>,
    ) -> ReadStep {
        let is_compressed = self.is_compressed();
        let Some(slot) = self.flows.get_mut(&id) else {
            return ReadStep::Done(FlowRead::Reset);
        };
        if slot.is_end_read {
            return ReadStep::Done(FlowRead::End);
        }
        if slot.is_closed() {
            return ReadStep::Done(FlowRead::Reset);
        }
        let mut inbound = match slot.inbound.take() {
            Some(inbound) if !inbound.needs_input() => return ReadStep::Decode(inbound),
            inbound => inbound.unwrap_or_default(),
        };
        let max = if is_compressed { ENCODED_READ } else { max };
        match self.bundle.read(now, id, max) {
            Read::Data(bytes) if is_compressed => {
                inbound.push(bytes);
                ReadStep::Decode(inbound)
            }
            Read::Data(bytes) => {
                slot.received += bytes.len() as u64;
                ReadStep::Done(FlowRead::Data(bytes))
            }
            Read::End => match inbound.finish() {
                Ok(()) => {
                    slot.is_end_read = true;
                    ReadStep::Done(FlowRead::End)
                }
                Err(error) => ReadStep::Invalid(error),
            },
            Read::Reset => ReadStep::Done(FlowRead::Reset),
            Read::Blocked => {
                slot.inbound = is_compressed.then_some(inbound);
                slot.reader = Some(context.waker().clone());
                ReadStep::Blocked
            }
        }
    }

    /// Puts a decoder back, after it has returned so many bytes.
    pub(super) fn end_read(&mut self, id: FlowId, inbound: Box<Inbound>, len: usize) {
        if let Some(slot) = self.flows.get_mut(&id) {
            slot.inbound = Some(inbound);
            slot.received += len as u64;
        }
    }

    /// Ends the frames of flows that are not used, but for those that cannot send.
    pub(super) fn end_idle_frames(&mut self, now: Instant) {
        let is_unblocked = |slot: &&mut FlowSlot| slot.writer.is_none();
        let slots = self.flows.iter_mut();
        for (id, slot) in slots.filter(|(_, slot)| is_unblocked(slot)) {
            let outbound = slot.outbound.as_mut();
            let Some(outbound) = outbound.filter(|outbound| outbound.is_idle(now)) else {
                continue;
            };
            match outbound.finish() {
                Ok(end) => self.bundle.append(*id, end),
                // The next write fails in the same way.
                Err(_) => slot.outbound = None,
            }
        }
    }
}

fn is_compressed(bundle: &Bundle) -> bool {
    bundle.features() & features::ZSTD != 0
}

/// Returns how many bytes a write takes now. If it is 0, the flow becomes writable later.
pub(super) fn room(bundle: &mut Bundle, id: FlowId) -> usize {
    match is_compressed(bundle) {
        true => bundle
            .append_room(id)
            .saturating_sub(OVERHEAD)
            .min(MAX_PIECE),
        false => bundle.room(id),
    }
}

/// Maximum number of encoded bytes that a decoder holds.
const ENCODED_READ: usize = 16 * 1024;
