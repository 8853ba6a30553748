//! Limits the clients of a proxy that have not sent their request yet.
//!
//! They hold a permit to accept until then. Without a limit of their own, silent clients would take
//! all of these permits until their time is over. At the limit the oldest one gives way: a request
//! is usually sent at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The slots of a forward.
#[derive(Debug)]
pub(super) struct HandshakeSlots {
    /// At least one.
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    slots: BTreeMap<u64, Arc<Notify>>,
}

/// A slot in use; dropping it returns it.
#[derive(Debug)]
pub(super) struct HandshakeSlot<'a> {
    slots: &'a HandshakeSlots,
    number: u64,
    displaced: Arc<Notify>,
}

impl HandshakeSlots {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            taken: Mutex::default(),
        }
    }

    /// Takes a slot. If none is free, that of the oldest client.
    pub(super) fn take(&self) -> HandshakeSlot<'_> {
        let mut taken = self.lock();
        while taken.slots.len() >= self.max
            && let Some((_, oldest)) = taken.slots.pop_first()
        {
            oldest.notify_one();
        }
        let number = taken.next;
        taken.next += 1;
        let displaced = Arc::new(Notify::new());
        taken.slots.insert(number, Arc::clone(&displaced));
        HandshakeSlot {
            slots: self,
            number,
            displaced,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeSlot<'_> {
    /// Waits until another client has got the slot.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for HandshakeSlot<'_> {
    fn drop(&mut self) {
        self.slots.lock().slots.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_displaced(slot: &HandshakeSlot<'_>) -> bool {
        let poll = pin!(slot.displaced()).poll(&mut Context::from_waker(Waker::noop()));
        poll == Poll::Ready(())
    }

    #[test]
    fn the_oldest_client_gives_way_and_a_returned_slot_is_free() {
        let slots = HandshakeSlots::new(2);
        let (oldest, second) = (slots.take(), slots.take());

        let third = slots.take();

        assert!(is_displaced(&oldest) && !is_displaced(&second));
        drop((oldest, second));
        let fourth = slots.take();
        assert!(!is_displaced(&third) && !is_displaced(&fourth));
        assert_eq!(slots.lock().slots.len(), 2);
    }
}
