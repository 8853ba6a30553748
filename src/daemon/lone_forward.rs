//! The tasks of one forward without a daemon, and their end.

use std::path::PathBuf;

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
use crate::config;
use crate::forward::{Context, ShutdownPhase};
use crate::session::{Identity, ShutdownMode, TerminatePolicy};
use crate::tunnel::Trigger;

/// The tasks of a forward.
#[derive(Debug)]
pub(super) struct LoneForward {
    /// Stops the tasks of the forward.
    pub(super) stop: watch::Sender<ShutdownPhase>,
    /// Makes everything retry now.
    pub(super) trigger: Trigger,
    /// Makes every connection log one line.
    pub(super) dump_connections: Trigger,
    /// The tasks of the forward. They end after [`ShutdownPhase::Aborting`].
    pub(super) tasks: JoinSet<()>,
    shutdown_mode: watch::Sender<ShutdownMode>,
    /// Background tasks that the end does not wait for.
    background: JoinSet<()>,
    dispatcher: JoinSet<usize>,
}

/// What a forward without a daemon needs.
#[derive(Debug)]
pub(super) struct LoneConfig {
    /// AWS settings.
    pub(super) aws: config::Aws,
    /// StartSession calls per second.
    pub(super) rate: u32,
    /// Program, version and host, shown to users who list the sessions of a target.
    pub(super) origin: String,
    /// Directory of the journal of open sessions; `None`: no journal.
    pub(super) state: Option<PathBuf>,
}

impl LoneForward {
    /// Starts the dispatcher. Returns what the forward needs, for one connection.
    ///
    /// # Errors
    ///
    /// Errors that a retry cannot fix, such as a missing region or invalid certificates.
    pub(super) async fn new(
        config: LoneConfig,
        forward: &config::Forward,
    ) -> Result<(Self, Context), StartError> {
        let LoneConfig {
            aws,
            rate,
            origin,
            state,
        } = config;
        let forwards = std::slice::from_ref(forward);
        let aws = AwsClients::new(aws, Identity::Chain, forwards).await?;
        let Parts {
            context,
            shutdown_mode,
            trigger,
            dump_connections,
            dispatcher,
            orphans,
        } = Parts::start(&aws, forwards, rate, state, origin).await?;
        let context = aws.context(forward, &context)?;
        let mut background = JoinSet::new();
        background.spawn(orphans::terminate_orphans(
            aws,
            context.sessions.clone(),
            orphans,
            TerminatePolicy::BestEffort,
        ));
        let lone = Self {
            stop: watch::Sender::new(ShutdownPhase::Running),
            trigger,
            dump_connections,
            tasks: JoinSet::new(),
            shutdown_mode,
            background,
            dispatcher,
        };
        Ok((lone, context))
    }

    /// Closes the connections and terminates the sessions: in order or forced, as `shutdown_mode`
    /// says; a signal forces it. ssh sends SIGHUP when it ends, after a SIGINT from the terminal
    /// that both have received, so only the third signal abandons the sessions.
    ///
    /// # Errors
    ///
    /// A hint for finding sessions that may still be active.
    pub(super) async fn shutdown(
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

    /// Terminates the sessions, in order. For a start that has failed. Returns true if every session
    /// was terminated.
    pub(super) async fn finish(self) -> bool {
        self.shutdown_with(ShutdownMode::Graceful).await
    }

    /// Returns true if every session was terminated.
    async fn shutdown_with(mut self, shutdown_mode: ShutdownMode) -> bool {
        self.stop.send_replace(ShutdownPhase::Aborting);
        self.background.shutdown().await;
        let mut forced = self.shutdown_mode.subscribe();
        let running = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            ended = timeout(MAX_FORWARDS, running) => if ended.is_err() {
                warn!("the connection did not close in time");
            },
            // The remaining time is needed to terminate the session.
            _ = forced.wait_for(|mode| *mode == ShutdownMode::Forced) => {}
        }
        self.tasks.shutdown().await;
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
