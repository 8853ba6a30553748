//! Finds the running daemon: by an option, its configuration, or the usual sockets.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ad_hoc::blocking;
use super::exit::Exit;
use super::{admin_socket_path, paths, terminal};
use crate::config;
use crate::daemon::{Client, ClientError};
use crate::error_class::ErrorClass;

/// Where the daemon is.
#[derive(Debug, Args)]
pub(super) struct DaemonAddress {
    /// The admin socket of the daemon [default: the one in the configuration, then
    /// $XDG_RUNTIME_DIR/ssm-proxyd/admin.sock, then /run/ssm-proxyd/admin.sock, then
    /// /tmp/ssm-proxyd-UID/admin.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration of the daemon [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DaemonAddress {
    /// Connects to the first daemon found.
    ///
    /// # Errors
    ///
    /// Fails if no daemon is found, or the configuration that names its socket is invalid.
    pub(super) async fn connect(&self) -> Result<Client, LookupError> {
        let daemon = DaemonSockets(self.candidates().await?);
        Ok(daemon.connect().await?)
    }

    /// Returns where the daemon may listen. An invalid configuration is reported.
    pub(super) async fn sockets(&self) -> Result<DaemonSockets, Exit> {
        let candidates = self.candidates().await;
        candidates
            .map(DaemonSockets)
            .map_err(|error| error.report())
    }

    /// Returns the paths to try. An explicitly named socket is the only one.
    async fn candidates(&self) -> Result<Vec<PathBuf>, LookupError> {
        if let Some(named) = &self.socket {
            return Ok(vec![named.clone()]);
        }
        let option = self.config.clone();
        let reading = blocking(move || Ok(path_from_config(option.as_deref())));
        match reading.await.map_err(LookupError::Failed)? {
            Ok(Some(named)) => Ok(vec![named]),
            Ok(None) => Ok(admin_socket_path::of_clients()),
            Err(error) => Err(LookupError::Configuration(error)),
        }
    }
}

/// The sockets on which the daemon may listen.
#[derive(Debug)]
pub(super) struct DaemonSockets(Vec<PathBuf>);

impl DaemonSockets {
    /// Connects to the first daemon found.
    ///
    /// # Errors
    ///
    /// Fails if no daemon is found.
    pub(super) async fn connect(&self) -> Result<Client, ClientError> {
        let mut first = None;
        for place in &self.0 {
            match Client::connect(place).await {
                Err(error) if error.is_absence() => first = first.or(Some(error)),
                found => return found,
            }
        }
        Err(first.unwrap_or_else(|| ClientError {
            path: PathBuf::from(admin_socket_path::SYSTEM),
            pid: None,
            source: std::io::ErrorKind::NotFound.into(),
        }))
    }
}

/// Returns what to do about a daemon that does not respond.
pub(super) fn failure_hint(error: &ClientError) -> String {
    match error.is_absence() {
        true => START_ONE.to_owned(),
        false => error.hint(),
    }
}

/// Returns the socket set in the configuration. An implicit configuration file may be unreadable.
fn path_from_config(option: Option<&Path>) -> Result<Option<PathBuf>, config::Error> {
    let Ok(path) = paths::search(option) else {
        return Ok(None);
    };
    let is_named = option.is_some() || terminal::environment("SSM_PROXYD_CONFIG").is_some();
    match config::read_admin(&path) {
        Ok(admin) => Ok(admin.socket),
        Err(config::Error::Unreadable { .. }) if !is_named => Ok(None),
        Err(error) => Err(error),
    }
}

/// Error of finding or asking the daemon.
pub(super) enum LookupError {
    Daemon(ClientError),
    /// The configuration does not say where the daemon is.
    Configuration(config::Error),
    /// Already printed.
    Failed(Exit),
}

impl From<ClientError> for LookupError {
    fn from(error: ClientError) -> Self {
        Self::Daemon(error)
    }
}

impl LookupError {
    /// Prints the error.
    pub(super) fn report(&self) -> Exit {
        match self {
            Self::Daemon(error) => {
                let hint = failure_hint(error);
                terminal::fail_with_class(ErrorClass::DaemonNotRunning, error, &hint)
            }
            Self::Configuration(error) => terminal::fail_with_rendered(Exit::Configuration, error),
            Self::Failed(exit) => *exit,
        }
    }
}

/// Hint for the absence of a daemon.
pub(super) const START_ONE: &str = "start a daemon with `ssm-proxyd run` or `systemctl start ssm-proxyd`; for another socket, add `--socket`";
