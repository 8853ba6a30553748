//! Reassembly of one direction of a flow.
//!
//! DATA arrives in any order, each byte in one record: a byte that arrives twice is an error of
//! the peer, because copies of a record are dropped by their number before they come here.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::byte_queue::ByteQueue;
use super::error::FlowError;
use super::limits::CONFIRMED;

/// The bytes of a flow that were received and not read.
#[derive(Debug)]
pub(super) struct Assembly {
    ready: ByteQueue,
    /// Bytes beyond a gap, by offset. They do not overlap.
    fragments: BTreeMap<u64, Bytes>,
    /// Offset up to which all bytes were received.
    next: u64,
    /// Offset up to which the peer may send.
    limit: u64,
    /// Offset at which the flow ends, if FIN was received.
    end: Option<u64>,
}

impl Assembly {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            ready: ByteQueue::default(),
            fragments: BTreeMap::new(),
            next: 0,
            limit,
            end: None,
        }
    }

    /// Adds the bytes at an offset.
    pub(super) fn insert(&mut self, offset: u64, bytes: Bytes) -> Result<(), FlowError> {
        let after = offset.checked_add(bytes.len() as u64);
        let after = after.filter(|after| *after <= self.limit);
        let after = after.ok_or(FlowError::CreditExceeded)?;
        if self.end.is_some_and(|end| after > end) {
            return Err(FlowError::BeyondEnd);
        }
        let before = self.fragments.range(..=offset).next_back();
        let before = before.map_or(self.next, |(at, bytes)| at + bytes.len() as u64);
        let following = self.fragments.range(offset..).next();
        if before.max(self.next) > offset || following.is_some_and(|(at, _)| *at < after) {
            return Err(FlowError::Overlap);
        }
        if offset > self.next {
            self.fragments.insert(offset, bytes);
            return Ok(());
        }
        self.append(bytes);
        while let Some(bytes) = self.fragments.remove(&self.next) {
            self.append(bytes);
        }
        Ok(())
    }

    fn append(&mut self, bytes: Bytes) {
        self.next += bytes.len() as u64;
        self.ready.push(bytes);
    }

    /// Sets the offset at which the flow ends.
    pub(super) fn finish(&mut self, end: u64) -> Result<(), FlowError> {
        if self.end.is_some_and(|known| known != end) {
            return Err(FlowError::TwoEnds);
        }
        let last = self.fragments.last_key_value();
        let received = last.map_or(self.next, |(at, bytes)| at + bytes.len() as u64);
        if end < received || end > self.limit {
            return Err(FlowError::BeyondEnd);
        }
        self.end = Some(end);
        Ok(())
    }

    /// Removes and returns up to `max` bytes; empty if none are ready.
    pub(super) fn read(&mut self, max: usize) -> Bytes {
        self.ready.pop(max)
    }

    /// Returns true if bytes or the end can be read.
    pub(super) fn is_readable(&self) -> bool {
        !self.ready.is_empty() || self.is_complete()
    }

    /// Returns true if all bytes up to the end were received.
    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.next)
    }

    /// Returns true if all bytes up to the end were received and read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_complete() && self.ready.is_empty()
    }

    /// Drops all bytes.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.fragments.clear();
    }

    /// Returns the number of pieces beyond gaps.
    pub(super) fn fragments(&self) -> usize {
        self.fragments.len()
    }

    /// Returns the new limit if enough was read since the last one to announce it.
    pub(super) fn raise_limit(&mut self, window: u64) -> Option<u64> {
        let limit = self.read_offset() + window;
        if limit < self.limit + window / 4 {
            return None;
        }
        self.limit = limit;
        Some(limit)
    }

    /// Makes the limit the one that says that everything was read.
    pub(super) fn confirm(&mut self) {
        self.limit = CONFIRMED;
    }

    /// Returns the announced limit.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns true if the reader has taken nearly everything that was received.
    pub(super) fn is_nearly_read(&self, window: u64) -> bool {
        (self.ready.len() as u64) < window / 4
    }

    /// Returns the offset of the next byte to read.
    pub(super) fn read_offset(&self) -> u64 {
        self.next - self.ready.len() as u64
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let beyond = self.fragments.values().map(Bytes::len);
        self.ready.len() + beyond.sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn next(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(assembly: &mut Assembly, offset: u64, bytes: &'static [u8]) -> Result<(), FlowError> {
        assembly.insert(offset, Bytes::from_static(bytes))
    }

    #[test]
    fn pieces_in_any_order_are_read_in_order() {
        let mut assembly = Assembly::new(100);

        insert(&mut assembly, 2, b"cd").unwrap();
        insert(&mut assembly, 6, b"gh").unwrap();
        assert!(!assembly.is_readable());
        insert(&mut assembly, 0, b"ab").unwrap();
        assert_eq!(assembly.read(100), "abcd");
        insert(&mut assembly, 4, b"ef").unwrap();
        assembly.finish(8).unwrap();

        assert!(!assembly.is_at_end());
        assert_eq!(assembly.read(100), "efgh");
        assert!(assembly.is_at_end());
    }

    #[test]
    fn a_byte_that_arrives_twice_is_an_error() {
        let mut assembly = Assembly::new(100);
        insert(&mut assembly, 0, b"ab").unwrap();
        insert(&mut assembly, 4, b"ef").unwrap();

        for (offset, bytes) in [(0, b"ab"), (1, b"bc"), (3, b"de"), (4, b"ef"), (5, b"fg")] {
            let fault = insert(&mut assembly, offset, bytes);
            assert_eq!(fault, Err(FlowError::Overlap), "{offset}");
        }
        insert(&mut assembly, 2, b"cd").unwrap();
        assert_eq!(assembly.read(10), "abcdef");
    }

    #[test]
    fn an_end_is_not_an_end_while_bytes_are_missing() {
        let mut assembly = Assembly::new(100);
        insert(&mut assembly, 0, b"ab").unwrap();

        assembly.finish(4).unwrap();
        assert_eq!(assembly.read(10), "ab");
        assert!(!assembly.is_at_end() && !assembly.is_readable());

        assert_eq!(insert(&mut assembly, 3, b"de"), Err(FlowError::BeyondEnd));
        assert_eq!(assembly.finish(3), Err(FlowError::TwoEnds));
        insert(&mut assembly, 2, b"cd").unwrap();
        assert_eq!(assembly.read(10), "cd");
        assert!(assembly.is_at_end());
    }

    #[test]
    fn ends_and_bytes_beyond_what_is_possible_are_errors() {
        let mut assembly = Assembly::new(4);
        insert(&mut assembly, 2, b"cd").unwrap();

        assert_eq!(assembly.finish(3), Err(FlowError::BeyondEnd));
        assert_eq!(assembly.finish(5), Err(FlowError::BeyondEnd));
        let exceeded = Err(FlowError::CreditExceeded);
        assert_eq!(insert(&mut assembly, 4, b"e"), exceeded);
        assert_eq!(insert(&mut assembly, u64::MAX, b"e"), exceeded);
    }

    #[test]
    fn credit_is_announced_in_steps_of_a_quarter_of_the_window() {
        let mut assembly = Assembly::new(8);
        insert(&mut assembly, 0, b"abcdefgh").unwrap();

        assert_eq!(assembly.read(1), "a");
        assert_eq!(assembly.raise_limit(8), None);
        assert_eq!(assembly.read(1), "b");
        assert_eq!(assembly.raise_limit(8), Some(10));
        assert_eq!(assembly.raise_limit(8), None);
    }
}
