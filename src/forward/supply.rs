//! Where connections get a place on a tunnel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::lease::Lease;
use super::pool::{Returned, TunnelId, WaiterId};
use super::tend::News;

/// Where connections get their tunnels.
#[derive(Debug)]
pub(super) struct Supply {
    requests: mpsc::UnboundedSender<Request>,
    next: AtomicU64,
}

impl Supply {
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
    pub(super) async fn want(&self, deadline: Instant) -> Result<Lease, Refusal> {
        let id = WaiterId(self.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let want = Request::Want {
            id,
            deadline,
            reply,
        };
        self.requests.send(want).map_err(|_| Refusal::stopping())?;
        let _departure = Departure { supply: self, id };
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
struct Departure<'a> {
    supply: &'a Supply,
    id: WaiterId,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        // A supplier that is gone counts nobody.
        let _gone = self.supply.requests.send(Request::Leave(self.id));
    }
}

/// Why a connection gets no place.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Whether it is to be told: false for what was told a moment ago.
    pub(super) is_news: bool,
}

impl Refusal {
    /// Because of a panic, which was reported.
    pub(super) fn fault() -> Self {
        Self {
            failure: Failure::Fault,
            is_news: true,
        }
    }

    pub(super) fn stopping() -> Self {
        Self {
            failure: Failure::Stopping,
            is_news: false,
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
    },
    /// A connection wants none any more.
    Leave(WaiterId),
    /// A place is free again.
    Return(TunnelId, Returned),
    /// Something happened to a tunnel.
    News(TunnelId, News),
}
