//! Handle of the pool task: requests of connections and events of tunnels, and the slots that
//! connections get. Dropping a lease returns its slot to the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::access_log::{End, EndFailure};
use super::error::ConnectFailure;
use super::pool::{Returned, TunnelId, WaiterId};
use super::session_table::SessionTable;
use super::timeline::SessionTimeline;
use crate::config;
use crate::printable::Printable;
use crate::proto::OpenError;
use crate::session::StartStage;
use crate::tunnel::{Stream, Tunnel};

/// Permit to accept one connection. Every request of the connection holds it too, so another
/// connection is accepted only after the pool task has processed them. This bounds the queue of
/// requests: a connection has at most three in it.
pub(super) type AcceptPermit = Arc<OwnedSemaphorePermit>;

/// Handle through which connections get a slot on a tunnel.
#[derive(Debug)]
pub(super) struct PoolHandle {
    requests: mpsc::UnboundedSender<PoolRequest>,
    next: AtomicU64,
    sessions: Arc<SessionTable>,
}

impl PoolHandle {
    /// Creates a handle. `requests` goes to the pool task.
    pub(super) fn new(
        requests: mpsc::UnboundedSender<PoolRequest>,
        sessions: Arc<SessionTable>,
    ) -> Self {
        Self {
            requests,
            next: AtomicU64::new(0),
            sessions,
        }
    }

    /// Returns the sessions of the pool.
    pub(super) fn sessions(&self) -> &Arc<SessionTable> {
        &self.sessions
    }

    /// Waits for a slot on a tunnel, until `deadline`. `requested` is the destination, unless it is
    /// that of the forward.
    ///
    /// # Errors
    ///
    /// Returns the failure, and whether it should be logged.
    pub(super) async fn acquire(
        &self,
        deadline: Instant,
        permit: &AcceptPermit,
        requested: Option<&config::Remote>,
    ) -> Result<Lease, SlotRefusal> {
        let id = WaiterId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let acquire = PoolRequest::Acquire {
            id,
            deadline,
            reply,
            permit: Arc::clone(permit),
            requested: requested.cloned(),
        };
        self.requests
            .send(acquire)
            .map_err(|_| SlotRefusal::stopping())?;
        let _cancel = CancelOnDrop {
            pool: self,
            id,
            permit,
        };
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Refusal without a reply: the pool task has stopped, or dropped the request in a panic.
    fn unanswered(&self) -> SlotRefusal {
        match self.requests.is_closed() {
            true => SlotRefusal::stopping(),
            false => SlotRefusal::internal(),
        }
    }
}

/// Cancels the request of a connection when dropped, whether it was fulfilled or not.
struct CancelOnDrop<'a> {
    pool: &'a PoolHandle,
    id: WaiterId,
    permit: &'a AcceptPermit,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // Receiver dropped: ignore.
        let leave = PoolRequest::CancelWait(self.id, Arc::clone(self.permit));
        let _gone = self.pool.requests.send(leave);
    }
}

/// Reason why a connection gets no slot.
#[derive(Debug)]
pub(super) struct SlotRefusal {
    pub(super) failure: ConnectFailure,
    /// How many failures were not logged before this one; `None` if it should not be logged either.
    pub(super) omitted: Option<u64>,
    /// The session that the connection was waiting for.
    pub(super) timeline: Box<SessionTimeline>,
}

impl SlotRefusal {
    /// Refusal after a panic, which was logged.
    pub(super) fn internal() -> Self {
        Self {
            failure: ConnectFailure::Internal,
            omitted: Some(0),
            timeline: Box::default(),
        }
    }

    /// Refusal of a connection that waited for no session.
    pub(super) fn of(failure: ConnectFailure) -> Self {
        Self {
            failure,
            omitted: Some(0),
            timeline: Box::default(),
        }
    }

    /// Returns the end of the connection.
    pub(super) fn end(self) -> End {
        let failure = &self.failure;
        let is_stop = matches!(failure, ConnectFailure::Stopping);
        let failure = (!is_stop).then(|| EndFailure {
            class: failure.class(),
            error: Printable::of(failure),
            hint: failure.hint().unwrap_or_default().into(),
        });
        End {
            reason: self.failure.end_reason(),
            failure,
            omitted: self.omitted,
            timeline: Some(*self.timeline),
            is_answered: false,
        }
    }

    pub(super) fn stopping() -> Self {
        Self {
            failure: ConnectFailure::Stopping,
            omitted: None,
            timeline: Box::default(),
        }
    }
}

/// Message to the pool task.
#[derive(Debug)]
pub(super) enum PoolRequest {
    /// A connection wants a slot.
    Acquire {
        id: WaiterId,
        deadline: Instant,
        reply: oneshot::Sender<Result<Lease, SlotRefusal>>,
        permit: AcceptPermit,
        requested: Option<config::Remote>,
    },
    /// A connection no longer waits.
    CancelWait(WaiterId, AcceptPermit),
    /// A slot is free again.
    Release(TunnelId, Returned, AcceptPermit),
    /// An event of a tunnel.
    Tunnel(TunnelId, TunnelEvent),
}

/// Event of a tunnel.
#[derive(Debug)]
pub(super) enum TunnelEvent {
    /// Its start waits for this.
    Stage(StartStage),
    /// The session was started.
    SessionStarted(Tunnel),
    /// Streams can be opened.
    Ready,
    /// Its websocket broke.
    Disconnected,
    /// Its session was resumed on a new websocket.
    Resumed,
    /// It could not be established.
    Failed(ConnectFailure),
    /// It was ready and has ended.
    Ended,
}

/// A tunnel with a slot for one stream.
#[derive(Debug)]
pub(super) struct Lease {
    tunnel: Tunnel,
    timeline: SessionTimeline,
    guard: SlotGuard,
}

impl Lease {
    pub(super) fn new(tunnel: Tunnel, timeline: SessionTimeline, guard: SlotGuard) -> Self {
        Self {
            tunnel,
            timeline,
            guard,
        }
    }

    /// Returns when the session reached its stages.
    pub(super) fn timeline(&self) -> &SessionTimeline {
        &self.timeline
    }

    /// Opens the stream of the connection.
    ///
    /// # Errors
    ///
    /// If the tunnel has just ended or has no stream numbers left. The pool gives no more slots on
    /// it then; the caller must request another lease.
    pub(super) fn open_stream(&mut self) -> Result<Stream, OpenError> {
        let opened = self.tunnel.open_stream();
        self.guard.returned = match opened {
            Ok(_) => Returned::Used,
            Err(_) => Returned::Unusable,
        };
        opened
    }

    pub(super) fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }
}

/// The slot; returned to the pool when dropped.
#[derive(Debug)]
pub(super) struct SlotGuard {
    id: TunnelId,
    returned: Returned,
    permit: AcceptPermit,
    requests: mpsc::UnboundedSender<PoolRequest>,
}

impl SlotGuard {
    pub(super) fn new(
        id: TunnelId,
        permit: AcceptPermit,
        requests: mpsc::UnboundedSender<PoolRequest>,
    ) -> Self {
        Self {
            id,
            returned: Returned::Unused,
            permit,
            requests,
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        // Receiver dropped: ignore.
        let permit = Arc::clone(&self.permit);
        let returned = PoolRequest::Release(self.id, self.returned, permit);
        let _gone = self.requests.send(returned);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;
    use crate::clock;

    /// A client that disconnects allows the next one, which may disconnect too: otherwise the
    /// queue of a busy pool task would grow with each of them.
    #[tokio::test]
    async fn a_permit_is_released_only_after_the_pool_task_has_processed_the_cancellation() {
        let (requests, mut incoming) = mpsc::unbounded_channel();
        let pool = PoolHandle::new(requests, Arc::default());
        let permits = Arc::new(Semaphore::new(1));
        let permit = Arc::new(Arc::clone(&permits).try_acquire_owned().unwrap());

        let acquire = pool.acquire(clock::now(), &permit, None);
        assert!(timeout(Duration::ZERO, acquire).await.is_err());
        drop(permit);

        assert_eq!(permits.available_permits(), 0);
        assert!(matches!(
            incoming.recv().await,
            Some(PoolRequest::Acquire { .. })
        ));
        assert_eq!(permits.available_permits(), 0);
        assert!(matches!(
            incoming.recv().await,
            Some(PoolRequest::CancelWait(..))
        ));
        assert_eq!(permits.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_permit_is_released_without_a_pool_task() {
        let (requests, incoming) = mpsc::unbounded_channel();
        let pool = PoolHandle::new(requests, Arc::default());
        let permits = Arc::new(Semaphore::new(1));
        let permit = Arc::new(Arc::clone(&permits).try_acquire_owned().unwrap());
        let acquire = pool.acquire(clock::now(), &permit, None);
        assert!(timeout(Duration::ZERO, acquire).await.is_err());

        drop((permit, incoming));

        assert_eq!(permits.available_permits(), 1);
    }
}
