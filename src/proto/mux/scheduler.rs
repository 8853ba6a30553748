//! Fair scheduling of the streams of a mux.
//!
//! Streams take turns message by message. Streams that lately sent little at a time, such as a
//! keystroke or a query, go before those that always have more; together they get at most half of
//! a message, so that many of them do not starve the others.
//!
//! ```text
//!   interactive: 9 ─▶ 7   ┐ up to half of a message, then
//!   bulk: 3 ─▶ 5          ┘ the rest; a stream with more to send goes to the end of `bulk`
//! ```

use std::collections::VecDeque;

use crate::wire::smux::StreamId;

/// The streams with data to send, each once.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    interactive: VecDeque<StreamId>,
    bulk: VecDeque<StreamId>,
}

/// One of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendQueue {
    /// Streams that send little at a time.
    Interactive,
    /// All other streams.
    Bulk,
}

impl Scheduler {
    pub(super) fn push(&mut self, queue: SendQueue, id: StreamId) {
        self.of_mut(queue).push_back(id);
    }

    pub(super) fn push_front(&mut self, queue: SendQueue, id: StreamId) {
        self.of_mut(queue).push_front(id);
    }

    pub(super) fn pop(&mut self, queue: SendQueue) -> Option<StreamId> {
        self.of_mut(queue).pop_front()
    }

    pub(super) fn len(&self, queue: SendQueue) -> usize {
        match queue {
            SendQueue::Interactive => self.interactive.len(),
            SendQueue::Bulk => self.bulk.len(),
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        for queue in [SendQueue::Interactive, SendQueue::Bulk] {
            self.of_mut(queue).retain(|turn| *turn != id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.interactive.is_empty() && self.bulk.is_empty()
    }

    /// Iterates over all queued streams, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.interactive.iter().chain(&self.bulk).copied()
    }

    fn of_mut(&mut self, queue: SendQueue) -> &mut VecDeque<StreamId> {
        match queue {
            SendQueue::Interactive => &mut self.interactive,
            SendQueue::Bulk => &mut self.bulk,
        }
    }
}
