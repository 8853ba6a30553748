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

use super::error::StartError;
use super::lone_forward::{LoneConfig, LoneForward};
use super::signals::Signals;
use super::suspend::SuspendDetector;
use crate::config;
use crate::forward::{CloseReason, Context, Stdio, StdioForward, StdioStage};
use crate::session::{PushedKey, ShutdownMode};

/// A running connection.
#[derive(Debug)]
pub struct OneShot {
    progress: watch::Receiver<StdioStage>,
    kept_stdout: Option<OwnedFd>,
    lone: LoneForward,
}

/// Configuration of a [`OneShot`].
#[derive(Debug)]
pub struct OneShotConfig {
    /// AWS settings.
    pub aws: config::Aws,
    /// StartSession calls per second.
    pub start_rate: u32,
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
            start_rate: rate,
            forward,
            origin,
            pushed_key,
            state,
        } = config;
        let config = LoneConfig {
            aws,
            rate,
            origin,
            state,
        };
        let (lone, context) = LoneForward::new(config, &forward).await?;
        let context = Context {
            pushed_key: pushed_key.map(Arc::new),
            ..context
        };
        Ok(Prepared::new(forward, context, standard)?.run(lone))
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
                () = suspend_detector.resumed() => self.lone.trigger.send(),
            }
        }
    }

    /// Closes stdout.
    pub fn release_stdout(&mut self) {
        self.kept_stdout = None;
    }

    /// Closes the connection and terminates the session: in order or forced, as `shutdown_mode`
    /// says; a signal forces it, and the third one abandons the session.
    ///
    /// # Errors
    ///
    /// A hint for finding sessions that may still be active.
    pub async fn shutdown(
        mut self,
        shutdown_mode: ShutdownMode,
        signals: &mut Signals,
    ) -> Result<(), &'static str> {
        self.release_stdout();
        self.lone.shutdown(shutdown_mode, signals).await
    }
}

/// A connection that is not running yet.
#[derive(Debug)]
pub(super) struct Prepared {
    stdio: StdioForward,
    kept_stdout: OwnedFd,
}

impl Prepared {
    /// Registers stdin and stdout.
    ///
    /// # Errors
    ///
    /// If they cannot be used.
    pub(super) fn new(
        forward: config::Forward,
        context: Context,
        standard: Stdio,
    ) -> Result<Self, StartError> {
        Ok(Self {
            kept_stdout: standard.hold()?,
            stdio: StdioForward::new(forward, context, standard)?,
        })
    }

    /// Runs the connection as a task of `lone`.
    pub(super) fn run(self, mut lone: LoneForward) -> OneShot {
        let Self { stdio, kept_stdout } = self;
        let (sender, progress) = watch::channel(StdioStage::Opening);
        lone.tasks.spawn(stdio.run(lone.stop.subscribe(), sender));
        OneShot {
            progress,
            kept_stdout: Some(kept_stdout),
            lone,
        }
    }
}
