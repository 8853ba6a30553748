//! What clients and destinations do with their flows, and what they must see.

use std::time::{Duration, Instant};

use crate::bundle::Bundle;
use crate::bundle::event::Read;
use crate::bundle::ids::FlowId;

/// Plan of one end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Bytes to write before the end.
    pub(super) total: u64,
    /// Bytes of one write, and of one read.
    pub(super) piece: usize,
    /// Time between reads.
    pub(super) read_pause: Duration,
    /// Time between writes.
    pub(super) write_pause: Duration,
    /// The flow is reset here when this many bytes were read and written.
    pub(super) reset_after: Option<u64>,
    /// The end is written only after the end was read.
    pub(super) ends_last: bool,
}

/// One end of a flow.
#[derive(Debug)]
pub(super) struct App {
    pub(super) plan: Plan,
    side: usize,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) has_finished: bool,
    pub(super) has_read_end: bool,
    pub(super) has_reset: bool,
    pub(super) is_reset: bool,
    pub(super) is_open: bool,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    next_read: Instant,
    next_write: Instant,
}

impl App {
    pub(super) fn new(now: Instant, side: usize, plan: Plan) -> Self {
        Self {
            plan,
            side,
            written: 0,
            read: 0,
            has_finished: false,
            has_read_end: false,
            has_reset: false,
            is_reset: false,
            is_open: true,
            is_readable: true,
            is_writable: true,
            next_read: now,
            next_write: now,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.is_open || (self.has_finished && self.has_read_end)
    }

    /// Reads and writes what is possible now.
    pub(super) fn run(&mut self, now: Instant, id: FlowId, bundle: &mut Bundle) {
        while self.is_open && self.is_readable && self.next_read <= now && !self.has_read_end {
            self.read(now, id, bundle);
        }
        while self.is_open && self.is_writable && self.next_write <= now && !self.has_finished {
            self.write(now, id, bundle);
        }
        let limit = self.plan.reset_after;
        if self.is_open && limit.is_some_and(|limit| self.read + self.written >= limit) {
            bundle.reset(id);
            self.has_reset = true;
            self.is_open = false;
        }
    }

    fn read(&mut self, now: Instant, id: FlowId, bundle: &mut Bundle) {
        match bundle.read(now, id, self.plan.piece) {
            Read::Data(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= self.plan.piece);
                for (at, byte) in (self.read..).zip(&bytes) {
                    assert_eq!(*byte, content(id, 1 - self.side, at), "{id:?} at {at}");
                }
                self.read += bytes.len() as u64;
                self.next_read = now + self.plan.read_pause;
            }
            Read::Blocked => self.is_readable = false,
            Read::End => self.has_read_end = true,
            Read::Reset => panic!("{id:?} is unknown"),
        }
    }

    fn write(&mut self, now: Instant, id: FlowId, bundle: &mut Bundle) {
        let left = self.plan.total - self.written;
        if left == 0 {
            if self.plan.ends_last && !self.has_read_end {
                return self.is_writable = false;
            }
            bundle.finish(id);
            self.has_finished = true;
            return;
        }
        let len = left.min(self.plan.piece as u64);
        let bytes = (self.written..self.written + len).map(|at| content(id, self.side, at));
        let bytes: Vec<u8> = bytes.collect();
        let accepted = bundle.write(id, &bytes);
        self.is_writable = accepted == bytes.len();
        self.written += accepted as u64;
        self.next_write = now + self.plan.write_pause;
    }

    /// Returns when it does something by itself.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let reads = self.is_open && self.is_readable && !self.has_read_end;
        let writes = self.is_open && self.is_writable && !self.has_finished;
        let times = [
            reads.then_some(self.next_read),
            writes.then_some(self.next_write),
        ];
        times.into_iter().flatten().min()
    }
}

/// The byte at an offset of a direction of a flow.
#[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
fn content(id: FlowId, side: usize, at: u64) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9) ^ u64::from(id.0) << 3 ^ (side as u64) << 7;
    (mixed ^ mixed >> 17) as u8
}
