//! Queue of the channel's control messages: handshake response, probes, sizes, terminate flag.
//!
//! Each takes a sequence number and is acknowledged like data, but bypasses the window. The
//! acknowledgement of some is reported to the tunnel.
//!
//! The queue is bounded by its sources: one handshake response, the probes of one tunnel, one flag
//! and one size.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::Channel;
use super::event::AckMarker;
use crate::wire::message::{PayloadType, Seq};
use crate::wire::payload::Flag;

impl Channel {
    /// Queues a terminal size, which agents of port sessions acknowledge and ignore
    /// (docs/protocol.md, section 4.2). At most one is queued, and it is subject to the pacer.
    pub(crate) fn send_size(&mut self, payload: Bytes) {
        self.control.put_size(payload);
    }

    /// Queues the flag that terminates the session. Its acknowledgement is reported as
    /// [`AckMarker::Termination`].
    pub(crate) fn send_termination(&mut self) {
        let flag = Bytes::copy_from_slice(&Flag::TerminateSession.encode());
        self.control
            .put(PayloadType::Flag, flag, Some(AckMarker::Termination));
    }
}

/// Queued payloads, and those whose acknowledgement is awaited.
#[derive(Debug, Default)]
pub(crate) struct Control {
    queue: VecDeque<ControlMessage>,
    awaited: Vec<Awaited>,
}

impl Control {
    pub(crate) fn put(
        &mut self,
        payload_type: PayloadType,
        payload: Bytes,
        mark: Option<AckMarker>,
    ) {
        self.queue.push_back(ControlMessage {
            payload_type,
            payload,
            mark,
        });
    }

    /// Queues a terminal size, unless one is queued.
    pub(crate) fn put_size(&mut self, payload: Bytes) {
        if !self.queue.iter().any(ControlMessage::is_size) {
            self.put(PayloadType::Size, payload, None);
        }
    }

    /// Returns the number of the oldest unacknowledged probe.
    pub(crate) fn oldest_probe(&self) -> Option<Seq> {
        let is_probe = |awaited: &&Awaited| matches!(awaited.mark, AckMarker::Probe(_));
        let probes = self.awaited.iter().filter(is_probe);
        probes.map(|awaited| awaited.seq).min()
    }

    pub(crate) fn withdraw_probes(&mut self) {
        let is_probe = |mark: Option<AckMarker>| matches!(mark, Some(AckMarker::Probe(_)));
        self.queue.retain(|message| !is_probe(message.mark));
        self.awaited.retain(|awaited| !is_probe(Some(awaited.mark)));
    }

    /// Returns true if the next payload is subject to the pacer.
    pub(crate) fn waits_for_slot(&self) -> bool {
        self.queue.front().is_some_and(ControlMessage::is_size)
    }

    /// Takes the next payload, which is sent now with number `seq`.
    pub(crate) fn pop(&mut self, now: Instant, seq: Seq) -> Option<ControlMessage> {
        let message = self.queue.pop_front()?;
        let sent = now;
        let awaited = |mark| Awaited { seq, mark, sent };
        self.awaited.extend(message.mark.map(awaited));
        Some(message)
    }

    /// Number `seq` was acknowledged. Returns its marker, and when it was first sent.
    pub(crate) fn handle_arrival(&mut self, seq: Seq) -> Option<(AckMarker, Instant)> {
        let is_awaited = |awaited: &Awaited| awaited.seq == seq;
        let place = self.awaited.iter().position(is_awaited)?;
        let Awaited { mark, sent, .. } = self.awaited.swap_remove(place);
        Some((mark, sent))
    }
}

/// A payload whose acknowledgement is awaited.
#[derive(Debug)]
struct Awaited {
    seq: Seq,
    mark: AckMarker,
    sent: Instant,
}

/// A control message.
#[derive(Debug)]
pub(crate) struct ControlMessage {
    pub(crate) payload_type: PayloadType,
    pub(crate) payload: Bytes,
    /// Marker to report when it is acknowledged.
    pub(crate) mark: Option<AckMarker>,
}

impl ControlMessage {
    /// True for a size without a marker, which only keeps the session alive; false for a probe.
    fn is_size(&self) -> bool {
        self.payload_type == PayloadType::Size && self.mark.is_none()
    }
}
