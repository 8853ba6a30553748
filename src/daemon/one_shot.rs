//! One connection over stdin and stdout, without a daemon: what a daemon is made of, for once.
//!
//! ```text
//!   start ─▶ progress: Opening, Open, Over ─▶ (its words are said) ─▶ release ─▶ end
//! ```
//!
//! Whoever reads stdout takes its end for the end of everything, so stdout stays open until it is
//! released: what went wrong is told before.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::aws_clients::{self, AwsClients};
use super::connection_limit::MAX_FORWARDS;
use super::error::StartError;
use super::seed;
use super::shutdown::LOOK_FOR_SESSIONS;
use super::signals::Signals;
use super::start::journal;
use super::suspend::SuspendDetector;
use crate::config;
use crate::forward::{ActivatedSockets, Context, Ending, Progress, Standard, StdioForward, Stop};
use crate::proto::ReorderBudget;
use crate::session::{Identity, Sessions, ShutdownMode, TerminatePolicy};
use crate::tunnel::Trigger;

/// One connection that runs.
#[derive(Debug)]
pub struct OneShot {
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<Stop>,
    leaving: watch::Sender<ShutdownMode>,
    nudge: Trigger,
    held: Option<OwnedFd>,
    forward: JoinSet<()>,
    /// What no end waits for.
    aside: JoinSet<()>,
    dispatcher: JoinSet<usize>,
}

/// What an errand is to do.
#[derive(Debug)]
pub struct OneShotConfig {
    /// How to reach AWS.
    pub aws: config::Aws,
    /// What to carry; where it listens does not matter.
    pub forward: config::Forward,
    /// Program, version and host, for those who look at the sessions of a target.
    pub origin: String,
    /// A directory in which it may be written down which sessions are open; `None`: nowhere.
    pub state: Option<PathBuf>,
}

impl OneShot {
    /// Begins to open the connection.
    ///
    /// # Errors
    ///
    /// What cannot work whatever is tried again: no region, bad certificates.
    pub async fn start(order: OneShotConfig, standard: Standard) -> Result<Self, StartError> {
        let OneShotConfig {
            aws,
            forward,
            origin,
            state,
        } = order;
        let aws = AwsClients::new(aws, Identity::Chain, std::slice::from_ref(&forward)).await?;
        let (network, client_version) = (aws.network_of(&forward), aws.client_version());
        let service = aws.any(std::slice::from_ref(&forward))?;
        let (journal, abandoned) = journal(state).await;
        let (sessions, dispatcher) = Sessions::new(1, seed(), journal);
        let (nudge, nudged) = Trigger::new();
        let (_roll_call, called) = Trigger::new();
        let mut running = JoinSet::new();
        let mut aside = JoinSet::new();
        aside.spawn(aws_clients::terminate_orphans(
            aws,
            sessions.clone(),
            abandoned,
            TerminatePolicy::Casual,
        ));
        let context = Context {
            service,
            sessions,
            network,
            nudged,
            dump_connections: called,
            passed: ActivatedSockets::default(),
            permits: Arc::new(Semaphore::new(1)),
            max_waiting: 0,
            pool: ReorderBudget::new(),
            client_version,
            origin,
            seed: seed(),
        };
        let held = standard.hold()?;
        let lone = StdioForward::new(forward, context, standard)?;
        let stop = watch::Sender::new(Stop::No);
        let (told, progress) = watch::channel(Progress::Opening);
        running.spawn(lone.run(stop.subscribe(), told));
        let leaving = watch::Sender::new(ShutdownMode::No);
        let mut ending = JoinSet::new();
        ending.spawn(dispatcher.run(leaving.subscribe()));
        Ok(Self {
            progress,
            stop,
            leaving,
            nudge,
            held: Some(held),
            forward: running,
            aside,
            dispatcher: ending,
        })
    }

    /// Waits until bytes can be carried, or never will be.
    pub async fn opened(&mut self) {
        let is_settled = |progress: &Progress| !matches!(progress, Progress::Opening);
        // An error means that the task is gone, which `over` tells.
        drop(self.progress.wait_for(is_settled).await);
    }

    /// Waits until no more bytes are carried. `None`: by a fault of this program.
    pub async fn over(&mut self) -> Option<Ending> {
        let mut suspend_detector = SuspendDetector::new();
        let is_over = |progress: &Progress| matches!(progress, Progress::Over(_));
        loop {
            tokio::select! {
                over = self.progress.wait_for(is_over) => match &*over.ok()? {
                    Progress::Over(ending) => return Some(ending.clone()),
                    Progress::Opening | Progress::Open => {}
                },
                () = suspend_detector.noticed() => self.nudge.send(),
            }
        }
    }

    /// Lets whoever reads stdout see its end.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Carries nothing more, and ends the session: in order, or as far as that is possible in a
    /// moment, from the beginning or once `signals` bring one. ssh sends HUP when it ends, after an
    /// INT of the terminal that both have got, so it takes three to leave a session behind.
    ///
    /// # Errors
    ///
    /// How to find what may have been left behind.
    pub async fn end(
        self,
        leaving: ShutdownMode,
        signals: &mut Signals,
    ) -> Result<(), &'static str> {
        let stage = self.leaving.clone();
        let is_clean = tokio::select! {
            is_clean = self.end_by(leaving) => is_clean,
            () = hurried(signals, &stage) => false,
        };
        is_clean.then_some(()).ok_or(LOOK_FOR_SESSIONS)
    }

    /// Whether every session is ended.
    async fn end_by(mut self, leaving: ShutdownMode) -> bool {
        self.stop.send_replace(Stop::Now);
        self.release();
        self.aside.shutdown().await;
        let mut hurried = self.leaving.subscribe();
        let running = async { while self.forward.join_next().await.is_some() {} };
        tokio::select! {
            ended = timeout(MAX_FORWARDS, running) => if ended.is_err() {
                warn!("the connection did not end in time");
            },
            // Its session needs the time that is left.
            _ = hurried.wait_for(|stage| *stage == ShutdownMode::Hurried) => {}
        }
        self.forward.shutdown().await;
        self.leaving.send_if_modified(|stage| {
            let is_later = *stage < leaving;
            *stage = (*stage).max(leaving);
            is_later
        });
        matches!(self.dispatcher.join_next().await, Some(Ok(0)))
    }
}

/// Hurries at the first signal, and ends with the third.
async fn hurried(signals: &mut Signals, stage: &watch::Sender<ShutdownMode>) {
    signals.last().await;
    stage.send_replace(ShutdownMode::Hurried);
    signals.last().await;
    signals.last().await;
}
