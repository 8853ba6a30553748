//! Fair scheduling of the streams of a mux.
//!
//! Streams take turns message by message. Streams that lately sent little at a time, such as a
//! keystroke or a query, go before those that always have more; together they get at most half of
//! a message, so that many of them do not starve the others.
//!
//! ```text
//!   quick: 9 ─▶ 7      ┐ up to half of a message, then
//!   steady: 3 ─▶ 5     ┘ the rest; a stream with more to send goes to the end of `steady`
//! ```

use std::collections::VecDeque;

use crate::wire::smux::StreamId;

/// The streams with data to send, each once.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    quick: VecDeque<StreamId>,
    steady: VecDeque<StreamId>,
}

/// One of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendQueue {
    /// Streams that send little at a time.
    Quick,
    /// All other streams.
    Steady,
}

impl Scheduler {
    pub(super) fn push(&mut self, line: SendQueue, id: StreamId) {
        self.of_mut(line).push_back(id);
    }

    pub(super) fn push_front(&mut self, line: SendQueue, id: StreamId) {
        self.of_mut(line).push_front(id);
    }

    pub(super) fn pop(&mut self, line: SendQueue) -> Option<StreamId> {
        self.of_mut(line).pop_front()
    }

    pub(super) fn len(&self, line: SendQueue) -> usize {
        match line {
            SendQueue::Quick => self.quick.len(),
            SendQueue::Steady => self.steady.len(),
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        for line in [SendQueue::Quick, SendQueue::Steady] {
            self.of_mut(line).retain(|turn| *turn != id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.quick.is_empty() && self.steady.is_empty()
    }

    /// Iterates over all queued streams, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.quick.iter().chain(&self.steady).copied()
    }

    fn of_mut(&mut self, line: SendQueue) -> &mut VecDeque<StreamId> {
        match line {
            SendQueue::Quick => &mut self.quick,
            SendQueue::Steady => &mut self.steady,
        }
    }
}
