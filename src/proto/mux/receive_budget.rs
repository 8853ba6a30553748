//! How much may wait unread.
//!
//! Version 1 of smux has no window updates, so the only brake is the websocket itself: when a
//! local program leaves too much unread, no more is taken from the service. Everyone on that
//! tunnel waits then; a stream is never cut short in silence. Early messages whose gap closes may
//! exceed the limits by what they took before, and take it on (`proto/channel/receiver.rs`).

/// The unread bytes of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    unread: usize,
    /// Streams that are over their own limit.
    crowded: usize,
}

impl Budget {
    /// Nothing is unread.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `len` bytes came for a stream that had `unread` before.
    pub(crate) fn add(&mut self, unread: usize, len: usize) {
        self.unread += len;
        self.crowded += usize::from(!is_crowded(unread) && is_crowded(unread + len));
    }

    /// `len` bytes of a stream that had `unread` before were read or dropped.
    pub(crate) fn remove(&mut self, unread: usize, len: usize) {
        debug_assert!(
            len <= unread && unread <= self.unread,
            "what is read came before"
        );
        self.unread -= len;
        self.crowded -= usize::from(is_crowded(unread) && !is_crowded(unread - len));
    }

    /// True while there is room, for every stream and for all.
    pub(crate) fn has_room(&self) -> bool {
        self.crowded == 0 && self.unread < MAX_UNREAD_OF_TUNNEL
    }

    /// Bytes that wait unread.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }
}

fn is_crowded(unread: usize) -> bool {
    unread >= MAX_UNREAD_OF_STREAM
}

/// What one local program may leave unread.
pub const MAX_UNREAD_OF_STREAM: usize = 4 * 1024 * 1024;

/// What all local programs on a tunnel may leave unread.
pub const MAX_UNREAD_OF_TUNNEL: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_crowded_stream_takes_the_room_of_all_until_it_reads() {
        let mut budget = Budget::new();

        budget.add(0, MAX_UNREAD_OF_STREAM - 1);
        assert!(budget.has_room());
        budget.add(MAX_UNREAD_OF_STREAM - 1, 1);
        assert!(!budget.has_room());
        budget.remove(MAX_UNREAD_OF_STREAM, 1);
        assert!(budget.has_room());
    }

    #[test]
    fn many_streams_together_take_the_room() {
        let mut budget = Budget::new();

        for _ in 0..8 {
            assert!(budget.has_room());
            budget.add(0, MAX_UNREAD_OF_TUNNEL / 8);
        }

        assert!(!budget.has_room());
        assert_eq!(budget.unread(), MAX_UNREAD_OF_TUNNEL);
    }
}
