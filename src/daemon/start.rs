//! Parts of the start besides the forwards: dispatcher, session journal, admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::StartError;
use super::admin::{Admin, SocketLocation};
use super::aws_clients::AwsClients;
use super::servers::Failing;
use crate::blocking;
use crate::config;
use crate::forward::{ActivatedSockets, Context, FirstTunnel, ListenErrorKind};
use crate::proto::ReorderBudget;
use crate::random;
use crate::session::{
    self, Identity, Journal, JournalEntry, Sessions, ShutdownMode, TerminatePolicy,
};
use crate::telemetry::LogHandle;
use crate::tunnel::Trigger;

/// The environment in which a daemon runs.
#[derive(Clone, Debug)]
pub struct DaemonEnvironment {
    /// Program, version and host, shown to users who list the sessions of a target.
    pub origin: String,
    /// The AWS identity whose credentials are used.
    pub identity: Identity,
    /// Directory of the journal of open sessions; `None`: no journal.
    pub state: Option<PathBuf>,
    /// Sockets passed by the service manager.
    pub passed: ActivatedSockets,
    /// Default path of the admin socket, used if the configuration has none; `None`: no socket.
    pub admin: Option<PathBuf>,
    /// Control of the process log, if the daemon may change it.
    pub log: Option<LogHandle>,
    /// Policy for sessions that former processes left open.
    pub orphan_policy: TerminatePolicy,
}

/// Options of a start.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// If set, all forwards start or none.
    pub strict: bool,
    /// Path of the configuration file, if one is used.
    pub file: Option<PathBuf>,
}

/// The options for a daemon without a configuration file.
impl Default for StartOptions {
    fn default() -> Self {
        Self {
            strict: true,
            file: None,
        }
    }
}

/// Logs version, configuration, profile and region.
pub(super) fn log_start(file: Option<&Path>, aws: &AwsClients) {
    let version = env!("CARGO_PKG_VERSION");
    let configuration = file.map(|path| path.display().to_string());
    let (region, profile) = aws.region_and_profile();
    info!(version, configuration, profile, region, "starting");
}

/// Binds the admin socket. A default path was not requested explicitly, so its failure is only
/// logged. Unless the start is strict, a configured socket that cannot be bound is returned as
/// failing.
///
/// # Errors
///
/// The bind error of a configured socket, if the start is strict or another daemon holds the
/// socket.
pub(super) async fn admin(
    settings: &config::Admin,
    is_default: Option<PathBuf>,
    strict: bool,
) -> Result<(Option<Admin>, Option<Failing<SocketLocation>>), StartError> {
    let is_usual = settings.socket.is_none();
    let Some(path) = settings.socket.clone().or(is_default) else {
        debug!("no path for an admin socket; set `socket` in [admin]");
        return Ok((None, None));
    };
    let location = SocketLocation {
        path,
        is_default: is_usual,
    };
    match Admin::bind(&location).await {
        Ok(admin) => Ok((Some(admin), None)),
        Err(error) if is_usual => {
            let hint = "set another path as `socket` in [admin]";
            warn!(%error, hint, "no admin socket: `status`, `reload` and `stop` cannot reach this daemon");
            Ok((None, None))
        }
        Err(error) => {
            let is_held = matches!(
                error.kind,
                ListenErrorKind::InUse | ListenErrorKind::Locked(_)
            );
            let error = StartError::Admin(error);
            match strict || is_held {
                true => Err(error),
                false => Ok((None, Some(Failing::new(location, "admin", &error)))),
            }
        }
    }
}

/// Warns about passed sockets that neither a forward nor `[http]` uses.
pub(super) fn warn_of_unused(
    passed: &ActivatedSockets,
    forwards: &[config::Forward],
    http: Option<&config::Http>,
) {
    let enabled = forwards.iter().filter(|forward| forward.enabled);
    let listen = enabled.flat_map(|forward| &forward.listen);
    let listen = listen.chain(http.into_iter().flat_map(|http| &http.listen));
    let names = listen.filter_map(|listen| match listen {
        config::Listen::Systemd(name) => Some(name.as_str()),
        config::Listen::Localhost(_) | config::Listen::Tcp(_) | config::Listen::Unix(_) => None,
    });
    passed.warn_of_others(&names.collect::<Vec<_>>());
}

/// The parts that a daemon and a single connection have in common.
pub(super) struct Parts {
    /// For one connection without sockets of the service manager.
    pub(super) context: Context,
    /// Sets the shutdown mode of the dispatcher.
    pub(super) shutdown_mode: watch::Sender<ShutdownMode>,
    pub(super) trigger: Trigger,
    pub(super) dump_connections: Trigger,
    pub(super) dispatcher: JoinSet<usize>,
    /// Sessions that former processes left open.
    pub(super) orphans: Vec<JournalEntry>,
}

impl Parts {
    /// Starts the dispatcher, at most `rate` sessions per second, and opens the journal in `state`.
    ///
    /// # Errors
    ///
    /// If no AWS client could be loaded.
    pub(super) async fn start(
        aws: &AwsClients,
        forwards: &[config::Forward],
        rate: u32,
        state: Option<PathBuf>,
        origin: String,
    ) -> Result<Self, StartError> {
        let ssm = aws.default_client(forwards)?;
        let (journal, orphans) = journal(state).await;
        let (sessions, task) = Sessions::new(rate, random::seed(), journal);
        let shutdown_mode = watch::Sender::new(ShutdownMode::Running);
        let mut dispatcher = JoinSet::new();
        dispatcher.spawn(task.run(shutdown_mode.subscribe()));
        let (trigger, triggered) = Trigger::new();
        let (dump_connections, called) = Trigger::new();
        let context = Context {
            ssm,
            target_clients: Vec::new(),
            sessions,
            network: aws.network().clone(),
            triggered,
            dump_connections: called,
            passed: ActivatedSockets::default(),
            permits: Arc::new(Semaphore::new(1)),
            max_waiting: 0,
            reorder_budget: ReorderBudget::new(),
            client_version: aws.client_version(),
            origin,
            pushed_key: None,
            first_tunnel: FirstTunnel::default(),
            seed: random::seed(),
        };
        Ok(Self {
            context,
            shutdown_mode,
            trigger,
            dump_connections,
            dispatcher,
            orphans,
        })
    }
}

/// Opens the journal of open sessions. Also returns the sessions that former processes left open.
async fn journal(state: Option<PathBuf>) -> (Journal, Vec<JournalEntry>) {
    let Some(directory) = state else {
        return (Journal::none(), Vec::new());
    };
    let now = session::unix_seconds();
    let path = directory.clone();
    let opening = blocking::spawn(move || Journal::open(&path, now));
    let opened = match timeout(JOURNAL_TIMEOUT, opening).await {
        Ok(opened) => opened.unwrap_or_else(|error| Err(error.into())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    opened.unwrap_or_else(|error| {
        let directory = directory.display();
        warn!(%error, %directory, "cannot write the journal of active sessions; they stay active if this process is killed");
        (Journal::none(), Vec::new())
    })
}

/// Timeout for opening the journal.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);
