//! A message queue with a limit in bytes.

use std::collections::VecDeque;

use bytes::Bytes;

/// A message queue with a limit in bytes.
#[derive(Debug)]
pub(super) struct MessageQueue {
    messages: VecDeque<Bytes>,
    bytes: usize,
    limit: usize,
}

impl MessageQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns true if the limit is not reached.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.limit || self.messages.is_empty()
    }

    /// Returns true if the message does not exceed the limit.
    pub(super) fn fits(&self, message: &Bytes) -> bool {
        self.bytes + message.len() <= self.limit
    }
}
