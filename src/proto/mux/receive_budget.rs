//! Limits of the received, unread bytes of a tunnel.
//!
//! Version 1 of smux has no window updates, so the only backpressure is on the websocket itself:
//! when a local program leaves too much unread, nothing more is read from Session Manager. All
//! streams of that tunnel then wait; no stream is truncated silently. Early messages whose gap
//! closes may exceed the limits by the memory they already took (`proto/channel/receiver.rs`).

/// Unread bytes of a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    unread: usize,
    /// Number of streams at or over their own limit.
    crowded: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `len` received bytes to a stream that had `unread` before.
    pub(crate) fn add(&mut self, unread: usize, len: usize) {
        self.unread += len;
        self.crowded += usize::from(!is_crowded(unread) && is_crowded(unread + len));
    }

    /// Removes `len` bytes, read or dropped, from a stream that had `unread` before.
    pub(crate) fn remove(&mut self, unread: usize, len: usize) {
        debug_assert!(
            len <= unread && unread <= self.unread,
            "bytes are received before they are read"
        );
        self.unread -= len;
        self.crowded -= usize::from(is_crowded(unread) && !is_crowded(unread - len));
    }

    /// Returns true while the tunnel and every stream are below their limits.
    pub(crate) fn has_room(&self) -> bool {
        self.crowded == 0 && self.unread < max_of_tunnel()
    }

    pub(crate) fn unread(&self) -> usize {
        self.unread
    }
}

fn is_crowded(unread: usize) -> bool {
    unread >= max_of_stream()
}

/// Returns [`MAX_UNREAD_OF_STREAM`]; less in lives in virtual time.
pub(crate) fn max_of_stream() -> usize {
    #[cfg(test)]
    return crate::mutants::limit(MAX_UNREAD_OF_STREAM);
    #[cfg(not(test))]
    MAX_UNREAD_OF_STREAM
}

fn max_of_tunnel() -> usize {
    #[cfg(test)]
    return crate::mutants::limit(MAX_UNREAD_OF_TUNNEL);
    #[cfg(not(test))]
    MAX_UNREAD_OF_TUNNEL
}

/// Maximum unread bytes of one stream.
pub const MAX_UNREAD_OF_STREAM: usize = 4 * 1024 * 1024;

/// Maximum unread bytes of all streams of a tunnel.
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
