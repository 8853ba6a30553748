//! The first bytes of a client, kept until the destination answers.
//!
//! If the destination never answers, the error message for the client depends on them: they were
//! read from the socket and passed on. Once a byte of the destination has arrived, they are
//! dropped, and nothing is kept any more: a read then costs one relaxed load more.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::explain::MAX_REQUEST;

/// The first bytes of a client; at most [`MAX_REQUEST`].
#[derive(Debug)]
pub(super) struct FirstBytes {
    is_kept: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl FirstBytes {
    /// Keeps bytes, or none from the beginning.
    pub(super) fn new(is_kept: bool) -> Self {
        Self {
            is_kept: AtomicBool::new(is_kept),
            bytes: Mutex::default(),
        }
    }

    /// Bytes were read from the client.
    pub(super) fn handle_read(&self, bytes: &[u8]) {
        if self.is_kept.load(Relaxed) {
            let mut kept = self.lock();
            let room = MAX_REQUEST - kept.len();
            kept.extend(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The destination has answered.
    pub(super) fn handle_answer(&self) {
        if self.is_kept.swap(false, Relaxed) {
            *self.lock() = Vec::new();
        }
    }

    /// Takes what was kept.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_are_kept_up_to_a_limit_until_the_destination_answers() {
        let first_bytes = FirstBytes::new(true);
        first_bytes.handle_read(b"one ");
        first_bytes.handle_read(b"two");
        assert_eq!(first_bytes.take(), b"one two");

        for _ in 0..10 {
            first_bytes.handle_read(&[7; MAX_REQUEST / 4]);
        }
        assert_eq!(first_bytes.lock().len(), MAX_REQUEST);

        first_bytes.handle_answer();
        first_bytes.handle_read(b"three");
        assert_eq!(first_bytes.lock().capacity(), 0);
    }

    #[test]
    fn nothing_is_kept_for_clients_that_are_reset() {
        let first_bytes = FirstBytes::new(false);

        first_bytes.handle_read(b"one");

        assert_eq!(first_bytes.lock().capacity(), 0);
    }
}
