//! Where connections get a place on a tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::error::Failure;
use super::pool::{Returned, TunnelId, WaiterId};
use super::slot::Lease;
use super::tunnel_task::TunnelEvent;

/// Lets one connection be accepted. Every request of the connection holds it too, so another one is
/// accepted only after the supplier has processed them. This bounds the queue of requests: a
/// connection has at most three in it.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// Where connections get their tunnels.
#[derive(Debug)]
pub(super) struct PoolHandle {
    requests: mpsc::UnboundedSender<Request>,
    next: AtomicU64,
}

impl PoolHandle {
    /// `requests` goes to the supplier.
    pub(super) fn new(requests: mpsc::UnboundedSender<Request>) -> Self {
        Self {
            requests,
            next: AtomicU64::new(0),
        }
    }

    /// Waits for a place on a tunnel, until `deadline`.
    ///
    /// # Errors
    ///
    /// Why there is none, and whether that is news.
    pub(super) async fn want(&self, deadline: Instant, slot: &Slot) -> Result<Lease, Refusal> {
        let id = WaiterId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let want = Request::Want {
            id,
            deadline,
            reply,
            slot: Arc::clone(slot),
        };
        self.requests.send(want).map_err(|_| Refusal::stopping())?;
        let _departure = CancelOnDrop {
            supply: self,
            id,
            slot,
        };
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// A supplier that stops answers, or is gone. One that dropped a request had a panic.
    fn unanswered(&self) -> Refusal {
        match self.requests.is_closed() {
            true => Refusal::stopping(),
            false => Refusal::fault(),
        }
    }
}

/// Tells that a connection wants nothing any more, however that came.
struct CancelOnDrop<'a> {
    supply: &'a PoolHandle,
    id: WaiterId,
    slot: &'a Slot,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // A supplier that is gone counts nobody.
        let leave = Request::Leave(self.id, Arc::clone(self.slot));
        let _gone = self.supply.requests.send(leave);
    }
}

/// Why a connection gets no place.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Whether it is to be told: false for what was told a moment ago.
    pub(super) should_log: bool,
}

impl Refusal {
    /// Because of a panic, which was reported.
    pub(super) fn fault() -> Self {
        Self {
            failure: Failure::Fault,
            should_log: true,
        }
    }

    pub(super) fn stopping() -> Self {
        Self {
            failure: Failure::Stopping,
            should_log: false,
        }
    }
}

/// What is said to the supplier.
#[derive(Debug)]
pub(super) enum Request {
    /// A connection wants a place.
    Want {
        id: WaiterId,
        deadline: Instant,
        reply: oneshot::Sender<Result<Lease, Refusal>>,
        slot: Slot,
    },
    /// A connection wants none any more.
    Leave(WaiterId, Slot),
    /// A place is free again.
    Return(TunnelId, Returned, Slot),
    /// Something happened to a tunnel.
    News(TunnelId, TunnelEvent),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    /// A client that leaves makes room for the next one, which may leave too: without this the
    /// queue of a supplier that is busy would grow with every one of them.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a wait has some deadline")]
    async fn a_slot_is_not_free_before_the_supplier_has_processed_the_departure() {
        let (requests, mut incoming) = mpsc::unbounded_channel();
        let supply = PoolHandle::new(requests);
        let slots = Arc::new(Semaphore::new(1));
        let slot = Arc::new(Arc::clone(&slots).try_acquire_owned().unwrap());

        let want = supply.want(Instant::now(), &slot);
        assert!(timeout(Duration::ZERO, want).await.is_err());
        drop(slot);

        assert_eq!(slots.available_permits(), 0);
        assert!(matches!(incoming.recv().await, Some(Request::Want { .. })));
        assert_eq!(slots.available_permits(), 0);
        assert!(matches!(incoming.recv().await, Some(Request::Leave(..))));
        assert_eq!(slots.available_permits(), 1);
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a wait has some deadline")]
    async fn a_slot_is_free_without_a_supplier() {
        let (requests, incoming) = mpsc::unbounded_channel();
        let supply = PoolHandle::new(requests);
        let slots = Arc::new(Semaphore::new(1));
        let slot = Arc::new(Arc::clone(&slots).try_acquire_owned().unwrap());
        let want = supply.want(Instant::now(), &slot);
        assert!(timeout(Duration::ZERO, want).await.is_err());

        drop((slot, incoming));

        assert_eq!(slots.available_permits(), 1);
    }
}
