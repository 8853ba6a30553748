//! Binds local addresses in a task of its own, because the lock of a Unix socket may be held and
//! its disk may not respond. The event loop then activates the bound addresses.
//!
//! ```text
//!   reload: configuration and AWS clients loaded ─┐
//!   failing forwards: AWS clients loaded ─────────┼▶ bind ─▶ Bound ─▶ event loop
//!   failing servers: pause over ──────────────────┘
//! ```
//!
//! One attempt at a time: a reload and a retry never bind the same address, and the state that an
//! attempt has seen does not change until its result is used.

use tokio::task::JoinSet;
use tracing::{debug, error};

use super::aws_clients::AwsClients;
use super::config_reload::Loaded;
use super::fd_limit::FdLimit;
use super::forwards::{self, PlanOptions, ReloadSummary, rebind};
use super::http::HttpPlan;
use super::retries::Retries;
use super::servers::{self, Failing, plan_http};
use super::{Daemon, ReloadError, StartError};
use crate::config::{self, Config};
use crate::forward::Context;
use crate::panics::caught;

/// The attempt in progress. Dropping it cancels it.
#[derive(Debug, Default)]
pub(super) struct Binder(JoinSet<Bound>);

/// Result of an attempt.
#[derive(Debug)]
pub(super) enum Bound {
    Reload(Result<Box<BoundReload>, StartError>),
    /// The reload was applied, and the previous HTTP server is closed.
    Reloaded(ReloadSummary),
    Forwards(forwards::Rebound),
    Servers(servers::Rebound),
    /// The attempt panicked.
    Panicked,
}

/// A configuration whose addresses are bound.
#[derive(Debug)]
pub(super) struct BoundReload {
    context: Context,
    aws: AwsClients,
    fd_limit: FdLimit,
    /// Without its forwards and `[http]`.
    config: Config,
    forwards: forwards::ForwardsPlan,
    http: HttpPlan,
    failing_http: Option<Failing<config::Http>>,
}

impl Binder {
    /// Returns true if another attempt may start.
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the result; never returns if no attempt is in progress. Cancel safe.
    pub(super) async fn bound(&mut self) -> Bound {
        match self.0.join_next().await {
            Some(bound) => bound.unwrap_or(Bound::Panicked),
            None => std::future::pending().await,
        }
    }

    /// Cancels the attempt and closes what it holds.
    pub(super) async fn cancel(mut self) {
        self.0.shutdown().await;
    }
}

impl Daemon {
    /// Starts to bind the addresses of a loaded configuration.
    pub(super) fn bind_reload(&mut self, loaded: Loaded) {
        let Loaded {
            mut config,
            aws,
            aws_changed,
        } = loaded;
        let is_moved = config.admin != self.admin_settings;
        let (previous, sockets) = (self.forwards.previous(), self.control.http.sockets());
        let (context, strict) = (self.context.clone(), self.strict);
        let binding = async move {
            if is_moved {
                return Err(StartError::AdminMoved);
            }
            let (forwards, wanted) = (std::mem::take(&mut config.forwards), config.http.take());
            let fd_limit = FdLimit::raise(&config.limits, &forwards);
            let context = Context {
                max_waiting: fd_limit.max_waiting,
                ..context
            };
            let options = PlanOptions {
                aws_changed,
                strict,
            };
            let released = &mut sockets.released(wanted.as_ref());
            let forwards =
                forwards::ForwardsPlan::new(&previous, forwards, &context, &aws, options, released)
                    .await?;
            let (http, failing_http) =
                plan_http(&sockets, wanted, &context.passed, released, strict).await?;
            Ok(Box::new(BoundReload {
                context,
                aws,
                fd_limit,
                config,
                forwards,
                http,
                failing_http,
            }))
        };
        self.binder.0.spawn(async move {
            let bound = caught(binding).await;
            Bound::Reload(bound.unwrap_or_else(|panic| {
                Err(StartError::Unfinished {
                    what: "the reload",
                    why: format!("internal error ({panic}); please report it"),
                })
            }))
        });
    }

    /// Applies a configuration to new connections. Unchanged forwards are not touched; the
    /// connections of removed forwards may finish.
    ///
    /// # Errors
    ///
    /// If the log cannot be changed; nothing has changed then.
    fn commit(&mut self, bound: BoundReload) -> Result<(), StartError> {
        let BoundReload {
            context,
            aws,
            fd_limit,
            config,
            forwards,
            http,
            failing_http,
        } = bound;
        self.set_log(config.log)?;
        if fd_limit != std::mem::replace(&mut self.fd_limit, fd_limit) {
            fd_limit.warn_if_low();
        }
        self.context = context;
        aws.invalidate_credential_files();
        self.control.aws = aws;
        let rate = config.limits.session_start_rate;
        self.context.sessions.set_rate(rate);
        self.connection_limit.set_max(config.limits.max_connections);
        self.connection_limit.set_shutdown(config.shutdown);
        let previous = self.control.http.commit(http);
        self.servers.http = failing_http;
        let change = self.forwards.commit(forwards);
        self.retries = Retries::default();
        self.plan_retry();
        self.plan_server_retry();
        self.binder.0.spawn(async move {
            previous.await;
            Bound::Reloaded(change)
        });
        Ok(())
    }

    /// Starts to bind the failing forwards that can start with the loaded AWS settings.
    pub(super) fn bind_failing(&mut self, loaded: Result<AwsClients, StartError>) {
        match loaded {
            Ok(aws) => self.control.aws = aws,
            Err(error) => debug!(%error, "cannot read the AWS configuration files; retrying"),
        }
        let failing = self.forwards.failing();
        let previous = self.forwards.previous();
        let (context, aws) = (self.context.clone(), self.control.aws.clone());
        let binding =
            async move { Bound::Forwards(rebind(failing, &context, &aws, &previous).await) };
        self.binder.0.spawn(binding);
    }

    /// Starts to bind the failing servers.
    pub(super) fn bind_servers(&mut self) {
        let (http, admin) = self.servers.wanted();
        let passed = self.context.passed.clone();
        self.binder.0.spawn(async move {
            let rebound = servers::rebind(http, admin, &passed).await;
            Bound::Servers(rebound)
        });
    }

    /// Activates what was bound. Returns the outcome of a reload that is complete.
    pub(super) fn handle_bound(
        &mut self,
        bound: Bound,
    ) -> Option<Result<ReloadSummary, ReloadError>> {
        match bound {
            Bound::Reload(bound) => {
                if let Err(error) = bound.and_then(|bound| self.commit(*bound)) {
                    return Some(Err(ReloadError::Start(error)));
                }
            }
            Bound::Reloaded(change) => return Some(Ok(change)),
            Bound::Forwards(rebound) => {
                self.forwards.handle_rebound(rebound);
                self.plan_retry();
            }
            Bound::Servers(rebound) => self.handle_rebound_servers(rebound),
            Bound::Panicked => {
                error!("internal error: an attempt to bind addresses failed; retrying");
                self.plan_retry();
                self.plan_server_retry();
            }
        }
        None
    }
}
