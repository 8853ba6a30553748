//! Bytes for the client that are not yet part of a message.
//!
//! An agent reads its plugin's output through a buffer of 1024 bytes, so message boundaries have no
//! meaning: small frames share a message, and large ones are split.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A queue of bytes, filled in chunks and drained in messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Moves at most `max` bytes to the end of `payload`.
    pub(super) fn cut(&mut self, max: usize, payload: &mut BytesMut) {
        let mut left = max.min(self.len);
        self.len -= left;
        while let Some(chunk) = self.chunks.front_mut().filter(|_| left > 0) {
            let taken = left.min(chunk.len());
            payload.extend_from_slice(&chunk[..taken]);
            chunk.advance(taken);
            left -= taken;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if destinations may be read.
    pub(super) fn has_room(&self) -> bool {
        self.len < LIMIT
    }
}

/// Maximum number of bytes read ahead of the pace: a few frames, as in the agent's pipes.
const LIMIT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_cut() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abc"));
        outbox.push(Bytes::from_static(b""));
        outbox.push(Bytes::from_static(b"defgh"));

        let mut messages = Vec::new();
        while !outbox.is_empty() {
            let mut payload = BytesMut::new();
            outbox.cut(3, &mut payload);
            messages.push(payload);
        }

        assert_eq!(messages, [&b"abc"[..], b"def", b"gh"]);
    }
}
