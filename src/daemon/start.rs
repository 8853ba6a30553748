//! What a start needs besides the forwards: who calls, the journal of sessions, the admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::StartError;
use super::admin::{Admin, Place};
use super::aws_clients::AwsClients;
use super::servers::Failing;
use crate::config;
use crate::forward::{ActivatedSockets, ListenErrorKind};
use crate::session::{self, Entry, Identity, Journal, TerminatePolicy};
use crate::telemetry::Control;

/// Who runs the daemon, as AWS sees it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Program, version and host, for those who look at the sessions of a target.
    pub origin: String,
    /// Whose credentials are used.
    pub identity: Identity,
    /// A directory in which it may be written down which sessions are open; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// What the service manager has bound for the daemon.
    pub passed: ActivatedSockets,
    /// Where the admin socket is if the configuration does not say; `None`: nowhere.
    pub admin: Option<PathBuf>,
    /// The log of the process, if the daemon may change it.
    pub log: Option<Control>,
    /// What is done about sessions that former processes left behind.
    pub leftovers: TerminatePolicy,
}

/// How a daemon starts.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Whether all forwards start, or none.
    pub strict: bool,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
}

/// Of what has no file.
impl Default for Manner {
    fn default() -> Self {
        Self {
            strict: true,
            file: None,
        }
    }
}

/// Logs what starts.
pub(super) fn log_start(file: Option<&Path>, aws: &AwsClients) {
    let version = env!("CARGO_PKG_VERSION");
    let configuration = file.map(|path| path.display().to_string());
    let (region, profile) = aws.place();
    info!(version, configuration, profile, region, "starting");
}

/// Binds the admin socket. Nobody has asked for the usual one, so that need not be there. Unless all
/// must start, one that cannot be made is returned as failing.
///
/// # Errors
///
/// Why it cannot be made, if all must start; that another daemon has it.
pub(super) async fn admin(
    settings: &config::Admin,
    usual: Option<PathBuf>,
    strict: bool,
) -> Result<(Option<Admin>, Option<Failing<Place>>), StartError> {
    let is_usual = settings.socket.is_none();
    let Some(path) = settings.socket.clone().or(usual) else {
        debug!("no place for an admin socket; [admin] names one");
        return Ok((None, None));
    };
    let place = Place {
        path,
        usual: is_usual,
    };
    match Admin::bind(&place).await {
        Ok(admin) => Ok((Some(admin), None)),
        Err(error) if is_usual => {
            let hint = "`socket` in [admin] names another place";
            warn!(%error, hint, "no admin socket: `status`, `reload` and `stop` will not find this daemon");
            Ok((None, None))
        }
        Err(error) => {
            let is_held = matches!(
                error.obstacle,
                ListenErrorKind::Taken | ListenErrorKind::Locked(_)
            );
            let error = StartError::Admin(error);
            match strict || is_held {
                true => Err(error),
                false => Ok((None, Some(Failing::new(place, "admin", &error)))),
            }
        }
    }
}

/// Warns of sockets that were passed for nobody.
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

/// Where it is written down which sessions are open, and what former processes left there.
pub(super) async fn journal(state: Option<PathBuf>) -> (Journal, Vec<Entry>) {
    let Some(directory) = state else {
        return (Journal::none(), Vec::new());
    };
    let now = session::unix_seconds();
    let path = directory.clone();
    let opening = spawn_blocking(move || Journal::open(&path, now));
    let opened = match timeout(JOURNAL_TIMEOUT, opening).await {
        Ok(opened) => opened.unwrap_or_else(|error| Err(error.into())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    opened.unwrap_or_else(|error| {
        let directory = directory.display();
        warn!(%error, %directory, "cannot write down which sessions are open; if this process is killed they are left behind");
        (Journal::none(), Vec::new())
    })
}

/// How long the journal's disk may take at the start.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);
