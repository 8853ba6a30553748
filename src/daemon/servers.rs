//! Retries of the `[http]` and `[admin]` sockets that cannot be bound. They are tried again every
//! [`PAUSE`]; the forwards serve meanwhile.

use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, error, info};

use super::admin::{Admin, SocketLocation};
use super::http::{HttpPlan, HttpSockets};
use super::{Daemon, StartError};
use crate::config;
use crate::forward::{ActivatedSockets, ListenError, Listeners};
use crate::printable::Printable;
use crate::telemetry::FailingServer;
use crate::tunnel::TriggerReceiver;

/// The servers that cannot be bound, and the timer of the next attempt.
#[derive(Debug, Default)]
pub(super) struct Servers {
    pub(super) http: Option<Failing<config::Http>>,
    pub(super) admin: Option<Failing<SocketLocation>>,
    /// At most one task.
    timer: JoinSet<()>,
}

#[derive(Debug)]
pub(super) struct Failing<T> {
    wanted: T,
    report: FailingServer,
}

impl<T> Failing<T> {
    /// Records and logs the failure.
    pub(super) fn new(wanted: T, server: &str, error: &StartError) -> Self {
        let hint = error.hint();
        error!(%error, %hint, class = %error.class(), "cannot serve [{server}]; retrying");
        let report = FailingServer {
            server: server.into(),
            code: error.class().name().into(),
            error: Printable::of(error),
            hint: hint.as_ref().into(),
        };
        Self { wanted, report }
    }
}

impl Servers {
    /// Returns what the failing servers must bind.
    pub(super) fn wanted(&self) -> (Option<config::Http>, Option<SocketLocation>) {
        let http = self.http.as_ref().map(|failing| failing.wanted.clone());
        let admin = self.admin.as_ref().map(|failing| failing.wanted.clone());
        (http, admin)
    }

    /// Returns the failing servers for the status report.
    pub(super) fn reports(&self) -> Vec<FailingServer> {
        let http = self.http.as_ref().map(|failing| &failing.report);
        let admin = self.admin.as_ref().map(|failing| &failing.report);
        http.into_iter().chain(admin).cloned().collect()
    }

    /// Starts the timer of the next attempt if a server is failing.
    pub(super) fn plan_retry(&mut self, mut triggered: TriggerReceiver) {
        self.timer = JoinSet::new();
        if self.http.is_none() && self.admin.is_none() {
            return;
        }
        self.timer
            .spawn(async move { triggered.triggered_within(PAUSE).await });
    }

    /// Waits for the next attempt; never returns if no server is failing. Cancel safe.
    pub(super) async fn due(&mut self) {
        if self.timer.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Binds the addresses of `[http]`. Unless the start is strict, a server that cannot be bound is
/// returned as failing.
///
/// # Errors
///
/// The bind error, if the start is strict.
pub(super) async fn plan_http(
    http: &HttpSockets,
    wanted: Option<config::Http>,
    passed: &ActivatedSockets,
    released: &mut Listeners,
    strict: bool,
) -> Result<(HttpPlan, Option<Failing<config::Http>>), StartError> {
    match (http.prepare(wanted.clone(), passed, released).await, wanted) {
        (Ok(plan), _) => Ok((plan, None)),
        (Err(error), Some(wanted)) if !strict => {
            let failing = Failing::new(wanted, "http", &error);
            Ok((HttpPlan::Other(None), Some(failing)))
        }
        (Err(error), _) => Err(error),
    }
}

/// Failing servers, each with its sockets or the error of another attempt.
#[derive(Debug, Default)]
pub(super) struct Rebound {
    http: Option<Result<HttpPlan, StartError>>,
    admin: Option<Result<Admin, ListenError>>,
}

/// Tries to bind the failing servers again.
pub(super) async fn rebind(
    http: Option<config::Http>,
    admin: Option<SocketLocation>,
    passed: &ActivatedSockets,
) -> Rebound {
    let mut rebound = Rebound::default();
    if http.is_some() {
        let released = &mut Listeners::default();
        rebound.http = Some(HttpSockets::default().prepare(http, passed, released).await);
    }
    if let Some(location) = admin {
        rebound.admin = Some(Admin::bind(&location).await);
    }
    rebound
}

impl Daemon {
    /// Starts the servers that [`rebind`] has bound.
    pub(super) fn handle_rebound_servers(&mut self, rebound: Rebound) {
        let Rebound { http, admin } = rebound;
        match http {
            Some(Ok(plan)) => {
                // A server that is failing has no predecessor.
                drop(self.control.http.commit(plan));
                self.servers.http = None;
            }
            Some(Err(error)) => debug!(%error, "cannot serve [http] yet"),
            None => {}
        }
        match admin {
            Some(Ok(admin)) => {
                info!(socket = %admin.path().display(), "accepting commands");
                self.control.admin = Some(admin);
                self.servers.admin = None;
            }
            Some(Err(error)) => debug!(%error, "cannot serve [admin] yet"),
            None => {}
        }
        self.plan_server_retry();
    }

    pub(super) fn plan_server_retry(&mut self) {
        self.control.stats.failing_servers = self.servers.reports();
        let triggered = self.context.triggered.clone().resubscribe();
        self.servers.plan_retry(triggered);
    }
}

/// Pause between two attempts, equal to the longest pause for failing forwards.
const PAUSE: Duration = Duration::from_secs(5);
