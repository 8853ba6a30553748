//! Health and metrics over HTTP, if the file says where.
//!
//! ```text
//!   a client ─▶ Bound ─▶ Clients ─▶ hyper ─▶ host.rs ─▶ Call ─▶ the daemon
//!            ◀────────────── pages.rs, metrics.rs ◀── Report
//! ```
//!
//! Everything is asked of the daemon itself, as over the admin socket, so an answer shows that it
//! runs. Nothing can be changed from here. A client that is slow, or says nothing, is left, and a
//! request that names another host is refused.

mod host;
mod prometheus;
mod routes;
mod server;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::host::Names;
pub(super) use self::server::MAX_CONNECTIONS;
use self::server::{LAST_ANSWERS, serve};
use super::StartError;
use super::admin::{Admin, Call};
use super::clients::Clients;
use crate::config;
use crate::forward::{ActivatedSockets, ListenSpec, Listeners};

/// What serves health and metrics, if something does.
#[derive(Debug, Default)]
pub(super) struct Http(Option<Served>);

#[derive(Debug)]
struct Served {
    settings: config::Http,
    bound: Listeners,
    calls: mpsc::Receiver<Call>,
    /// One task for each listener, which owns its connections.
    listeners: JoinSet<()>,
}

/// What will be served; everything is bound.
#[derive(Debug)]
pub(super) enum Plan {
    /// What is.
    Same,
    /// Something else, or nothing.
    Other(Option<(config::Http, Listeners)>),
}

impl Http {
    /// What others may listen on if this is wanted from now on.
    pub(super) fn given_up(&self, wanted: Option<&config::Http>) -> Listeners {
        let served = self.0.as_ref();
        let over = served.filter(|served| Some(&served.settings) != wanted);
        let mut given_up = Listeners::default();
        if let Some(served) = over {
            given_up.join(&served.bound);
        }
        given_up
    }

    /// Binds what is wanted and not there. Nothing changes before [`Http::swap`]. What `held` has is
    /// taken from there.
    pub(super) async fn plan(
        &self,
        wanted: Option<config::Http>,
        passed: &ActivatedSockets,
        held: &mut Listeners,
    ) -> Result<Plan, StartError> {
        if self.0.as_ref().map(|served| &served.settings) == wanted.as_ref() {
            return Ok(Plan::Same);
        }
        let Some(settings) = wanted else {
            return Ok(Plan::Other(None));
        };
        let wanted = ListenSpec {
            listen: &settings.listen,
            mode: MODE,
            allow_remote_clients: settings.allow_remote_clients,
        };
        let own = self.0.as_ref().map(|served| served.bound.clone());
        let bound = Listeners::bind(wanted, passed, own.unwrap_or_default(), held).await;
        let bound = bound.map_err(StartError::Http)?;
        Ok(Plan::Other(Some((settings, bound))))
    }

    /// Does what was planned.
    pub(super) async fn swap(&mut self, plan: Plan) {
        let Plan::Other(wanted) = plan else { return };
        std::mem::take(self).close().await;
        self.0 = wanted.map(|(settings, bound)| Served::start(settings, bound));
    }

    /// The next request. Cancelling loses none.
    async fn called(&mut self) -> Call {
        let call = match &mut self.0 {
            Some(served) => served.calls.recv().await,
            None => None,
        };
        match call {
            Some(call) => call,
            None => std::future::pending().await,
        }
    }

    /// Accepts and answers nothing more; who waits for an answer hears that.
    pub(super) async fn close(self) {
        let Some(Served {
            bound,
            calls,
            mut listeners,
            ..
        }) = self.0
        else {
            return;
        };
        drop((bound, calls));
        let done = async { while listeners.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, done).await.is_err() {
            debug!("an HTTP client has not listened to its answer");
        }
        listeners.shutdown().await;
    }
}

impl Served {
    fn start(settings: config::Http, bound: Listeners) -> Self {
        let (requests, calls) = mpsc::channel(1);
        let clients = Clients::new("http", MAX_CONNECTIONS);
        let names = Arc::new(Names::new(&settings.hosts));
        let mut listeners = JoinSet::new();
        if let Err(error) = bound.set_mode(MODE) {
            warn!(%error, "the permissions of a socket cannot be changed");
        }
        for listener in bound.listeners() {
            if let Ok(address) = listener.address() {
                info!(local_address = %address, "serving HTTP");
            }
            let (listener, names) = (Arc::clone(listener), Arc::clone(&names));
            listeners.spawn(serve(listener, clients.clone(), names, requests.clone()));
        }
        Self {
            settings,
            bound,
            calls,
            listeners,
        }
    }
}

/// Waits for a request from anywhere.
pub(super) async fn called(admin: &mut Option<Admin>, http: &mut Http) -> Call {
    let admin = async {
        match admin {
            Some(admin) => admin.called().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        call = admin => call,
        call = http.called() => call,
    }
}

/// Who may connect to a Unix socket: the user who runs the daemon.
const MODE: u32 = 0o600;
