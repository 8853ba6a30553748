//! A connection's place on a tunnel. Dropping it gives the place back.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::pool::{Returned, TunnelId};
use super::pool_handle::{Request, Slot};
use crate::proto::OpenError;
use crate::tunnel::{Stream, Tunnel};

/// A place on a tunnel.
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
    /// If the tunnel has ended in this moment or has no stream numbers left. The pool gives no more
    /// places on it then; another one is to be asked for.
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

/// What is given back.
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
        // A supplier that is gone counts no places.
        let slot = Arc::clone(&self.slot);
        let returned = Request::Return(self.id, self.returned, slot);
        let _gone = self.requests.send(returned);
    }
}
