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
mod signals;
mod slumber;
mod systemd;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use self::drain::Drain;
pub use self::signals::{Signal, Signals};
use self::slumber::Slumber;
use self::systemd::ServiceManager;
use crate::config::{self, Config};
use crate::forward::{Forward, ListenError, Stop, World};
use crate::network::{Network, RootsError};
use crate::proto::EarlyPool;
use crate::session::{
    self, Entry, Identity, Journal, Leaving, Service, Sessions, Settings, Terminator,
};
use crate::tunnel::Nudge;

/// A running daemon. Dropping it ends everything at once; [`Daemon::stop`] does it in order.
#[derive(Debug)]
pub struct Daemon {
    forwards: JoinSet<()>,
    addresses: Vec<(String, Vec<SocketAddr>)>,
    stop: watch::Sender<Stop>,
    drain: Drain,
    /// Lets the terminator say goodbye.
    leaving: watch::Sender<Leaving>,
    nudge: Nudge,
    service: Service,
    sessions: Sessions,
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
        let network = Network::new(aws.ca_bundle.as_deref())?;
        let Caller {
            origin,
            identity,
            state,
        } = caller;
        let service = Service::load(settings(aws, identity))
            .await
            .map_err(StartError::Aws)?;
        descriptors::prepare(&limits, &forwards);
        let (journal, abandoned) = journal(state.as_deref());
        let (sessions, terminator) = Sessions::new(limits.session_start_rate, seed(), journal);
        let (nudge, nudged) = Nudge::new();
        let permits = Arc::new(Semaphore::new(limits.max_connections));
        let world = World {
            service: service.clone(),
            sessions: sessions.clone(),
            network,
            nudged,
            permits: Arc::clone(&permits),
            pool: EarlyPool::new(),
            origin,
            seed: seed(),
        };
        let forwards = bind(forwards, &world).await?;
        let drain = Drain {
            timeout: shutdown.drain_timeout,
            permits,
            most: limits.max_connections,
        };
        let mut daemon = Self::run(forwards, drain, nudge, service, sessions, terminator);
        daemon.end_abandoned(abandoned);
        Ok(daemon)
    }

    fn run(
        forwards: Vec<Forward>,
        drain: Drain,
        nudge: Nudge,
        service: Service,
        sessions: Sessions,
        terminator: Terminator,
    ) -> Self {
        let (stop, stopped) = watch::channel(Stop::No);
        let addresses = forwards
            .iter()
            .map(|f| (f.name().to_owned(), f.addresses()))
            .collect();
        let mut running = JoinSet::new();
        for forward in forwards {
            running.spawn(forward.run(stopped.clone()));
        }
        let mut ending = JoinSet::new();
        let leaving = watch::Sender::new(Leaving::No);
        ending.spawn(terminator.run(leaving.subscribe()));
        Self {
            forwards: running,
            addresses,
            stop,
            drain,
            leaving,
            nudge,
            service,
            sessions,
            terminator: ending,
        }
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
        let (service, sessions) = (self.service.clone(), self.sessions.clone());
        self.forwards.spawn(async move {
            for entry in abandoned {
                match service.of(&entry.origin).await {
                    Ok(service) => sessions.end_abandoned(service, entry),
                    Err(error) => warn!(session = entry.session, %error, "cannot end it"),
                }
            }
        });
    }

    /// The name of each forward, and the ports on which it listens.
    pub fn addresses(&self) -> &[(String, Vec<SocketAddr>)] {
        &self.addresses
    }

    /// Lets everything try again now, and every tunnel test its websocket.
    pub fn nudge(&self) {
        self.service.cut_short();
        self.sessions.cut_short();
        self.nudge.send();
    }

    /// Waits for a signal that asks to stop.
    pub async fn until_stopped(&mut self, signals: &mut Signals) {
        let mut slumber = Slumber::new();
        let mut manager = ServiceManager::new();
        manager.ready(self.status());
        loop {
            tokio::select! {
                () = manager.tick() => manager.status(self.status()),
                signal = signals.next() => match signal {
                    Signal::Stop(name) => return info!(signal = name, "stopping"),
                    Signal::Nudge => {
                        info!("trying again now");
                        self.nudge();
                    }
                    Signal::Unsupported(name) => {
                        warn!(signal = name, "this version does nothing for this signal");
                    }
                },
                () = slumber.noticed() => {
                    info!("this machine has slept; testing every session");
                    self.nudge();
                }
                Some(done) = self.forwards.join_next() => {
                    if let Err(fault) = done {
                        error!(error = %fault, "a forward has stopped by a fault of this program");
                    }
                }
            }
        }
    }

    /// In one line, for people.
    fn status(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (forwards, connections) = (self.addresses.len(), self.drain.connections());
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
            stop,
            drain,
            leaving,
            service,
            sessions,
            mut terminator,
            ..
        } = self;
        stop.send_replace(Stop::Drain);
        let mut hurried = leaving.subscribe();
        tokio::select! {
            () = drain.wait(&mut forwards) => {}
            _ = hurried.wait_for(|leaving| *leaving == Leaving::Hurried) => {}
        }
        stop.send_replace(Stop::Now);
        let ended = timeout(MAX_FORWARDS, async {
            while forwards.join_next().await.is_some() {}
        });
        tokio::select! {
            ended = ended => if ended.is_err() {
                warn!("some connections did not end in time");
            },
            _ = hurried.wait_for(|leaving| *leaving == Leaving::Hurried) => {}
        }
        // Whatever has not ended by itself leaves its session to the terminator.
        forwards.shutdown().await;
        drop((service, sessions));
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

async fn bind(forwards: Vec<config::Forward>, world: &World) -> Result<Vec<Forward>, StartError> {
    let mut bound = Vec::new();
    for settings in forwards {
        let (name, line) = (settings.name.clone(), settings.line);
        let forward = Forward::bind(settings, world.clone()).await;
        bound.push(forward.map_err(|source| StartError::Listen { name, line, source })?);
    }
    Ok(bound)
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificates to trust cannot be used.
    #[error("{0}")]
    Roots(#[from] RootsError),
    /// The settings of AWS are not enough.
    #[error("{0}")]
    Aws(session::Error),
    /// A local address cannot be bound.
    #[error("forward {name:?}: {source}")]
    Listen {
        /// The forward.
        name: String,
        /// Where it stands in the file, from 1.
        line: usize,
        /// The address and why.
        source: ListenError,
    },
}

/// How long connections may take to say goodbye: the flag on each channel waits a second for its
/// acknowledgement.
const MAX_FORWARDS: Duration = Duration::from_secs(5);

/// How long the terminator may take for what is left then, and some more.
const MAX_ENDINGS: Duration = Duration::from_secs(15);

/// How to find a session that was left behind.
const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists them; the account's idle timeout ends them too";
