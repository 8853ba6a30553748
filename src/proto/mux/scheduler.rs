//! Whose turn it is.
//!
//! Streams take turns message by message. One that lately said little at a time, such as a
//! keystroke or a query, goes before those that always have more; but such streams get half of a
//! message together, so that a crowd of them leaves the others something.
//!
//! ```text
//!   quick: 9 ─▶ 7      ┐ up to half of a message, then
//!   steady: 3 ─▶ 5     ┘ the rest; whoever has more goes to the end of `steady`
//! ```

use std::collections::VecDeque;

use crate::wire::smux::StreamId;

/// The streams that have something to send, each once.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    quick: VecDeque<StreamId>,
    steady: VecDeque<StreamId>,
}

/// One of the two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Of those that say little at a time.
    Quick,
    /// Of the others.
    Steady,
}

impl Scheduler {
    pub(super) fn push(&mut self, line: Line, id: StreamId) {
        self.of_mut(line).push_back(id);
    }

    /// Before everybody else in its line.
    pub(super) fn push_front(&mut self, line: Line, id: StreamId) {
        self.of_mut(line).push_front(id);
    }

    pub(super) fn pop(&mut self, line: Line) -> Option<StreamId> {
        self.of_mut(line).pop_front()
    }

    /// How many wait in a line.
    pub(super) fn len(&self, line: Line) -> usize {
        match line {
            Line::Quick => self.quick.len(),
            Line::Steady => self.steady.len(),
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        for line in [Line::Quick, Line::Steady] {
            self.of_mut(line).retain(|turn| *turn != id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.quick.is_empty() && self.steady.is_empty()
    }

    /// All of them, in no order that matters.
    pub(super) fn iter(&self) -> impl Iterator<Item = StreamId> {
        self.quick.iter().chain(&self.steady).copied()
    }

    fn of_mut(&mut self, line: Line) -> &mut VecDeque<StreamId> {
        match line {
            Line::Quick => &mut self.quick,
            Line::Steady => &mut self.steady,
        }
    }
}
