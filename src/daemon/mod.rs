//! All forwards, from start to drained.
//!
//! ```text
//!   start: read AWS settings ─▶ bind every local address ─▶ run
//!   stop:  forwards end their connections ─▶ Terminator ends their sessions ─▶ done
//! ```
//!
//! Nothing is half-started: an address that cannot be bound leaves none bound. This room does
//! not touch a single byte of traffic.

mod signals;
mod slumber;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

pub use self::signals::{Signal, Signals};
use self::slumber::Slumber;
use crate::config::{self, Config};
use crate::forward::{Forward, ListenError, World};
use crate::network::{Network, RootsError};
use crate::proto::EarlyPool;
use crate::session::{self, Identity, Service, Sessions, Settings, Terminator};
use crate::tunnel::Nudge;

/// A running daemon. Dropping it ends everything at once; [`Daemon::stop`] does it in order.
#[derive(Debug)]
pub struct Daemon {
    forwards: JoinSet<()>,
    addresses: Vec<(String, Vec<SocketAddr>)>,
    stop: watch::Sender<bool>,
    nudge: Nudge,
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
        let Config { aws, forwards } = config;
        let network = Network::new(aws.ca_bundle.as_deref())?;
        let Caller { origin, identity } = caller;
        let service = Service::load(settings(aws, identity))
            .await
            .map_err(StartError::Aws)?;
        let (sessions, terminator) = Sessions::new();
        let (nudge, nudged) = Nudge::new();
        let world = World {
            service,
            sessions: sessions.clone(),
            network,
            nudged,
            pool: EarlyPool::new(),
            origin,
        };
        let forwards = bind(forwards, &world).await?;
        Ok(Self::run(forwards, nudge, sessions, terminator))
    }

    fn run(
        forwards: Vec<Forward>,
        nudge: Nudge,
        sessions: Sessions,
        terminator: Terminator,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let addresses = forwards
            .iter()
            .map(|f| (f.name().to_owned(), f.addresses()))
            .collect();
        let mut running = JoinSet::new();
        for forward in forwards {
            running.spawn(forward.run(stopped.clone()));
        }
        let mut ending = JoinSet::new();
        ending.spawn(terminator.run());
        Self {
            forwards: running,
            addresses,
            stop,
            nudge,
            sessions,
            terminator: ending,
        }
    }

    /// The name of each forward, and the ports on which it listens.
    pub fn addresses(&self) -> &[(String, Vec<SocketAddr>)] {
        &self.addresses
    }

    /// Lets every tunnel try again now, and test its websocket.
    pub fn nudge(&self) {
        self.nudge.send();
    }

    /// Waits for a signal that asks to stop.
    pub async fn until_stopped(&mut self, signals: &mut Signals) {
        let mut slumber = Slumber::new();
        loop {
            tokio::select! {
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

    /// Stops in order, or at once when another signal asks for it.
    pub async fn stop_unless_hurried(self, signals: &mut Signals) {
        tokio::select! {
            () = self.stop() => {}
            () = signals.stop() => {
                warn!(hint = LOOK_FOR_SESSIONS, "stopped at once; sessions may have been left behind");
            }
        }
    }

    /// Accepts nothing more, ends every connection, then every session.
    pub async fn stop(self) {
        let Self {
            mut forwards,
            stop,
            sessions,
            mut terminator,
            ..
        } = self;
        stop.send_replace(true);
        let ended = timeout(MAX_FORWARDS, async {
            while forwards.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            warn!("some connections did not end in time");
        }
        drop(forwards);
        drop(sessions);
        let left = timeout(MAX_TERMINATIONS, terminator.join_next()).await;
        if let Ok(Some(Ok(0))) = left {
            info!("stopped; every session is ended");
        } else {
            warn!(
                hint = LOOK_FOR_SESSIONS,
                "stopped; sessions may have been left behind"
            );
        }
    }
}

/// Who runs the daemon, as AWS sees it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Program, version and host, for those who look at the sessions of a target.
    pub origin: String,
    /// Whose credentials are used.
    pub identity: Identity,
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

/// How to find a session that was left behind.
const LOOK_FOR_SESSIONS: &str = "`aws ssm describe-sessions --state Active` lists them; the account's idle timeout ends them too";

/// How long the last sessions may take to end.
const MAX_TERMINATIONS: Duration = Duration::from_secs(10);
