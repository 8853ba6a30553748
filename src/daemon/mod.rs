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

mod admin;
mod clients;
mod course;
mod descriptors;
mod drain;
mod ending;
mod errand;
mod error;
mod forwards;
mod http;
mod log;
mod off_runtime;
mod reach;
mod reading;
mod report;
mod signals;
mod slumber;
mod systemd;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::admin::{Admin, Place, Reply};
pub use self::admin::{Answer, Client, ClientError, Fault, Rejection, Request};
pub use self::course::Cause;
use self::drain::Drain;
pub use self::errand::{Errand, Order};
pub use self::error::StartError;
pub use self::forwards::Change;
use self::forwards::Forwards;
use self::http::Http;
pub use self::log::{log_format, log_verbosity};
use self::reach::Reach;
use self::reading::Loaded;
use self::report::History;
pub use self::signals::{Signal, Signals};
use crate::config::{self, Config};
use crate::forward::{Bound, Passed, World};
use crate::panics::caught;
use crate::proto::EarlyPool;
use crate::session::{self, Effort, Entry, Identity, Journal, Leaving, Sessions};
use crate::telemetry::{Control, ForwardReport, Meters};
use crate::tunnel::Nudge;

/// A running daemon. Dropping it ends everything at once; [`Daemon::stop`] does it in order.
#[derive(Debug)]
pub struct Daemon {
    forwards: Forwards,
    world: World,
    reach: Reach,
    drain: Drain,
    /// Lets the terminator say goodbye.
    leaving: watch::Sender<Leaving>,
    nudge: Nudge,
    roll_call: Nudge,
    terminator: JoinSet<usize>,
    /// How commands reach it.
    admin: Option<Admin>,
    /// What the file says of that.
    admin_settings: config::Admin,
    /// How health and metrics are asked for.
    http: Http,
    /// Those who have asked for the stop.
    waiting: Vec<Reply>,
    log: Option<Control>,
    log_settings: config::Log,
    history: History,
    /// What no stop waits for.
    aside: JoinSet<()>,
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
            log: log_settings,
            http: http_settings,
            admin: admin_settings,
            forwards,
        } = config;
        let Caller {
            origin,
            identity,
            state,
            passed,
            admin: usual,
            log,
            leftovers,
        } = caller;
        let reach = Reach::new(aws, identity, &forwards).await?;
        let max_waiting = descriptors::prepare(&limits, &forwards);
        let (journal, abandoned) = journal(state).await;
        let (sessions, terminator) = Sessions::new(limits.session_start_rate, seed(), journal);
        let (nudge, nudged) = Nudge::new();
        let (roll_call, called) = Nudge::new();
        let drain = Drain::new(shutdown.drain_timeout, limits.max_connections);
        let world = World {
            service: reach.any(),
            sessions,
            network: reach.network().clone(),
            nudged,
            roll_call: called,
            passed,
            permits: drain.permits(),
            max_waiting,
            pool: EarlyPool::new(),
            origin,
            seed: seed(),
        };
        warn_of_unused(&world.passed, &forwards, http_settings.as_ref());
        let (mut running, mut http) = (Forwards::default(), Http::default());
        let held = &mut Bound::default();
        let plan = running.plan(forwards, &world, &reach, false, held).await?;
        let served = http.plan(http_settings, &world.passed, held).await?;
        let admin = admin(&admin_settings, usual).await?;
        http.swap(served).await;
        running.swap(plan);
        let leaving = watch::Sender::new(Leaving::No);
        let mut ending = JoinSet::new();
        ending.spawn(terminator.run(leaving.subscribe()));
        let mut daemon = Self {
            forwards: running,
            world,
            reach,
            drain,
            leaving,
            nudge,
            roll_call,
            terminator: ending,
            admin,
            admin_settings,
            http,
            waiting: Vec::new(),
            log,
            log_settings,
            history: History::new(),
            aside: JoinSet::new(),
        };
        daemon.end_abandoned(abandoned, leftovers);
        Ok(daemon)
    }

    /// Does what another configuration says, from the next connection on. What is the same is not
    /// touched, what is gone finishes its connections.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`]; nothing has changed then.
    pub async fn reload(&mut self, config: Config) -> Result<Change, StartError> {
        let loaded = Loaded::new(config, self.reach.clone()).await?;
        self.apply(loaded).await
    }

    /// Does what a configuration says that was loaded.
    async fn apply(&mut self, loaded: Loaded) -> Result<Change, StartError> {
        let Loaded {
            config,
            reach,
            afresh,
        } = loaded;
        let Config {
            aws: _,
            limits,
            shutdown,
            log,
            http,
            admin,
            forwards,
        } = config;
        if admin != self.admin_settings {
            return Err(StartError::AdminMoved);
        }
        self.world.max_waiting = descriptors::prepare(&limits, &forwards);
        let held = &mut self.http.given_up(http.as_ref());
        let plan = self
            .forwards
            .plan(forwards, &self.world, &reach, afresh, held)
            .await?;
        let served = self.http.plan(http, &self.world.passed, held).await?;
        self.set_log(log)?;
        self.reach = reach;
        self.reach.doubt_files();
        self.world.sessions.set_rate(limits.session_start_rate);
        self.drain.limit(limits.max_connections);
        self.drain.timeout = shutdown.drain_timeout;
        self.http.swap(served).await;
        Ok(self.forwards.swap(plan))
    }

    /// What was changed by hand stays until the file says something else.
    fn set_log(&mut self, settings: config::Log) -> Result<(), StartError> {
        let former = std::mem::replace(&mut self.log_settings, settings);
        let Some(log) = self.log.as_ref().filter(|_| former != settings) else {
            return Ok(());
        };
        log.set_format(log_format(settings.format))
            .and_then(|()| log.set_verbosity(log_verbosity(settings.level)))
            .map_err(|error| {
                self.log_settings = former;
                StartError::Log(error)
            })
    }

    /// Ends what former processes left behind, beside everything else.
    fn end_abandoned(&mut self, abandoned: Vec<Entry>, effort: Effort) {
        if abandoned.is_empty() {
            return;
        }
        let World {
            service, sessions, ..
        } = self.world.clone();
        let count = abandoned.len();
        let ending = reach::end_abandoned(service, sessions, abandoned, effort);
        match effort {
            Effort::Full => {
                info!(
                    count,
                    "a former run was killed and left sessions behind; ending them"
                );
                self.forwards.tasks.spawn(reported(ending));
            }
            Effort::Casual => {
                self.aside.spawn(reported(ending));
            }
        }
    }

    /// The name of each forward, and the ports on which it listens.
    pub fn addresses(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let roster = self.forwards.roster();
        let ports = |listen: &config::Listen| match listen {
            config::Listen::Tcp(address) => Some(*address),
            config::Listen::Localhost(_) | config::Listen::Unix(_) | config::Listen::Systemd(_) => {
                None
            }
        };
        let named = roster.running.iter().map(|listed| {
            let addresses = listed.addresses.iter().filter_map(ports);
            (listed.settings.name.clone(), addresses.collect())
        });
        named.collect()
    }

    /// Each forward, as it can be shown.
    pub fn reports(&self) -> Vec<ForwardReport> {
        self.forwards.roster().reports()
    }

    /// What each forward counts.
    pub fn meters(&self) -> Vec<Arc<Meters>> {
        let roster = self.forwards.roster();
        let meters = roster
            .running
            .iter()
            .map(|listed| Arc::clone(&listed.meters));
        meters.collect()
    }

    /// Lets everything try again now, and every tunnel test its websocket.
    pub fn nudge(&self) {
        self.reach.cut_short();
        self.world.sessions.cut_short();
        self.nudge.send();
    }
}

/// Runs what nothing else depends on. The panic hook has reported a panic.
async fn reported(future: impl Future<Output = ()>) {
    if let Err(panic) = caught(future).await {
        warn!(%panic, "sessions of a former run may have been left behind");
    }
}

/// Where it is written down which sessions are open, and what former processes left there.
async fn journal(state: Option<PathBuf>) -> (Journal, Vec<Entry>) {
    let Some(directory) = state else {
        return (Journal::none(), Vec::new());
    };
    let now = session::unix_seconds();
    let path = directory.clone();
    let opening = spawn_blocking(move || Journal::open(&path, now));
    let opened = match timeout(JOURNAL_TIMEOUT, opening).await {
        Ok(opened) => opened.unwrap_or_else(|error| Err(error.into())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    opened.unwrap_or_else(|error| {
        let directory = directory.display();
        warn!(%error, %directory, "cannot write down which sessions are open; if this process is killed they are left behind");
        (Journal::none(), Vec::new())
    })
}

/// How long the journal's disk may take at the start.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Where the admin socket is if the configuration does not say; `None`: nowhere.
    pub admin: Option<PathBuf>,
    /// The log of the process, if the daemon may change it.
    pub log: Option<Control>,
    /// What is done about sessions that former processes left behind.
    pub leftovers: Effort,
}

/// Binds the admin socket. Nobody has asked for the usual one, so that need not be there.
async fn admin(
    settings: &config::Admin,
    usual: Option<PathBuf>,
) -> Result<Option<Admin>, StartError> {
    let is_usual = settings.socket.is_none();
    let Some(path) = settings.socket.clone().or(usual) else {
        debug!("no place for an admin socket; [admin] names one");
        return Ok(None);
    };
    match Admin::bind(&Place {
        path,
        usual: is_usual,
    })
    .await
    {
        Ok(admin) => {
            debug!(socket = %admin.path().display(), "commands are heard");
            Ok(Some(admin))
        }
        Err(error) if is_usual => {
            let hint = "`socket` in [admin] names another place";
            warn!(%error, hint, "no admin socket: `status`, `reload` and `stop` will not find this daemon");
            Ok(None)
        }
        Err(error) => Err(StartError::Admin(error)),
    }
}

fn warn_of_unused(passed: &Passed, forwards: &[config::Forward], http: Option<&config::Http>) {
    let listen = forwards.iter().flat_map(|forward| &forward.listen);
    let listen = listen.chain(http.into_iter().flat_map(|http| &http.listen));
    let names = listen.filter_map(|listen| match listen {
        config::Listen::Systemd(name) => Some(name.as_str()),
        config::Listen::Localhost(_) | config::Listen::Tcp(_) | config::Listen::Unix(_) => None,
    });
    passed.warn_of_others(&names.collect::<Vec<_>>());
}
