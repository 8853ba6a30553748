//! HTTP server for health and metrics, if `[http]` is configured.
//!
//! ```text
//!   a client ─▶ Listeners ─▶ Clients ─▶ hyper ─▶ host.rs ─▶ SnapshotSender ─▶ daemon
//!            ◀───────────────── routes.rs, prometheus ◀───── Snapshot
//! ```
//!
//! Every page but `/startup` is answered by the daemon's event loop, as over the admin socket,
//! so a response shows that it runs. The server is read-only. Slow or idle clients are
//! disconnected, and requests that name another host are rejected.

mod host;
mod prometheus;
mod rejections;
mod routes;
mod server;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::host::AllowedHosts;
pub(super) use self::rejections::Rejection;
use self::rejections::Rejections;
pub(super) use self::server::MAX_CONNECTIONS;
use self::server::{Policy, SHUTDOWN_TIMEOUT, serve};
use super::StartError;
use super::clients::Clients;
use super::snapshot::SnapshotSender;
use crate::config;
use crate::forward::{ActivatedSockets, ListenSpec, Listeners};

/// The HTTP server, if there is one.
#[derive(Debug, Default)]
pub(super) struct Http {
    served: Option<Served>,
    rejections: Rejections,
}

/// Settings and listeners of the server, if there is one. A clone keeps them bound too.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpSockets(Option<(config::Http, Listeners)>);

#[derive(Debug)]
struct Served {
    sockets: HttpSockets,
    calls: mpsc::Receiver<SnapshotSender>,
    /// One task per listener, which owns its connections.
    listeners: JoinSet<()>,
}

/// A prepared change of the server; everything is bound.
#[derive(Debug)]
pub(super) enum HttpPlan {
    Same,
    /// Another server, or none.
    Other(Option<(config::Http, Listeners)>),
}

impl HttpSockets {
    /// Returns the listeners that others may take over if the settings change to `wanted`.
    pub(super) fn released(&self, wanted: Option<&config::Http>) -> Listeners {
        let mut released = Listeners::default();
        if let Some((settings, bound)) = &self.0
            && Some(settings) != wanted
        {
            released.extend(bound);
        }
        released
    }

    /// Binds the addresses of `wanted`. Nothing changes before [`Http::commit`]. Listeners in
    /// `released` are taken from there.
    pub(super) async fn prepare(
        &self,
        wanted: Option<config::Http>,
        passed: &ActivatedSockets,
        released: &mut Listeners,
    ) -> Result<HttpPlan, StartError> {
        if self.0.as_ref().map(|(settings, _)| settings) == wanted.as_ref() {
            return Ok(HttpPlan::Same);
        }
        let Some(settings) = wanted else {
            return Ok(HttpPlan::Other(None));
        };
        let wanted = ListenSpec {
            listen: &settings.listen,
            mode: MODE,
            allow_remote_clients: settings.allow_remote_clients,
        };
        let own = self.0.as_ref().map(|(_, bound)| bound.clone());
        let bound = Listeners::bind(wanted, passed, own.unwrap_or_default(), released).await;
        let bound = bound.map_err(StartError::Http)?;
        Ok(HttpPlan::Other(Some((settings, bound))))
    }
}

impl Http {
    /// Returns the settings and listeners.
    pub(super) fn sockets(&self) -> HttpSockets {
        let served = self.served.as_ref();
        served.map(|s| s.sockets.clone()).unwrap_or_default()
    }

    /// Applies a plan. The returned future finishes the last responses of the previous server.
    pub(super) fn commit(&mut self, plan: HttpPlan) -> impl Future<Output = ()> + use<> {
        let mut previous = JoinSet::new();
        if let HttpPlan::Other(wanted) = plan {
            previous = self.stop_accepting();
            let rejections = &self.rejections;
            self.served =
                wanted.map(|(settings, bound)| Served::start(settings, bound, rejections));
        }
        finish(previous)
    }

    /// Waits for the next request. Cancel safe.
    pub(super) async fn next_request(&mut self) -> SnapshotSender {
        let call = match &mut self.served {
            Some(served) => served.calls.recv().await,
            None => None,
        };
        match call {
            Some(call) => call,
            None => std::future::pending().await,
        }
    }

    /// Stops accepting; pending requests are answered with an error.
    pub(super) async fn close(mut self) {
        finish(self.stop_accepting()).await;
    }

    /// Makes the accept loops end before they accept again, and returns them.
    fn stop_accepting(&mut self) -> JoinSet<()> {
        let served = self.served.take();
        served.map(|served| served.listeners).unwrap_or_default()
    }

    /// Returns what was rejected.
    pub(super) fn rejections(&self) -> Vec<(Rejection, u64)> {
        self.rejections.counts().to_vec()
    }
}

impl Served {
    fn start(settings: config::Http, bound: Listeners, rejections: &Rejections) -> Self {
        let (requests, calls) = mpsc::channel(1);
        let clients = Clients::new("http", MAX_CONNECTIONS);
        let policy = Arc::new(Policy {
            names: AllowedHosts::new(&settings.hosts),
            rejections: rejections.clone(),
        });
        let mut listeners = JoinSet::new();
        if let Err(error) = bound.set_mode(MODE) {
            warn!(%error, "cannot change the permissions of a socket");
        }
        for listener in bound.listeners() {
            if let Ok(address) = listener.address() {
                info!(local_address = %address, "serving HTTP");
            }
            let (listener, policy) = (Arc::clone(listener), Arc::clone(&policy));
            listeners.spawn(serve(listener, clients.clone(), policy, requests.clone()));
        }
        Self {
            sockets: HttpSockets(Some((settings, bound))),
            calls,
            listeners,
        }
    }
}

/// Waits until the last responses are written, for [`SHUTDOWN_TIMEOUT`] at most.
async fn finish(mut listeners: JoinSet<()>) {
    let done = async { while listeners.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_TIMEOUT, done).await.is_err() {
        debug!("an HTTP client did not read its response");
    }
    listeners.shutdown().await;
}

/// Permissions of a Unix socket: only the user who runs the daemon.
const MODE: u32 = 0o600;
