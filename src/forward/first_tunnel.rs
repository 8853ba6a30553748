//! A tunnel that was opened before its forward: on a session that another program has started. It is
//! the first tunnel of the pool (`pool/handed_over.rs`).
//!
//! ```text
//!   open ─▶ ready ─▶ (waits in its place) ── first connection ──▶ TunnelTask
//!                                         └─ close: there was none
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, debug, error_span};

use super::error::ConnectFailure;
use super::pool::HandedOverRole;
use crate::error_class::ErrorClass;
use crate::network::Network;
use crate::printable::Printable;
use crate::proto::ClientSide;
use crate::session::Session;
use crate::tunnel::{Driver, State, Tunnel, TunnelOptions};

/// The place of an opened tunnel, until the first connection takes it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FirstTunnel {
    place: Arc<Mutex<Option<OpenedTunnel>>>,
    /// Its handle; `None` if there never was one.
    tunnel: Option<Tunnel>,
    role: HandedOverRole,
}

impl FirstTunnel {
    /// Begins to open a tunnel.
    pub fn open(session: Session, network: Network, options: TunnelOptions) -> Self {
        let opened = OpenedTunnel::open(session, network, options);
        Self {
            tunnel: Some(opened.tunnel.clone()),
            role: HandedOverRole::None,
            place: Arc::new(Mutex::new(Some(opened))),
        }
    }

    /// Sets what it is for its pool.
    pub fn with_role(self, role: HandedOverRole) -> Self {
        Self { role, ..self }
    }

    /// Returns what it is for its pool.
    pub(super) fn role(&self) -> HandedOverRole {
        self.role
    }

    /// Returns why no connection can be served; `None` if another tunnel may be started.
    pub(super) fn end_of_only(&self) -> Option<ConnectFailure> {
        if self.role != HandedOverRole::Only {
            return None;
        }
        let failure = self.tunnel.as_ref().and_then(Tunnel::failure);
        Some(failure.map_or(ConnectFailure::Stopping, ConnectFailure::Tunnel))
    }

    /// Waits until streams can be opened. Returns what the document wants to be connected.
    ///
    /// # Errors
    ///
    /// If the tunnel has ended, or is not ready within `connect_timeout`.
    pub async fn ready(&self, connect_timeout: Duration) -> Result<ClientSide, FirstFailure> {
        let Some(mut tunnel) = self.tunnel.clone() else {
            return Err(FirstFailure::of(&ConnectFailure::Internal));
        };
        match timeout(connect_timeout, tunnel.ready()).await {
            Ok(Ok(())) => Ok(tunnel.client_side()),
            Ok(Err(error)) => Err(FirstFailure::of(&ConnectFailure::Tunnel(error))),
            Err(_) => Err(FirstFailure::of(&ConnectFailure::TimedOut(tunnel.step()))),
        }
    }

    /// Waits until the tunnel has ended, whoever uses it, and returns why.
    pub async fn ended(&self) -> Printable {
        let Some(mut tunnel) = self.tunnel.clone() else {
            return std::future::pending().await;
        };
        let mut state = State::Opening;
        while state != State::Ended {
            state = tunnel.changed(state).await;
        }
        let failure = tunnel.failure();
        failure.map(Printable::of).unwrap_or_default()
    }

    /// Ends the session if no connection has taken the tunnel.
    pub async fn close(&self) {
        let opened = self.place().take();
        if let Some(opened) = opened {
            opened.close().await;
        }
    }

    /// Takes the tunnel, unless it was taken before or has ended.
    pub(super) async fn take(&self) -> Option<OpenedTunnel> {
        let mut opened = self.place().take()?;
        // It was ready: this does not wait.
        match opened.tunnel.ready().await {
            Ok(()) => Some(opened),
            Err(error) => {
                debug!(%error, "the session that was handed over has ended; starting another one");
                None
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<OpenedTunnel>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tunnel whose driver runs. Dropping it terminates the session.
#[derive(Debug)]
pub(super) struct OpenedTunnel {
    tunnel: Tunnel,
    driver: JoinSet<()>,
}

impl OpenedTunnel {
    fn open(session: Session, network: Network, options: TunnelOptions) -> Self {
        let (tunnel, task) = Driver::new(session, network, options);
        let span = error_span!("tunnel", session = %tunnel.session_id());
        let mut driver = JoinSet::new();
        driver.spawn(task.run().instrument(span));
        Self { tunnel, driver }
    }

    /// Returns its handle, and what drives it until it has ended.
    pub(super) fn into_parts(mut self) -> (Tunnel, impl Future<Output = ()>) {
        let tunnel = self.tunnel.clone();
        (tunnel, async move { self.ended().await })
    }

    /// Ends the session in order, and drops the tunnel after three seconds.
    async fn close(mut self) {
        self.tunnel.close();
        if timeout(CLOSE_TIMEOUT, self.ended()).await.is_err() {
            debug!("the tunnel did not close in time; terminating its session through the API");
        }
    }

    async fn ended(&mut self) {
        // A panic has ended the tunnel, which reports it.
        while self.driver.join_next().await.is_some() {}
    }
}

/// Why a tunnel could not be opened, for the user.
#[derive(Clone, Debug)]
pub struct FirstFailure {
    /// Description.
    pub what: Printable,
    /// What to do about it; empty if nothing is known.
    pub hint: Printable,
    /// Its class.
    pub class: ErrorClass,
}

impl FirstFailure {
    fn of(failure: &ConnectFailure) -> Self {
        Self {
            what: Printable::of(failure),
            hint: failure.hint().unwrap_or_default().into(),
            class: failure.class(),
        }
    }
}

/// Timeout of a graceful close: the flag on the channel waits 1 s for its acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
