//! A daemon as a process: it can be stopped in order, killed, and sent signals. It runs what
//! `ssm-proxyd run` runs.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{self, Config};
use crate::daemon::{Cause, Daemon, DaemonEnvironment, ReloadError, Signals, StartOptions};
use crate::forward::ActivatedSockets;
use crate::panics::caught;
use crate::proto::ReorderBudget;
use crate::session::{Identity, TerminatePolicy};
use crate::sim::Credentials;

/// A running daemon.
#[derive(Debug)]
pub(super) struct Process {
    task: JoinSet<Result<(), String>>,
    signals: mpsc::Sender<i32>,
    started: Option<oneshot::Receiver<Shared>>,
    shared: Option<Shared>,
}

/// What the daemon shares with its connections.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) permits: Arc<Semaphore>,
    pub(super) budget: ReorderBudget,
}

impl Process {
    /// Starts a daemon with the configuration at a path.
    pub(super) fn start(config: &Path, state: &Path) -> Self {
        let (signals, receiver) = mpsc::channel(16);
        let (sender, started) = oneshot::channel();
        let mut task = JoinSet::new();
        // At once, before the next event changes the file.
        let read = config::read(config).map_err(|error| error.to_string());
        let (path, state) = (config.to_owned(), state.to_owned());
        task.spawn(async move { run(read?, &path, &state, receiver, sender).await });
        Self {
            task,
            signals,
            started: Some(started),
            shared: None,
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: i32) {
        // A process that does not read its signals is found by other checks.
        let _full = self.signals.try_send(signal);
    }

    /// Returns the sender of signals.
    pub(super) fn signals(&self) -> mpsc::Sender<i32> {
        self.signals.clone()
    }

    /// Waits for the end of the process. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        match self.task.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(format!("the daemon panicked: {error}")),
            None => Ok(()),
        }
    }

    /// Ends the process at once.
    pub(super) async fn kill(mut self) {
        self.task.shutdown().await;
    }

    /// Returns what its connections share, once it has started.
    pub(super) fn shared(&mut self) -> Option<&Shared> {
        if let Some(started) = &mut self.started
            && let Ok(shared) = started.try_recv()
        {
            self.shared = Some(shared);
        }
        self.shared.as_ref()
    }
}

async fn run(
    config: Config,
    path: &Path,
    state: &Path,
    signals: mpsc::Receiver<i32>,
    started: oneshot::Sender<Shared>,
) -> Result<(), String> {
    let credentials = Credentials::default();
    let environment = DaemonEnvironment {
        origin: "lives".to_owned(),
        identity: Identity::Fixed {
            access_key: credentials.access_key_id,
            secret_key: credentials.secret_access_key,
        },
        state: Some(state.to_owned()),
        passed: ActivatedSockets::default(),
        admin: None,
        log: None,
        orphan_policy: TerminatePolicy::Required,
    };
    let options = StartOptions {
        strict: false,
        file: Some(path.to_owned()),
    };
    let mut signals = Signals::injected(signals);
    let daemon = tokio::select! {
        daemon = Daemon::begin(config, environment, options) => daemon,
        () = signals.wait_for_stop() => return Ok(()),
    };
    let mut daemon = daemon.map_err(|error| format!("cannot start: {error}"))?;
    let shared = Shared {
        permits: daemon.connection_limit.semaphore(),
        budget: daemon.context.reorder_budget.clone(),
    };
    drop(started.send(shared));
    let path = path.to_owned();
    let reread = move || config::read(&path).map_err(ReloadError::Config);
    let cause = caught(daemon.run(&mut signals, reread)).await;
    daemon.stop_with_signals(&mut signals).await;
    match cause {
        Ok(Cause::Requested) => Ok(()),
        Ok(Cause::Lost) => Err("a task was lost".to_owned()),
        Err(panic) => Err(format!("the event loop panicked: {panic}")),
    }
}
