//! A connection's slot on a tunnel. Dropping the lease returns the slot to the pool.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::pool::{Returned, TunnelId};
use super::pool_handle::{Request, Slot};
use crate::proto::OpenError;
use crate::tunnel::{Stream, Tunnel};

/// A tunnel with a slot for one stream.
#[derive(Debug)]
pub(super) struct Lease {
    tunnel: Tunnel,
    place: Place,
}

impl Lease {
    pub(super) fn new(tunnel: Tunnel, place: Place) -> Self {
        Self { tunnel, place }
    }

    /// Opens the stream of the connection.
    ///
    /// # Errors
    ///
    /// If the tunnel has just ended or has no stream numbers left. The pool gives no more slots on
    /// it then; the caller must request another lease.
    pub(super) fn open_stream(&mut self) -> Result<Stream, OpenError> {
        let opened = self.tunnel.open_stream();
        self.place.returned = match opened {
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
pub(super) struct Place {
    id: TunnelId,
    returned: Returned,
    slot: Slot,
    requests: mpsc::UnboundedSender<Request>,
}

impl Place {
    pub(super) fn new(id: TunnelId, slot: Slot, requests: mpsc::UnboundedSender<Request>) -> Self {
        Self {
            id,
            returned: Returned::Unused,
            slot,
            requests,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Receiver dropped: ignore.
        let slot = Arc::clone(&self.slot);
        let returned = Request::Release(self.id, self.returned, slot);
        let _gone = self.requests.send(returned);
    }
}
