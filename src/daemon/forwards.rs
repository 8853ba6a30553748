//! The set of running forwards, and of those that only finish their connections.
//!
//! ```text
//!   settings ─▶ Plan: bind new forwards; fails if none can start, or if a required one cannot
//!                └▶ commit: unchanged forwards go on · new and changed ones start
//!                           · the others are released · failing ones are retried until they start
//! ```
//!
//! A changed forward takes over the listeners of its predecessor, so no client is refused in
//! between. The predecessor keeps its connections, with its settings, until the last one has ended.
//! Forwards of one name share their totals, so counters continue.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

use super::StartError;
use super::aws_clients::AwsClients;
use super::running::{Active, RunningForward};
use super::status::{ForwardInfo, ForwardSnapshot};
use crate::clock;
use crate::config;
use crate::forward::{Context, Forward, Listeners, ShutdownPhase};
use crate::telemetry::{ForwardState, ForwardTotals};

/// All forwards of a daemon.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// In the order of the configuration file.
    running: Vec<RunningForward>,
    /// Released forwards whose connections have not ended yet.
    finishing: Vec<ReleasedForward>,
    pub(super) tasks: JoinSet<()>,
}

#[derive(Debug)]
struct ReleasedForward {
    info: Arc<ForwardInfo>,
    stop: watch::Sender<ShutdownPhase>,
}

/// The next set of forwards, in the order of the configuration file.
#[derive(Debug)]
pub(super) struct ForwardsPlan(Vec<(config::Forward, PlannedStep)>);

/// The planned step for a forward.
#[derive(Debug)]
enum PlannedStep {
    Same,
    /// It starts; its addresses are bound.
    Start(Box<Forward>),
    Disable,
    Fail(StartError),
}

/// Options of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanOptions {
    /// Restart unchanged forwards as well.
    pub(super) aws_changed: bool,
    /// All forwards start or none.
    pub(super) strict: bool,
}

/// What a plan and a new attempt to bind need to know of the forwards.
#[derive(Debug, Default)]
pub(super) struct PreviousForwards {
    /// Each forward, and its listeners unless it is disabled or failing.
    running: Vec<(Arc<ForwardInfo>, Option<Listeners>)>,
    /// Of each name, also of removed forwards whose connections have not ended.
    totals: BTreeMap<String, Arc<ForwardTotals>>,
}

impl PreviousForwards {
    fn totals(&self, name: &str) -> Arc<ForwardTotals> {
        self.totals.get(name).cloned().unwrap_or_default()
    }
}

impl ForwardsPlan {
    /// Binds new and changed forwards. Nothing changes before [`Forwards::commit`], and nothing may
    /// until then. `released` holds listeners released by others; those of changed and removed
    /// forwards are added, and used ones are taken.
    ///
    /// # Errors
    ///
    /// The error of the first forward that cannot start: of any if the plan is strict, else only if
    /// none can start.
    pub(super) async fn new(
        previous: &PreviousForwards,
        settings: Vec<config::Forward>,
        context: &Context,
        aws: &AwsClients,
        options: PlanOptions,
        released: &mut Listeners,
    ) -> Result<Self, StartError> {
        let goes_on = |one: &config::Forward, other: &config::Forward| {
            !options.aws_changed && one.equal_ignoring_line(other)
        };
        for (info, bound) in &previous.running {
            if let Some(bound) = bound
                && !settings.iter().any(|s| goes_on(s, &info.settings))
            {
                released.extend(bound);
            }
        }
        let mut plan = Vec::new();
        for settings in settings {
            let mut named = previous
                .running
                .iter()
                .filter(|(f, _)| f.settings.name == settings.name);
            let step = match named.next() {
                _ if !settings.enabled => PlannedStep::Disable,
                Some((info, Some(_))) if goes_on(&settings, &info.settings) => PlannedStep::Same,
                predecessor => {
                    let own = predecessor.and_then(|(_, bound)| bound.clone());
                    let own = own.unwrap_or_default();
                    let totals = previous.totals(&settings.name);
                    match Box::pin(bind(&settings, context, aws, own, released, totals)).await {
                        Ok(forward) => PlannedStep::Start(Box::new(forward)),
                        Err(error) if options.strict => return Err(error),
                        Err(error) => PlannedStep::Fail(error),
                    }
                }
            };
            plan.push((settings, step));
        }
        Self(plan).unless_none_can_start()
    }

    /// Returns the plan unless an enabled forward exists and none can start.
    ///
    /// # Errors
    ///
    /// The error of the first forward that cannot start.
    fn unless_none_can_start(mut self) -> Result<Self, StartError> {
        let serves = |step: &PlannedStep| matches!(step, PlannedStep::Same | PlannedStep::Start(_));
        if self.0.iter().any(|(_, step)| serves(step)) {
            return Ok(self);
        }
        let fails = |(_, step): &(_, PlannedStep)| matches!(step, PlannedStep::Fail(_));
        match self
            .0
            .iter()
            .position(fails)
            .map(|index| self.0.remove(index))
        {
            Some((_, PlannedStep::Fail(error))) => Err(error),
            Some(_) | None => Ok(self),
        }
    }
}

impl Forwards {
    /// Returns what a plan needs to know.
    pub(super) fn previous(&self) -> PreviousForwards {
        let running = self.running.iter();
        let running = running.map(|RunningForward { info, active, .. }| {
            let bound = active.as_ref().map(|active| active.bound.clone());
            (Arc::clone(info), bound)
        });
        let snapshot = self.snapshot();
        let totals = snapshot.all().map(|info| {
            let totals = Arc::clone(&info.metrics.totals);
            (info.name().to_owned(), totals)
        });
        PreviousForwards {
            running: running.collect(),
            totals: totals.collect(),
        }
    }

    pub(super) fn commit(&mut self, ForwardsPlan(plan): ForwardsPlan) -> ReloadSummary {
        let known = self.previous();
        let previous = std::mem::take(&mut self.running).into_iter();
        let mut previous: BTreeMap<String, RunningForward> =
            previous.map(|r| (r.settings().name.clone(), r)).collect();
        let mut change = ReloadSummary::default();
        for (settings, step) in plan {
            let totals = known.totals(&settings.name);
            let predecessor = previous.remove(&settings.name);
            let equal_ignoring_line = predecessor
                .as_ref()
                .map(|r| r.settings().equal_ignoring_line(&settings) && r.active.is_none());
            match equal_ignoring_line {
                _ if matches!(step, PlannedStep::Same) => change.unchanged += 1,
                None => change.added += 1,
                Some(true) => change.unchanged += 1,
                Some(false) => change.changed += 1,
            }
            let predecessor = match (step, predecessor) {
                (PlannedStep::Same, Some(mut same)) => {
                    same.set_settings(settings);
                    self.running.push(same);
                    None
                }
                (PlannedStep::Start(forward), predecessor) => {
                    let started = self.started(settings, *forward);
                    self.running.push(started);
                    predecessor
                }
                (PlannedStep::Fail(error), Some(mut same)) if same.active.is_none() => {
                    same.set_settings(settings);
                    same.handle_failure(&error);
                    self.running.push(same);
                    None
                }
                (PlannedStep::Fail(error), predecessor) => {
                    let mut failing = RunningForward::idle(settings, totals);
                    failing.handle_failure(&error);
                    self.running.push(failing);
                    predecessor
                }
                (PlannedStep::Disable, predecessor) => {
                    let disabled = RunningForward::idle(settings, totals);
                    if equal_ignoring_line != Some(true) {
                        disabled.announce_disabled();
                    }
                    self.running.push(disabled);
                    predecessor
                }
                (PlannedStep::Same, None) => None,
            };
            self.release(predecessor);
        }
        change.removed = previous.len();
        self.release(previous.into_values());
        change
    }

    /// Returns the settings of the failing forwards.
    pub(super) fn failing(&self) -> Vec<config::Forward> {
        let failing = self.running.iter().filter(|running| running.is_failing());
        failing.map(|running| running.settings().clone()).collect()
    }

    /// Starts the failing forwards that [`rebind`] has bound.
    pub(super) fn handle_rebound(&mut self, Rebound(rebound): Rebound) {
        for (settings, bound) in rebound {
            let is_this = |r: &RunningForward| r.is_failing() && r.settings().name == settings.name;
            let Some(index) = self.running.iter().position(is_this) else {
                continue;
            };
            match bound {
                Ok(forward) => self.running[index] = self.started(settings, forward),
                Err(error) => self.running[index].handle_failure(&error),
            }
        }
    }

    fn started(&mut self, settings: config::Forward, forward: Forward) -> RunningForward {
        let (stop, shutdown) = watch::channel(ShutdownPhase::Running);
        let running = RunningForward::new(settings, &forward, stop);
        self.tasks.spawn(forward.run(shutdown));
        running
    }

    fn release(&mut self, over: impl IntoIterator<Item = RunningForward>) {
        self.finishing
            .retain(|finishing| !finishing.stop.is_closed());
        for RunningForward { active, info, .. } in over {
            let Some(Active { stop, .. }) = active else {
                continue;
            };
            stop.send_replace(ShutdownPhase::Released);
            let state = ForwardState::Stopping;
            info.observation.record_state(clock::now(), state);
            self.finishing.push(ReleasedForward { info, stop });
        }
    }

    /// Sends the shutdown phase to every forward, and drops the listeners held here.
    pub(super) fn stop(&mut self, phase: ShutdownPhase) {
        for active in self.running.iter_mut().filter_map(|r| r.active.as_mut()) {
            active.bound = Listeners::default();
            active.stop.send_replace(phase);
        }
        for finishing in &self.finishing {
            finishing.stop.send_replace(phase);
        }
    }

    /// Waits until a forward has panicked beyond recovery. Cancel safe.
    pub(super) async fn lost(&mut self) {
        while let Some(done) = self.tasks.join_next().await {
            if done.is_err_and(|fault| fault.is_panic()) {
                return error!(
                    "the task of a forward has failed and cannot be restarted; the process must be restarted"
                );
            }
        }
        std::future::pending::<()>().await;
    }

    /// Waits until every forward has ended.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Returns a snapshot for status reports.
    pub(super) fn snapshot(&self) -> ForwardSnapshot {
        let finishing = self.finishing.iter().filter(|f| !f.stop.is_closed());
        ForwardSnapshot {
            running: self.running.iter().map(|r| Arc::clone(&r.info)).collect(),
            finishing: finishing.map(|f| Arc::clone(&f.info)).collect(),
        }
    }

    /// Observes state and rates of every forward.
    pub(super) fn observe(&self) {
        let now = clock::now();
        for running in &self.running {
            running.info.observe(now);
        }
        for finishing in &self.finishing {
            finishing.info.observe_bytes(now);
        }
    }

    /// Probes every accept loop. Returns false if one has not answered since the last probe.
    pub(super) fn are_responsive(&self) -> bool {
        let active = self.running.iter().filter_map(|r| r.active.as_ref());
        // `filter` probes every loop, even after one has failed.
        active.filter(|active| !active.liveness.check()).count() == 0
    }
}

/// Failing forwards, each with its listeners or the error of another attempt.
#[derive(Debug)]
pub(super) struct Rebound(Vec<(config::Forward, Result<Forward, StartError>)>);

/// Tries to bind failing forwards again.
pub(super) async fn rebind(
    failing: Vec<config::Forward>,
    context: &Context,
    aws: &AwsClients,
    previous: &PreviousForwards,
) -> Rebound {
    let mut rebound = Vec::new();
    for settings in failing {
        let (own, mut released) = (Listeners::default(), Listeners::default());
        let totals = previous.totals(&settings.name);
        let bound = Box::pin(bind(&settings, context, aws, own, &mut released, totals)).await;
        rebound.push((settings, bound));
    }
    Rebound(rebound)
}

/// Binds the addresses of a forward.
async fn bind(
    settings: &config::Forward,
    context: &Context,
    aws: &AwsClients,
    own: Listeners,
    released: &mut Listeners,
    totals: Arc<ForwardTotals>,
) -> Result<Forward, StartError> {
    let context = aws.context(settings, context)?;
    let bound = Forward::bind(settings.clone(), context, own, released, totals).await;
    bound.map_err(|source| StartError::Listen {
        name: settings.name.clone(),
        line: settings.line,
        source,
    })
}

/// Numbers of forwards that a reload has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadSummary {
    /// Forwards added.
    pub added: usize,
    /// Forwards removed.
    pub removed: usize,
    /// Forwards whose settings changed; they apply to new connections.
    pub changed: usize,
    /// Forwards unchanged.
    pub unchanged: usize,
}

impl fmt::Display for ReloadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            removed,
            changed,
            unchanged,
        } = self;
        write!(f, "+{added} −{removed} ~{changed} ={unchanged}")
    }
}
