//! A queue of bytes that takes about as much memory as it has bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in order. Small pieces are joined, so that each byte costs one byte and not one
/// allocation; large ones are passed on without a copy.
#[derive(Debug, Default)]
pub(super) struct ByteQueue {
    pieces: VecDeque<Bytes>,
    /// The small pieces at the end.
    tail: BytesMut,
    len: usize,
}

impl ByteQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of bytes.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        for piece in bytes.chunks(JOINED) {
            self.tail.extend_from_slice(piece);
            if self.tail.len() >= JOINED {
                self.close_tail();
            }
        }
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.extend(&bytes);
            return;
        }
        self.close_tail();
        self.len += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// As `pop`, but a short result is a copy, because it may be kept for long and would keep the
    /// memory of its piece.
    pub(super) fn pop_to_keep(&mut self, max: usize) -> Bytes {
        let bytes = self.pop(max);
        match bytes.len() < SMALL {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        }
    }

    /// Removes and returns up to `max` bytes of one piece; empty only if the queue is, or `max`.
    pub(super) fn pop(&mut self, max: usize) -> Bytes {
        let bytes = match self.pieces.front_mut() {
            Some(front) if front.len() > max => front.split_to(max),
            Some(_) => self.pieces.pop_front().unwrap_or_default(),
            None => self.tail.split_to(max.min(self.tail.len())).freeze(),
        };
        self.len -= bytes.len();
        bytes
    }

    /// Removes all bytes and their memory.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}

/// Smaller pieces are joined.
const SMALL: usize = 4096;

/// Joined pieces are at least this long, if others follow, and less than twice as long.
const JOINED: usize = 16 * 1024 - 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut queue, mut put, mut got) = (ByteQueue::default(), Vec::new(), Vec::new());

            for _ in 0..50 {
                let piece: Vec<u8> = (0..random.usize(0..9000)).map(|_| random.u8(..)).collect();
                put.extend_from_slice(&piece);
                queue.push(piece.into());
                got.extend_from_slice(&queue.pop(random.usize(0..9000)));
                assert_eq!(queue.len(), put.len() - got.len());
            }
            while !queue.is_empty() {
                got.extend_from_slice(&queue.pop(7000));
            }

            assert!(put == got);
        }
    }

    #[test]
    fn single_bytes_are_joined() {
        let mut queue = ByteQueue::default();

        for _ in 0..100_000 {
            queue.push(Bytes::from_static(b"x"));
        }

        assert!(queue.pieces.len() < 10);
    }
}
