//! One connection over stdin and stdout, without a daemon.
//!
//! ```text
//!   start ─▶ progress: Opening, Open, Closed ─▶ (caller prints the outcome)
//!         ─▶ release_stdout ─▶ shutdown
//! ```
//!
//! The reader of stdout takes its end as the end of the command, so stdout stays open until it is
//! released: errors are printed before.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::aws_clients::AwsClients;
use super::connection_limit::MAX_FORWARDS;
use super::error::StartError;
use super::orphans;
use super::shutdown::LOOK_FOR_SESSIONS;
use super::signals::Signals;
use super::start::Parts;
use super::suspend::SuspendDetector;
use crate::config;
use crate::forward::{CloseReason, Context, ShutdownPhase, Stdio, StdioForward, StdioStage};
use crate::session::{Identity, PushedKey, ShutdownMode, TerminatePolicy};
use crate::tunnel::Trigger;

/// A running connection.
#[derive(Debug)]
pub struct OneShot {
    progress: watch::Receiver<StdioStage>,
    stop: watch::Sender<ShutdownPhase>,
    shutdown_mode: watch::Sender<ShutdownMode>,
    trigger: Trigger,
    kept_stdout: Option<OwnedFd>,
    forward: JoinSet<()>,
    /// Background tasks that the end does not wait for.
    background: JoinSet<()>,
    dispatcher: JoinSet<usize>,
}

/// Configuration of a [`OneShot`].
#[derive(Debug)]
pub struct OneShotConfig {
    /// AWS settings.
    pub aws: config::Aws,
    /// The forward; its listen addresses are ignored.
    pub forward: config::Forward,
    /// Program, version and host, shown to users who list the sessions of a target.
    pub origin: String,
    /// Public key that is pushed to the target.
    pub pushed_key: Option<PushedKey>,
    /// Directory of the journal of open sessions; `None`: no journal.
    pub state: Option<PathBuf>,
}

impl OneShot {
    /// Starts opening the connection.
    ///
    /// # Errors
    ///
    /// Errors that a retry cannot fix, such as a missing region or invalid certificates.
    pub async fn start(config: OneShotConfig, standard: Stdio) -> Result<Self, StartError> {
        let OneShotConfig {
            aws,
            forward,
            origin,
            pushed_key,
            state,
        } = config;
        let aws = AwsClients::new(aws, Identity::Chain, std::slice::from_ref(&forward)).await?;
        let forwards = std::slice::from_ref(&forward);
        let Parts {
            context,
            shutdown_mode,
            trigger,
            dump_connections: _,
            dispatcher,
            orphans,
        } = Parts::start(&aws, forwards, 1, state, origin).await?;
        let context = Context {
            pushed_key: pushed_key.map(Arc::new),
            ..aws.context(&forward, &context)?
        };
        let mut background = JoinSet::new();
        background.spawn(orphans::terminate_orphans(
            aws,
            context.sessions.clone(),
            orphans,
            TerminatePolicy::BestEffort,
        ));
        let kept_stdout = standard.hold()?;
        let stdio = StdioForward::new(forward, context, standard)?;
        let stop = watch::Sender::new(ShutdownPhase::Running);
        let (sender, progress) = watch::channel(StdioStage::Opening);
        let mut running = JoinSet::new();
        running.spawn(stdio.run(stop.subscribe(), sender));
        Ok(Self {
            progress,
            stop,
            shutdown_mode,
            trigger,
            kept_stdout: Some(kept_stdout),
            forward: running,
            background,
            dispatcher,
        })
    }

    /// Waits until the connection is open or has failed.
    pub async fn wait_open(&mut self) {
        let is_settled = |progress: &StdioStage| !matches!(progress, StdioStage::Opening);
        // An error means that the task has ended, which `wait_closed` reports.
        drop(self.progress.wait_for(is_settled).await);
    }

    /// Waits until the connection has ended. `None`: the task has panicked.
    pub async fn wait_closed(&mut self) -> Option<CloseReason> {
        let mut suspend_detector = SuspendDetector::new();
        let is_over = |progress: &StdioStage| matches!(progress, StdioStage::Closed(_));
        loop {
            tokio::select! {
                over = self.progress.wait_for(is_over) => match &*over.ok()? {
                    StdioStage::Closed(ending) => return Some(ending.clone()),
                    StdioStage::Opening | StdioStage::Open => {}
                },
                () = suspend_detector.resumed() => self.trigger.send(),
            }
        }
    }

    /// Closes stdout.
    pub fn release_stdout(&mut self) {
        self.kept_stdout = None;
    }

    /// Closes the connection and terminates the session: in order or forced, as `shutdown_mode`
    /// says; a signal forces it. ssh sends SIGHUP when it ends, after a SIGINT from the terminal
    /// that both have received, so only the third signal abandons the session.
    ///
    /// # Errors
    ///
    /// A hint for finding sessions that may still be active.
    pub async fn shutdown(
        self,
        shutdown_mode: ShutdownMode,
        signals: &mut Signals,
    ) -> Result<(), &'static str> {
        let mode = self.shutdown_mode.clone();
        let is_clean = tokio::select! {
            is_clean = self.shutdown_with(shutdown_mode) => is_clean,
            () = forced(signals, &mode) => false,
        };
        is_clean.then_some(()).ok_or(LOOK_FOR_SESSIONS)
    }

    /// Returns true if every session was terminated.
    async fn shutdown_with(mut self, shutdown_mode: ShutdownMode) -> bool {
        self.stop.send_replace(ShutdownPhase::Aborting);
        self.release_stdout();
        self.background.shutdown().await;
        let mut forced = self.shutdown_mode.subscribe();
        let running = async { while self.forward.join_next().await.is_some() {} };
        tokio::select! {
            ended = timeout(MAX_FORWARDS, running) => if ended.is_err() {
                warn!("the connection did not close in time");
            },
            // The remaining time is needed to terminate the session.
            _ = forced.wait_for(|mode| *mode == ShutdownMode::Forced) => {}
        }
        self.forward.shutdown().await;
        self.shutdown_mode.send_if_modified(|mode| {
            let is_later = *mode < shutdown_mode;
            *mode = (*mode).max(shutdown_mode);
            is_later
        });
        matches!(self.dispatcher.join_next().await, Some(Ok(0)))
    }
}

/// Forces the shutdown at the first signal; returns at the third.
async fn forced(signals: &mut Signals, shutdown_mode: &watch::Sender<ShutdownMode>) {
    signals.next_stop_number().await;
    shutdown_mode.send_replace(ShutdownMode::Forced);
    signals.next_stop_number().await;
    signals.next_stop_number().await;
}
