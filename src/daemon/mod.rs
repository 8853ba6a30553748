//! Runs all forwards, from start to shutdown.
//!
//! ```text
//!   start: load AWS settings ─▶ bind every local address ─▶ run
//!   stop:  forwards stop accepting ─▶ connections finish, or are reset after the drain timeout
//!          ─▶ the dispatcher terminates their sessions ─▶ done
//! ```
//!
//! A forward that cannot start is marked as failing and retried; the others serve. A strict daemon
//! starts all of them or none. No code in this module touches traffic.

mod admin;
mod aws_clients;
mod binder;
mod clients;
mod config_reload;
mod connection_limit;
mod control_plane;
mod credentials;
mod database_token;
pub mod doctor;
mod error;
mod event_loop;
mod fd_limit;
mod forward_detail;
mod forwards;
mod gauges;
mod handed_over;
mod http;
#[cfg(test)]
mod lives;
mod log_settings;
mod lone_forward;
mod observation;
mod off_runtime;
mod one_shot;
mod orphans;
mod relay_status;
mod reload_error;
mod retries;
mod running;
mod servers;
mod shutdown;
mod signals;
mod snapshot;
mod start;
mod status;
mod suspend;
mod systemd;
mod target_list;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::admin::{Client, ClientError, ErrorKind, ErrorResponse, Request, Response};
use self::aws_clients::AwsClients;
use self::binder::Binder;
use self::connection_limit::ConnectionLimit;
use self::control_plane::ControlPlane;
pub use self::database_token::{TokenError, database_token};
pub use self::error::StartError;
pub use self::event_loop::Cause;
use self::fd_limit::FdLimit;
pub use self::forwards::ReloadSummary;
use self::forwards::{Forwards, ForwardsPlan, PlanOptions};
pub use self::handed_over::{
    HandOverError, HandedOver, HandedOverConfig, HandedOverEnd, Listening, SessionsLeft,
};
use self::http::Http;
pub use self::log_settings::{log_format, log_verbosity};
pub use self::one_shot::{OneShot, OneShotConfig};
pub use self::reload_error::ReloadError;
use self::retries::Retries;
use self::servers::{Servers, plan_http};
pub use self::signals::{ScreenSignal, ScreenSignals, Signal, Signals};
pub use self::start::{DaemonEnvironment, StartOptions};
use self::start::{Parts, log_start, warn_of_unused};
use self::status::DaemonStats;
pub use self::systemd::SdNotify;
pub use self::target_list::{ListedTarget, TargetList, TargetListError, TargetQuery, list_targets};
use crate::config::{self, Config};
use crate::forward::{Context, Listeners};
use crate::panics::caught;
use crate::session::{JournalEntry, TerminatePolicy};
use crate::telemetry::{ForwardMetrics, ForwardReport};

/// A running daemon. Dropping it aborts everything at once; [`Daemon::stop`] shuts it down in
/// order.
#[derive(Debug)]
pub struct Daemon {
    forwards: Forwards,
    control: ControlPlane,
    context: Context,
    retries: Retries,
    binder: Binder,
    fd_limit: FdLimit,
    /// If set, all forwards start or none.
    strict: bool,
    connection_limit: ConnectionLimit,
    dispatcher: JoinSet<usize>,
    /// The `[admin]` table of the configuration.
    admin_settings: config::Admin,
    /// The servers of `[http]` and `[admin]` that cannot be bound yet.
    servers: Servers,
    log_settings: config::Log,
    /// Background tasks that a stop does not wait for.
    background: JoinSet<()>,
}

impl Daemon {
    /// Binds every forward and starts accepting connections, or starts nothing.
    ///
    /// # Errors
    ///
    /// Same as [`Daemon::begin`].
    pub async fn start(config: Config, environment: DaemonEnvironment) -> Result<Self, StartError> {
        Self::begin(config, environment, StartOptions::default()).await
    }

    /// Binds the forwards and starts accepting connections. Unless the start is strict, forwards
    /// that cannot start are retried.
    ///
    /// # Errors
    ///
    /// An error that concerns all forwards, such as an invalid certificate; or the error of the
    /// first forward that cannot start, if none can or if the start is strict. Nothing is left
    /// running then.
    pub async fn begin(
        config: Config,
        environment: DaemonEnvironment,
        options: StartOptions,
    ) -> Result<Self, StartError> {
        let Config {
            aws,
            limits,
            shutdown,
            log: log_settings,
            http: http_settings,
            admin: admin_settings,
            forwards,
        } = config;
        let DaemonEnvironment {
            origin,
            identity,
            state,
            passed,
            admin: usual,
            log,
            orphan_policy,
        } = environment;
        let StartOptions { strict, file } = options;
        let aws = AwsClients::new(aws, identity, &forwards).await?;
        let fd_limit = FdLimit::raise(&limits, &forwards);
        fd_limit.warn_if_low();
        let Parts {
            context,
            shutdown_mode,
            trigger,
            dump_connections,
            dispatcher,
            orphans,
        } = Parts::start(&aws, &forwards, limits.session_start_rate, state, origin).await?;
        let connection_limit = ConnectionLimit::new(shutdown, limits.max_connections);
        let context = Context {
            passed,
            permits: connection_limit.semaphore(),
            max_waiting: fd_limit.max_waiting,
            ..context
        };
        warn_of_unused(&context.passed, &forwards, http_settings.as_ref());
        let (mut running, mut http) = (Forwards::default(), Http::default());
        let released = &mut Listeners::default();
        let options = PlanOptions {
            aws_changed: false,
            strict,
        };
        let previous = running.previous();
        let plan =
            ForwardsPlan::new(&previous, forwards, &context, &aws, options, released).await?;
        let mut servers = Servers::default();
        let served;
        (served, servers.http) = plan_http(
            &http.sockets(),
            http_settings,
            &context.passed,
            released,
            strict,
        )
        .await?;
        let admin;
        (admin, servers.admin) = start::admin(&admin_settings, usual, strict).await?;
        log_start(file.as_deref(), &aws);
        if let Some(admin) = &admin {
            info!(socket = %admin.path().display(), "accepting commands");
        }
        // There is no previous server.
        drop(http.commit(served));
        running.commit(plan);
        info!("{}", running.snapshot().ready());
        let control = ControlPlane {
            admin,
            http,
            stop_waiters: Vec::new(),
            shutdown_mode,
            aws,
            retry_trigger: context.sessions.retry_trigger(),
            trigger,
            dump_connections,
            stats: DaemonStats::new(),
            log,
        };
        let mut daemon = Self {
            forwards: running,
            control,
            context,
            retries: Retries::default(),
            binder: Binder::default(),
            fd_limit,
            strict,
            connection_limit,
            dispatcher,
            admin_settings,
            servers,
            log_settings,
            background: JoinSet::new(),
        };
        daemon.terminate_orphans(orphans, orphan_policy);
        daemon.plan_retry();
        daemon.plan_server_retry();
        Ok(daemon)
    }

    /// Schedules a retry of the failing forwards.
    fn plan_retry(&mut self) {
        let failing = self.forwards.failing();
        if !failing.is_empty() {
            let triggered = self.context.triggered.clone().resubscribe();
            self.retries
                .plan(self.control.aws.clone(), failing, triggered);
        }
    }

    /// Applies `[log]` if it has changed. A level set over the admin socket stays until then.
    fn set_log(&mut self, settings: config::Log) -> Result<(), StartError> {
        let previous = std::mem::replace(&mut self.log_settings, settings);
        let Some(log) = self.control.log.as_ref().filter(|_| previous != settings) else {
            return Ok(());
        };
        log.set_format(log_format(settings.format))
            .and_then(|()| log.set_verbosity(log_verbosity(settings.level)))
            .map_err(|error| {
                // The error that is reported is the first one.
                let _first = log.set_format(log_format(previous.format));
                self.log_settings = previous;
                StartError::Log(error)
            })
    }

    /// Terminates sessions of former processes in the background.
    fn terminate_orphans(&mut self, orphans: Vec<JournalEntry>, policy: TerminatePolicy) {
        if orphans.is_empty() {
            return;
        }
        let (aws, sessions) = (self.control.aws.clone(), self.context.sessions.clone());
        let count = orphans.len();
        let ending = orphans::terminate_orphans(aws, sessions, orphans, policy);
        match policy {
            TerminatePolicy::Required => {
                info!(
                    count,
                    "terminating sessions that a killed former run left active"
                );
                self.forwards.tasks.spawn(reported(ending));
            }
            TerminatePolicy::BestEffort => {
                self.background.spawn(reported(ending));
            }
        }
    }

    /// Returns the name of each forward and the TCP addresses on which it listens.
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let snapshot = self.forwards.snapshot();
        let ports = |listen: &config::Listen| match listen {
            config::Listen::Tcp(address) => Some(*address),
            config::Listen::Localhost(_) | config::Listen::Unix(_) | config::Listen::Systemd(_) => {
                None
            }
        };
        let named = snapshot.running.iter().map(|info| {
            let addresses = info.addresses.iter().filter_map(ports);
            (info.settings.name.clone(), addresses.collect())
        });
        named.collect()
    }

    /// Returns a report of each forward.
    pub fn reports(&self) -> Vec<ForwardReport> {
        self.forwards.snapshot().reports()
    }

    /// Returns the metrics of each forward.
    pub fn metrics(&self) -> Vec<Arc<ForwardMetrics>> {
        let snapshot = self.forwards.snapshot();
        let metrics = snapshot
            .running
            .iter()
            .map(|info| Arc::clone(&info.metrics));
        metrics.collect()
    }

    /// Retries everything immediately, and makes every tunnel test its websocket.
    pub fn retry_now(&self) {
        self.control.retry_now();
    }
}

/// Runs a future and logs a warning if it panics. The panic hook has reported the panic itself.
async fn reported(future: impl Future<Output = ()>) {
    if let Err(panic) = caught(future).await {
        warn!(%panic, "sessions of a former run may still be active");
    }
}
