//! The relay: the end of the relay protocol on the target (`docs/relay-protocol.md`).
//!
//! ```text
//!   daemon ══ stripes ══▶ acceptor ─ HELLO ─▶ bundles ─▶ bundle task ─▶ flow tasks ─▶ destinations
//! ```
//!
//! - It listens on loopback only, and connects to what its rules allow, and to nothing else.
//! - A byte stream must begin with a HELLO within five seconds. Only a few such streams are kept
//!   waiting; the oldest one makes room for a new one.
//! - A HELLO with stripe 0 creates a bundle, of which there is a maximum number.
//! - A destination sees exactly what the client did: the end of a direction after all of its bytes,
//!   or a reset.
//! - The ids of bundles are secrets, and appear nowhere.

mod acceptor;
mod bundle_task;
mod bundles;
mod destination;
mod dial;
mod flow_task;
mod http_server;
mod log_limit;
mod metrics;
mod pages;
mod rules;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{debug, info, warn};

use self::acceptor::Acceptor;
use self::bundle_task::Runner;
use self::bundles::Bundles;
pub use self::metrics::{BundleReport, RelayReport};
pub use self::rules::{Rule, Rules};

/// Parameters of a relay.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where it listens; loopback.
    pub listen: SocketAddr,
    /// Where it serves metrics and status; loopback.
    pub http: Option<SocketAddr>,
    /// What it connects to.
    pub rules: Rules,
    /// Maximum number of bundles.
    pub max_bundles: usize,
    /// How long a bundle without a stripe is kept.
    pub keep: Duration,
    /// Timeout of a connection to a destination, name resolution included.
    pub connect_timeout: Duration,
    /// How long open flows may continue after a stop was requested.
    pub drain_timeout: Duration,
}

/// Why a relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The address is not loopback.
    #[error("{0} is not a loopback address: other machines could connect to the relay")]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
}

/// A relay that listens.
#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    address: SocketAddr,
    http: Option<TcpListener>,
    bundles: Arc<Bundles>,
    runner: Runner,
    drain_timeout: Duration,
}

impl Relay {
    /// Listens.
    ///
    /// # Errors
    /// The address is not loopback, or cannot be bound.
    pub async fn bind(options: RelayOptions) -> Result<Self, RelayError> {
        let (listener, address) = listen(options.listen).await?;
        let http = match options.http {
            Some(address) => Some(listen(address).await?.0),
            None => None,
        };
        let drain_timeout = options.drain_timeout;
        let (bundles, created) = Bundles::new(options);
        let runner = Runner::new(Arc::clone(&bundles), created);
        Ok(Self {
            listener,
            address,
            http,
            bundles,
            runner,
            drain_timeout,
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a source of reports.
    pub fn reporter(&self) -> Reporter {
        Reporter(Arc::clone(&self.bundles))
    }

    /// Runs until `stop`, then lets open flows continue for a while, unless `abort` happens before.
    pub async fn run(mut self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let (http, bundles) = (self.http.take(), Arc::clone(&self.bundles));
        let serving = async {
            if let Some(http) = http {
                http_server::serve(http, bundles).await;
            }
        };
        tokio::select! {
            () = self.run_until(stop, abort) => {}
            () = never_after(serving) => {}
        }
    }

    async fn run_until(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let Self {
            listener,
            bundles,
            mut runner,
            drain_timeout,
            ..
        } = self;
        let mut acceptor = Acceptor::new(listener, Arc::clone(&bundles));
        tokio::select! {
            () = acceptor.run() => {}
            () = runner.run() => {}
            () = stop => {}
        }
        bundles.stop();
        let flows = bundles.flow_count();
        info!(flows, "stopping; no new connections");
        let drained = async {
            tokio::select! {
                () = acceptor.run() => {}
                () = runner.run() => {}
                () = bundles.drained() => {}
            }
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(drain_timeout) => {
                let flows = bundles.flow_count();
                warn!(flows, "open connections did not end in time; they are reset");
            }
            () = abort => {}
        }
        tokio::select! {
            () = acceptor.run() => {}
            () = runner.run() => {}
            () = bundles.close() => {}
            () = tokio::time::sleep(CLOSE_LIMIT) => debug!("some bundles did not end in time"),
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RelayError> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(RelayError::NotLoopback(address));
    }
    let failed = |error| RelayError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn never_after(future: impl Future<Output = ()>) {
    future.await;
    std::future::pending::<()>().await;
}

/// A source of reports about a relay.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<Bundles>);

impl Reporter {
    /// Returns the state of the relay.
    pub fn report(&self) -> RelayReport {
        self.0.report()
    }
}

/// More than a bundle takes to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests;
