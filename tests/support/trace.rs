//! The carried messages with their times, at the four places where a message can be recorded.

use std::time::Instant;

use bytes::Bytes;
use ssm_proxyd::wire::message::{Message, MessageType, PayloadType};

/// The messages that a pair carried.
pub(crate) struct Traces {
    /// Sent by the tunnel.
    pub(crate) up_sent: Trace,
    /// Received by the agent.
    pub(crate) up_arrived: Trace,
    /// Sent by the agent.
    pub(crate) down_sent: Trace,
    /// Received by the tunnel.
    pub(crate) down_arrived: Trace,
}

impl Traces {
    /// Keeps nothing unless `records`.
    pub(crate) fn new(records: bool) -> Self {
        let page = || Trace {
            records,
            entries: Vec::new(),
        };
        Self {
            up_sent: page(),
            up_arrived: page(),
            down_sent: page(),
            down_arrived: page(),
        }
    }
}

/// The messages recorded at one place.
pub(crate) struct Trace {
    records: bool,
    entries: Vec<(Instant, Bytes)>,
}

impl Trace {
    pub(crate) fn note(&mut self, now: Instant, frame: &Bytes) {
        if self.records {
            self.entries.push((now, frame.clone()));
        }
    }

    /// Clears the record.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Everything, in order.
    pub(crate) fn entries(&self) -> &[(Instant, Bytes)] {
        &self.entries
    }

    /// The messages of a kind, with their times.
    pub(crate) fn of(&self, kind: &MessageType) -> Vec<(Instant, Message)> {
        let all = self.entries.iter().map(|(at, frame)| {
            let message = Message::decode_unverified(frame.clone());
            (*at, message.expect("every carried message must be valid"))
        });
        all.filter(|(_, message)| message.header.kind == *kind)
            .collect()
    }

    /// The numbers of the messages of a kind.
    pub(crate) fn numbers(&self, kind: &MessageType) -> Vec<u64> {
        let messages = self.of(kind);
        messages.iter().map(|(_, m)| m.header.seq.0).collect()
    }

    /// The number of stream data messages with such a payload.
    pub(crate) fn count(&self, kind: &MessageType, payload_type: PayloadType) -> usize {
        let messages = self.of(kind);
        let fits = |(_, m): &&(Instant, Message)| m.header.payload_type == payload_type;
        messages.iter().filter(fits).count()
    }
}
