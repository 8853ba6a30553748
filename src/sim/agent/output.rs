//! Output of an agent: acknowledgements and flags at once, data at its pace, retransmissions.

use std::time::Instant;

use bytes::Bytes;

use crate::wire::message::{Draft, Header, MessageId, MessageType, PayloadType, SYN, Seq};

use super::{Agent, Phase, count, millis};

impl Agent {
    /// Returns the next message for Session Manager.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        loop {
            let Some(frame) = self.control.pop_front().or_else(|| self.next_data(now)) else {
                self.settle(now);
                return None;
            };
            if self.connected {
                return Some(frame);
            }
        }
    }

    /// Returns true if data is ready to be sent, apart from the pace.
    pub(super) fn has_data(&self) -> bool {
        !self.out.outbox.is_empty()
            && !self.paused
            && matches!(
                self.phase,
                Phase::Up | Phase::Finishing(_) | Phase::Breaking
            )
            && self.sender.unacknowledged_bytes() < self.options.window()
    }

    fn next_data(&mut self, now: Instant) -> Option<Bytes> {
        if !self.has_data() {
            self.pacer.rest(now);
            return None;
        }
        if !self.pacer.is_due(now) {
            return None;
        }
        let len = self.options.message_size.min(self.out.outbox.len());
        let mut draft = Draft::with_capacity(len);
        self.out.outbox.cut(len, draft.payload());
        self.pacer.sent(now);
        self.stats.bytes_out += count(len);
        let recorded = now + self.options.acknowledgement_race.draw(&mut self.rng);
        Some(self.number(now, recorded, PayloadType::Output, draft))
    }

    /// Sends a sequenced message ahead of all data.
    pub(super) fn send(&mut self, now: Instant, payload_type: PayloadType, payload: &[u8]) {
        self.send_recorded(now, now, payload_type, payload);
    }

    /// Sends a sequenced message ahead of all data, and records it as unacknowledged at `recorded`.
    pub(super) fn send_recorded(
        &mut self,
        now: Instant,
        recorded: Instant,
        payload_type: PayloadType,
        payload: &[u8],
    ) {
        let mut draft = Draft::with_capacity(payload.len());
        draft.payload().extend_from_slice(payload);
        let frame = self.number(now, recorded, payload_type, draft);
        if !self.paused {
            self.control.push_back(frame);
        }
    }

    fn number(
        &mut self,
        now: Instant,
        recorded: Instant,
        payload_type: PayloadType,
        draft: Draft,
    ) -> Bytes {
        let seq = self.sender.next();
        let flags = if seq == 0 { SYN } else { 0 };
        let header = self.header(now, MessageType::Output, seq, flags, payload_type);
        let frame = draft.finish_message(&header);
        self.sender.keep(now, recorded, &frame);
        self.stats.messages_out += 1;
        frame
    }

    pub(super) fn header(
        &mut self,
        now: Instant,
        kind: MessageType,
        seq: u64,
        flags: u64,
        payload_type: PayloadType,
    ) -> Header {
        Header {
            kind,
            created: self.wall + millis(now - self.start),
            seq: Seq(seq),
            flags,
            id: MessageId::from_random(self.rng.u128(..).to_be_bytes()),
            payload_type,
        }
    }

    pub(super) fn retransmit(&mut self, now: Instant) {
        if self.paused || matches!(self.phase, Phase::Crashed { .. } | Phase::Ended) {
            return;
        }
        let before = self.control.len();
        let control = &mut self.control;
        self.sender
            .handle_timeout(now, |frame| control.push_back(frame));
        self.stats.retransmitted += count(self.control.len() - before);
    }
}
