//! One forward, running: accept, open, relay, stop.
//!
//! ```text
//!   Forward::run ─▶ one accept loop for each local address
//!                        └─▶ one task for each connection (serve.rs)
//! ```
//!
//! A forward knows nothing of other forwards and of signals. It runs until it is told to stop;
//! then it accepts nothing more and ends its connections.

mod connection;
mod listener;
mod peer;
mod relay;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, debug, info, info_span, warn};

use self::connection::Connection;
use self::listener::Listener;
pub use self::listener::{ListenError, Obstacle};
use self::serve::Serve;
use crate::config;
use crate::network::Network;
use crate::proto::EarlyPool;
use crate::session::{Service, Sessions};
use crate::tunnel::Nudged;

/// A forward whose local addresses are bound.
#[derive(Debug)]
pub struct Forward {
    listeners: Vec<Listener>,
    serve: Arc<Serve>,
}

impl Forward {
    /// Binds the local addresses of a forward. Connections wait in the backlog until it runs.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub async fn bind(settings: config::Forward, world: World) -> Result<Self, ListenError> {
        let listeners = Listener::bind(&settings).await?;
        let permits = Semaphore::new(settings.max_connections);
        // As many again may wait for a permit; the rest stay in the backlog.
        let slots = Arc::new(Semaphore::new(2 * settings.max_connections));
        let serve = Arc::new(Serve {
            settings,
            world,
            permits,
            slots,
        });
        Ok(Self { listeners, serve })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.serve.settings.name
    }

    /// The ports on which it listens. Its Unix sockets are where its settings say.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = |listener: &Listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        };
        self.listeners.iter().filter_map(tcp).collect()
    }

    /// Accepts connections until `stop` says true, then ends those that are open.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let span = info_span!("forward", name = self.name());
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let accept = accept_loop(listener, Arc::clone(&self.serve), stop.clone());
            loops.spawn(accept.instrument(span.clone()));
        }
        while let Some(done) = loops.join_next().await {
            if let Err(error) = done {
                warn!(%error, "an accept loop was lost");
            }
        }
    }
}

/// What a forward needs of the rest of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct World {
    /// The API that starts sessions.
    pub service: Service,
    /// The task that ends them.
    pub sessions: Sessions,
    /// What dials their websockets.
    pub network: Network,
    /// What early messages of all tunnels may take.
    pub pool: EarlyPool,
    /// What tells tunnels to try again now.
    pub nudged: Nudged,
    /// Program, version and host, for the `Reason` of a session.
    pub origin: String,
}

async fn accept_loop(listener: Listener, serve: Arc<Serve>, mut stop: watch::Receiver<bool>) {
    if let Ok(address) = listener.address() {
        let destination = &serve.settings.remote;
        info!(local_address = %address, target = %serve.settings.target, %destination, "listening");
    }
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &serve) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(done) = connections.join_next() => {
                warn_if_panicked(done);
                continue;
            }
        };
        match accepted {
            Ok((connection, slot)) => {
                pause = ACCEPT_PAUSE;
                let span = info_span!("connection", peer = %connection.peer());
                let task = Arc::clone(&serve).run(connection, slot, stop.clone());
                connections.spawn(task.instrument(span));
            }
            Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection vanished"),
            Err(error) => {
                warn!(%error, ?pause, "cannot accept; will try again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
            }
        }
    }
    drop(listener);
    while let Some(done) = connections.join_next().await {
        warn_if_panicked(done);
    }
}

async fn accept(
    listener: &Listener,
    serve: &Serve,
) -> io::Result<(Connection, OwnedSemaphorePermit)> {
    let slot = Arc::clone(&serve.slots)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    Ok((listener.accept().await?, slot))
}

/// Errors that say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}

fn warn_if_panicked(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        warn!(%error, "a connection was lost by a fault of this program");
    }
}

/// How long to wait after a failed accept, at first and at most.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
