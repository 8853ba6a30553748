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
use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::reach::Reach;
use crate::config;
use crate::forward::{Bound, Forward, Liveness, Stop, World};

/// All forwards of a daemon.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// In the order of the file.
    running: Vec<Running>,
    /// Released, until their last connection has ended.
    finishing: Vec<watch::Sender<Stop>>,
    pub(super) tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    settings: config::Forward,
    bound: Bound,
    addresses: Vec<SocketAddr>,
    liveness: Liveness,
    stop: watch::Sender<Stop>,
}

/// What will run, in the order of the file; everything is bound.
#[derive(Debug)]
pub(super) struct Plan(Vec<(config::Forward, Option<Forward>)>);

impl Forwards {
    /// Binds what does not run yet. Nothing changes before [`Forwards::swap`]. `afresh`: not even
    /// what is the same may go on.
    pub(super) async fn plan(
        &self,
        settings: Vec<config::Forward>,
        world: &World,
        reach: &Reach,
        afresh: bool,
    ) -> Result<Plan, StartError> {
        let goes_on =
            |one: &config::Forward, other: &config::Forward| !afresh && one.is_same(other);
        let mut held = Bound::default();
        for running in &self.running {
            if !settings.iter().any(|s| goes_on(s, &running.settings)) {
                held.join(&running.bound);
            }
        }
        let mut plan = Vec::new();
        for settings in settings {
            if self.running.iter().any(|r| goes_on(&settings, &r.settings)) {
                plan.push((settings, None));
                continue;
            }
            let (name, line) = (settings.name.clone(), settings.line);
            let world = reach.world(&settings, world);
            let forward = Forward::bind(settings.clone(), world, &mut held).await;
            let forward = forward.map_err(|source| StartError::Listen { name, line, source })?;
            plan.push((settings, Some(forward)));
        }
        Ok(Plan(plan))
    }

    /// Does what was planned.
    pub(super) fn swap(&mut self, Plan(plan): Plan) -> Change {
        let former = std::mem::take(&mut self.running).into_iter();
        let mut former: BTreeMap<String, Running> =
            former.map(|r| (r.settings.name.clone(), r)).collect();
        let mut change = Change::default();
        for (settings, forward) in plan {
            let predecessor = former.remove(&settings.name);
            match (forward, predecessor) {
                (None, Some(same)) => {
                    change.unchanged += 1;
                    self.running.push(Running { settings, ..same });
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
        self.running.push(Running {
            settings,
            bound: forward.bound().clone(),
            addresses: forward.addresses(),
            liveness: forward.liveness().clone(),
            stop,
        });
        self.tasks.spawn(forward.run(course));
    }

    fn release(&mut self, over: impl IntoIterator<Item = Running>) {
        self.finishing.retain(|stop| !stop.is_closed());
        for Running { stop, .. } in over {
            stop.send_replace(Stop::Release);
            self.finishing.push(stop);
        }
    }

    /// Tells every forward, and keeps nothing bound by itself any more.
    pub(super) fn stop(&mut self, how: Stop) {
        for running in &mut self.running {
            running.bound = Bound::default();
            running.stop.send_replace(how);
        }
        for stop in &self.finishing {
            stop.send_replace(how);
        }
    }

    /// Waits until every forward has ended.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// The name of each forward, and the ports on which it listens.
    pub(super) fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let running = self.running.iter();
        running
            .map(|r| (r.settings.name.clone(), r.addresses.clone()))
            .collect()
    }

    /// Asks every accept loop. False if one has not answered since the last time.
    pub(super) fn answer(&self) -> bool {
        let running = self.running.iter();
        // Everyone is asked, whatever the others say.
        running.filter(|running| !running.liveness.ask()).count() == 0
    }

    /// How many accept connections.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}

/// What a reload has changed, in forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
