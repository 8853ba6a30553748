//! Which forwards run, and which only finish what they have.
//!
//! ```text
//!   settings ─▶ plan: bind what is new; the first failure changes nothing
//!                └▶ swap: the same goes on · new and changed ones start · the others are released
//! ```
//!
//! A changed forward goes on with the listeners that its predecessor has, so nobody is refused in
//! between. The predecessor keeps its connections, with its settings, until the last has ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

use super::StartError;
use super::reach::Reach;
use super::report::{Listed, Roster};
use crate::config;
use crate::forward::{Bound, Forward, Liveness, Stop, World};
use crate::telemetry::Meters;

/// All forwards of a daemon.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// In the order of the file.
    running: Vec<Running>,
    /// Released, until their last connection has ended.
    finishing: Vec<Finishing>,
    pub(super) tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    listed: Arc<Listed>,
    bound: Bound,
    liveness: Liveness,
    stop: watch::Sender<Stop>,
}

impl Running {
    fn settings(&self) -> &config::Forward {
        &self.listed.settings
    }

    /// The same, as another file says it.
    fn listed_as(&mut self, settings: config::Forward) {
        self.listed = Arc::new(Listed {
            settings,
            addresses: self.listed.addresses.clone(),
            meters: Arc::clone(&self.listed.meters),
        });
    }
}

#[derive(Debug)]
struct Finishing {
    name: String,
    meters: Arc<Meters>,
    stop: watch::Sender<Stop>,
}

/// What will run, in the order of the file; everything is bound.
#[derive(Debug)]
pub(super) struct Plan(Vec<(config::Forward, Option<Forward>)>);

impl Forwards {
    /// Binds what does not run yet. Nothing changes before [`Forwards::swap`]. `afresh`: not even
    /// what is the same may go on. What is not needed any more is in `held` then, which
    /// already has what others give up.
    pub(super) async fn plan(
        &self,
        settings: Vec<config::Forward>,
        world: &World,
        reach: &Reach,
        afresh: bool,
        held: &mut Bound,
    ) -> Result<Plan, StartError> {
        let goes_on =
            |one: &config::Forward, other: &config::Forward| !afresh && one.is_same(other);
        for running in &self.running {
            if !settings.iter().any(|s| goes_on(s, running.settings())) {
                held.join(&running.bound);
            }
        }
        let mut plan = Vec::new();
        for settings in settings {
            if self
                .running
                .iter()
                .any(|r| goes_on(&settings, r.settings()))
            {
                plan.push((settings, None));
                continue;
            }
            let (name, line) = (settings.name.clone(), settings.line);
            let world = reach.world(&settings, world);
            let predecessor = self.running.iter().find(|r| r.settings().name == name);
            let own = predecessor.map(|r| r.bound.clone()).unwrap_or_default();
            let forward = Forward::bind(settings.clone(), world, own, held).await;
            let forward = forward.map_err(|source| StartError::Listen { name, line, source })?;
            plan.push((settings, Some(forward)));
        }
        Ok(Plan(plan))
    }

    /// Does what was planned.
    pub(super) fn swap(&mut self, Plan(plan): Plan) -> Change {
        let former = std::mem::take(&mut self.running).into_iter();
        let mut former: BTreeMap<String, Running> =
            former.map(|r| (r.settings().name.clone(), r)).collect();
        let mut change = Change::default();
        for (settings, forward) in plan {
            let predecessor = former.remove(&settings.name);
            match (forward, predecessor) {
                (None, Some(mut same)) => {
                    change.unchanged += 1;
                    same.listed_as(settings);
                    self.running.push(same);
                }
                (Some(forward), predecessor) => {
                    change.added += usize::from(predecessor.is_none());
                    change.changed += usize::from(predecessor.is_some());
                    self.start(settings, forward);
                    self.release(predecessor);
                }
                (None, None) => {}
            }
        }
        change.removed = former.len();
        self.release(former.into_values());
        change
    }

    fn start(&mut self, settings: config::Forward, forward: Forward) {
        let (stop, course) = watch::channel(Stop::No);
        let listed = Listed {
            settings,
            addresses: forward.addresses(),
            meters: Arc::clone(forward.meters()),
        };
        self.running.push(Running {
            listed: Arc::new(listed),
            bound: forward.bound().clone(),
            liveness: forward.liveness().clone(),
            stop,
        });
        self.tasks.spawn(forward.run(course));
    }

    fn release(&mut self, over: impl IntoIterator<Item = Running>) {
        self.finishing
            .retain(|finishing| !finishing.stop.is_closed());
        for Running { stop, listed, .. } in over {
            stop.send_replace(Stop::Release);
            self.finishing.push(Finishing {
                name: listed.settings.name.clone(),
                meters: Arc::clone(&listed.meters),
                stop,
            });
        }
    }

    /// Tells every forward, and keeps nothing bound by itself any more.
    pub(super) fn stop(&mut self, how: Stop) {
        for running in &mut self.running {
            running.bound = Bound::default();
            running.stop.send_replace(how);
        }
        for finishing in &self.finishing {
            finishing.stop.send_replace(how);
        }
    }

    /// Waits until a forward is lost by a panic that it could not recover from. Cancelling loses none.
    pub(super) async fn lost(&mut self) {
        while let Some(done) = self.tasks.join_next().await {
            if done.is_err_and(|fault| fault.is_panic()) {
                return error!("a forward is lost, and cannot be restarted");
            }
        }
        std::future::pending::<()>().await;
    }

    /// Waits until every forward has ended.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Everyone, as they can be shown.
    pub(super) fn roster(&self) -> Roster {
        let finishing = self.finishing.iter().filter(|f| !f.stop.is_closed());
        Roster {
            running: self.running.iter().map(|r| Arc::clone(&r.listed)).collect(),
            finishing: finishing
                .map(|f| (f.name.clone(), Arc::clone(&f.meters)))
                .collect(),
        }
    }

    /// Asks every accept loop. False if one has not answered since the last time.
    pub(super) fn answer(&self) -> bool {
        let running = self.running.iter();
        // Everyone is asked, whatever the others say.
        running.filter(|running| !running.liveness.ask()).count() == 0
    }
}

/// What a reload has changed, in forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Such that were not there before.
    pub added: usize,
    /// Such that are not there any more.
    pub removed: usize,
    /// Such whose new connections are served in another way.
    pub changed: usize,
    /// Such that go on as they are.
    pub unchanged: usize,
}

impl fmt::Display for Change {
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
