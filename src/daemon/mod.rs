//! All forwards, from start to drained.
//!
//! ```text
//!   start: read AWS settings ─▶ bind every local address ─▶ run
//!   stop:  forwards accept nothing more ─▶ connections finish, or are reset after the drain
//!          ─▶ Terminator ends their sessions ─▶ done
//! ```
//!
//! Nothing is half-started: an address that cannot be bound leaves none bound. This room does
//! not touch a single byte of traffic.

mod descriptors;
mod drain;
mod errand;
mod error;
mod forwards;
mod signals;
mod slumber;
mod systemd;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use self::drain::Drain;
pub use self::errand::{Errand, Order};
pub use self::error::StartError;
pub use self::forwards::Change;
use self::forwards::Forwards;
pub use self::signals::{Signal, Signals};
use self::slumber::Slumber;
use self::systemd::ServiceManager;
use crate::config::{self, Config};
use crate::forward::{Passed, Stop, World};
use crate::network::Network;
use crate::proto::EarlyPool;
use crate::session::{self, Entry, Identity, Journal, Leaving, Service, Sessions, Settings};
use crate::tunnel::Nudge;

/// A running daemon. Dropping it ends everything at once; [`Daemon::stop`] does it in order.
#[derive(Debug)]
pub struct Daemon {
    forwards: Forwards,
    world: World,
    /// What the world was made of.
    aws: config::Aws,
    identity: Identity,
    drain: Drain,
    /// Lets the terminator say goodbye.
    leaving: watch::Sender<Leaving>,
    nudge: Nudge,
    roll_call: Nudge,
    terminator: JoinSet<usize>,
}

impl Daemon {
    /// Binds every forward and begins to accept.
    ///
    /// # Errors
    ///
    /// What cannot work whatever is tried again: no region, bad certificates, an address that
    /// cannot be bound. Nothing is left running then.
    pub async fn start(config: Config, caller: Caller) -> Result<Self, StartError> {
        let Config {
            aws,
            limits,
            shutdown,
            log: _,
            forwards,
        } = config;
        let Caller {
            origin,
            identity,
            state,
            passed,
        } = caller;
        let (network, service) = reach(&aws, &identity).await?;
        descriptors::prepare(&limits, &forwards);
        let (journal, abandoned) = journal(state.as_deref());
        let (sessions, terminator) = Sessions::new(limits.session_start_rate, seed(), journal);
        let (nudge, nudged) = Nudge::new();
        let (roll_call, called) = Nudge::new();
        let drain = Drain::new(shutdown.drain_timeout, limits.max_connections);
        let world = World {
            service,
            sessions,
            network,
            nudged,
            roll_call: called,
            passed,
            permits: drain.permits(),
            pool: EarlyPool::new(),
            origin,
            seed: seed(),
        };
        warn_of_unused(&world.passed, &forwards);
        let mut running = Forwards::default();
        let plan = running.plan(forwards, &world, false).await?;
        running.swap(plan);
        let leaving = watch::Sender::new(Leaving::No);
        let mut ending = JoinSet::new();
        ending.spawn(terminator.run(leaving.subscribe()));
        let mut daemon = Self {
            forwards: running,
            world,
            aws,
            identity,
            drain,
            leaving,
            nudge,
            roll_call,
            terminator: ending,
        };
        daemon.end_abandoned(abandoned);
        Ok(daemon)
    }

    /// Does what another configuration says, from the next connection on. What is the same is not
    /// touched, what is gone finishes its connections. `[log]` is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`]; nothing has changed then.
    pub async fn reload(&mut self, config: Config) -> Result<Change, StartError> {
        let Config {
            aws,
            limits,
            shutdown,
            log: _,
            forwards,
        } = config;
        let mut world = self.world.clone();
        let afresh = aws != self.aws;
        if afresh {
            (world.network, world.service) = reach(&aws, &self.identity).await?;
        }
        descriptors::prepare(&limits, &forwards);
        let plan = self.forwards.plan(forwards, &world, afresh).await?;
        (self.world, self.aws) = (world, aws);
        self.world.sessions.set_rate(limits.session_start_rate);
        self.drain.limit(limits.max_connections);
        self.drain.timeout = shutdown.drain_timeout;
        Ok(self.forwards.swap(plan))
    }

    /// Ends what former processes left behind, beside everything else.
    fn end_abandoned(&mut self, abandoned: Vec<Entry>) {
        if abandoned.is_empty() {
            return;
        }
        let count = abandoned.len();
        info!(
            count,
            "a former run was killed and left sessions behind; ending them"
        );
        let World {
            service, sessions, ..
        } = self.world.clone();
        self.forwards.tasks.spawn(async move {
            for entry in abandoned {
                match service.of(&entry.origin).await {
                    Ok(service) => sessions.end_abandoned(service, entry),
                    Err(error) => warn!(session = entry.session, %error, "cannot end it"),
                }
            }
        });
    }

    /// The name of each forward, and the ports on which it listens.
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        self.forwards.addresses()
    }

    /// Lets everything try again now, and every tunnel test its websocket.
    pub fn nudge(&self) {
        self.world.service.cut_short();
        self.world.sessions.cut_short();
        self.nudge.send();
    }

    /// Waits for a signal that asks to stop. `reread` reads the configuration for one that asks for
    /// that.
    pub async fn until_stopped<E: Display>(
        &mut self,
        signals: &mut Signals,
        reread: impl Fn() -> Result<Config, E>,
    ) {
        let mut slumber = Slumber::new();
        let mut manager = ServiceManager::new();
        manager.ready(self.status());
        loop {
            tokio::select! {
                () = manager.tick() => {
                    manager.feed(|| self.forwards.answer());
                    manager.status(self.status());
                }
                signal = signals.next() => match signal {
                    Signal::Stop(name) => return info!(signal = name, "stopping"),
                    Signal::Nudge => {
                        info!("trying again now");
                        self.nudge();
                    }
                    Signal::Reload => {
                        systemd::reloading();
                        self.reread(&reread).await;
                        manager.ready(self.status());
                    }
                    Signal::RollCall => {
                        let connections = self.drain.connections();
                        info!(connections, "roll call");
                        self.roll_call.send();
                    }
                },
                () = slumber.noticed() => {
                    info!("this machine has slept; testing every session");
                    self.nudge();
                }
                Some(done) = self.forwards.tasks.join_next() => {
                    if let Err(fault) = done {
                        error!(error = %fault, "a forward has stopped by a fault of this program");
                    }
                }
            }
        }
    }

    /// Reads the configuration and does what it says, or says why not.
    async fn reread<E: Display>(&mut self, read: impl Fn() -> Result<Config, E>) {
        let config = match read() {
            Ok(config) => config,
            Err(problems) => {
                return warn!("not reloaded, everything stays as it was\n{problems}");
            }
        };
        match self.reload(config).await {
            Ok(change) => info!("reloaded: {change}"),
            Err(error) => {
                warn!(%error, hint = %error.hint(), "not reloaded, everything stays as it was");
            }
        }
    }

    /// In one line, for people.
    fn status(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (forwards, connections) = (self.forwards.len(), self.drain.connections());
        format!(
            "{forwards} forward{}, {connections} connection{}",
            plural(forwards),
            plural(connections)
        )
    }

    /// Stops in order, or as fast as sessions can be ended when another signal asks for it. A third
    /// one waits for nothing.
    pub async fn stop_unless_hurried(self, signals: &mut Signals) {
        let leaving = self.leaving.clone();
        systemd::stopping(self.drain.timeout + MAX_FORWARDS + MAX_ENDINGS);
        tokio::select! {
            () = self.stop() => {}
            () = hurried(signals, &leaving) => {
                warn!(hint = LOOK_FOR_SESSIONS, "stopped at once; sessions may have been left behind");
            }
        }
    }

    /// Accepts nothing more, lets connections finish for as long as the drain may take, ends what is
    /// left, then every session.
    pub async fn stop(self) {
        let Self {
            mut forwards,
            world,
            drain,
            leaving,
            mut terminator,
            ..
        } = self;
        forwards.stop(Stop::Drain);
        let mut hurried = leaving.subscribe();
        tokio::select! {
            () = drain.wait(forwards.ended()) => {}
            _ = hurried.wait_for(|leaving| *leaving == Leaving::Hurried) => {}
        }
        forwards.stop(Stop::Now);
        tokio::select! {
            ended = timeout(MAX_FORWARDS, forwards.ended()) => if ended.is_err() {
                warn!("some connections did not end in time");
            },
            _ = hurried.wait_for(|leaving| *leaving == Leaving::Hurried) => {}
        }
        // Whatever has not ended by itself leaves its session to the terminator.
        forwards.tasks.shutdown().await;
        drop(world);
        leaving.send_if_modified(|leaving| {
            let is_first = *leaving == Leaving::No;
            *leaving = (*leaving).max(Leaving::InOrder);
            is_first
        });
        match terminator.join_next().await {
            Some(Ok(0)) => info!("stopped; every session is ended"),
            Some(Ok(count)) => warn!(
                count,
                hint = LOOK_FOR_SESSIONS,
                "stopped; sessions may have been left behind"
            ),
            Some(Err(_)) | None => warn!(
                hint = LOOK_FOR_SESSIONS,
                "stopped; sessions may have been left behind"
            ),
        }
    }
}

/// Hands a second signal on, and ends with the third.
async fn hurried(signals: &mut Signals, leaving: &watch::Sender<Leaving>) {
    signals.stop().await;
    warn!("asked again to stop; ending sessions and waiting for nothing else");
    leaving.send_replace(Leaving::Hurried);
    signals.stop().await;
}

/// Where it is written down which sessions are open, and what former processes left there.
fn journal(state: Option<&Path>) -> (Journal, Vec<Entry>) {
    let Some(directory) = state else {
        return (Journal::none(), Vec::new());
    };
    Journal::open(directory, session::unix_seconds()).unwrap_or_else(|error| {
        let directory = directory.display();
        warn!(%error, %directory, "cannot write down which sessions are open; if this process is killed they are left behind");
        (Journal::none(), Vec::new())
    })
}

/// Chance for pauses and lifetimes.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

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
    pub passed: Passed,
}

fn settings(aws: config::Aws, identity: Identity) -> Settings {
    let config::Aws {
        region,
        profile,
        ssm_endpoint,
        ca_bundle,
    } = aws;
    Settings {
        region,
        profile,
        ssm_endpoint,
        ca_bundle,
        identity,
    }
}

fn warn_of_unused(passed: &Passed, forwards: &[config::Forward]) {
    let listen = forwards.iter().flat_map(|forward| &forward.listen);
    let names = listen.filter_map(|listen| match listen {
        config::Listen::Systemd(name) => Some(name.as_str()),
        config::Listen::Localhost(_) | config::Listen::Tcp(_) | config::Listen::Unix(_) => None,
    });
    passed.warn_of_others(&names.collect::<Vec<_>>());
}

/// What AWS is reached by.
async fn reach(aws: &config::Aws, identity: &Identity) -> Result<(Network, Service), StartError> {
    let network = Network::new(aws.ca_bundle.as_deref())?;
    let service = Service::load(settings(aws.clone(), identity.clone())).await;
    Ok((network, service.map_err(StartError::Aws)?))
}

/// How long connections may take to say goodbye: the flag on each channel waits a second for its
/// acknowledgement.
const MAX_FORWARDS: Duration = Duration::from_secs(5);

/// How long the terminator may take for what is left then, and some more.
const MAX_ENDINGS: Duration = Duration::from_secs(15);

/// How to find a session that was left behind.
const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists them; the account's idle timeout ends them too";
