//! What was carried, and when: the four places where a message can be seen.

use std::time::Instant;

use bytes::Bytes;
use ssm_proxyd::wire::message::{Kind, Message, PayloadType};

/// What a pair carried.
pub(crate) struct Traces {
    /// What the tunnel sent.
    pub(crate) up_sent: Trace,
    /// What the agent was given.
    pub(crate) up_arrived: Trace,
    /// What the agent sent.
    pub(crate) down_sent: Trace,
    /// What the tunnel was given.
    pub(crate) down_arrived: Trace,
}

impl Traces {
    /// Without `records` nothing is kept.
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

/// What was seen in one place.
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

    /// Forgets what was seen so far.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Everything, as it was.
    pub(crate) fn entries(&self) -> &[(Instant, Bytes)] {
        &self.entries
    }

    /// The messages of a kind, with when they were seen.
    pub(crate) fn of(&self, kind: &Kind) -> Vec<(Instant, Message)> {
        let all = self.entries.iter().map(|(at, frame)| {
            let message = Message::decode_unverified(frame.clone());
            (*at, message.expect("only messages are carried"))
        });
        all.filter(|(_, message)| message.header.kind == *kind)
            .collect()
    }

    /// The numbers of the messages of a kind.
    pub(crate) fn numbers(&self, kind: &Kind) -> Vec<u64> {
        let messages = self.of(kind);
        messages.iter().map(|(_, m)| m.header.seq.0).collect()
    }

    /// How often a message of stream data with such a payload was seen.
    pub(crate) fn count(&self, kind: &Kind, payload_type: PayloadType) -> usize {
        let messages = self.of(kind);
        let fits = |(_, m): &&(Instant, Message)| m.header.payload_type == payload_type;
        messages.iter().filter(fits).count()
    }
}
