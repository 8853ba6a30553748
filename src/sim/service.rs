//! State of the simulated Session Manager: sessions, their tokens and tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::agent::Job;
use super::alarm::Alarm;
use super::ecs::Ecs;
use super::faults::{Faults, Operation, TokenLife};
use super::nodes::Nodes;
use super::one_off_fault::OneOffFault;
use super::options::Options;
use super::pushed_keys::ValidKeys;
use super::records::{EndedBy, Recorder, SessionRecord, SharedRecord};
use super::session_spec::{Command, SessionSpec, StartedSession};
use super::throttle::Bucket;
use crate::clock;

/// State shared by the API and the data channels.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) options: Options,
    pub(super) address: SocketAddr,
    pub(super) ledger: Recorder,
    pub(super) alarm: Alarm,
    pub(super) valid_keys: ValidKeys,
    faults: Mutex<Faults>,
    fault_version: AtomicU64,
    bucket: Mutex<Bucket>,
    offline: Mutex<BTreeSet<String>>,
    nodes: Mutex<Nodes>,
    ecs: Mutex<Ecs>,
    sessions: Mutex<Sessions>,
    rng: Mutex<fastrand::Rng>,
    tasks: Mutex<JoinSet<()>>,
}

impl Service {
    pub(super) fn new(options: Options, address: SocketAddr, now: Instant, alarm: Alarm) -> Self {
        Self {
            address,
            alarm,
            ledger: Recorder::new(now),
            valid_keys: ValidKeys::default(),
            faults: Mutex::new(options.faults.clone()),
            fault_version: AtomicU64::new(0),
            bucket: Mutex::default(),
            offline: Mutex::new(options.offline.clone()),
            nodes: Mutex::new(options.nodes.clone()),
            ecs: Mutex::new(options.ecs.clone()),
            sessions: Mutex::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            tasks: Mutex::default(),
            options,
        }
    }

    /// Opens a session. The caller must run it.
    pub(super) fn start(
        &self,
        record: SessionRecord,
        job: Job,
        to: Vec<SocketAddr>,
    ) -> (StartResult, StartedSession) {
        let now = clock::now();
        let opened = self.draw();
        let record = self.ledger.open(SessionRecord {
            session_id: opened.session_id.clone(),
            started_us: self.ledger.micros(now),
            ..record
        });
        let (commands, inbox) = mpsc::channel(COMMAND_CAPACITY);
        let entry = SessionEntry {
            token: IssuedToken::new(&opened.token, now),
            record: record.clone(),
            commands: Some(commands),
        };
        let spec = SessionSpec {
            session_id: opened.session_id.clone(),
            job,
            addresses: to,
            seed: locked(&self.rng).u64(..),
        };
        locked(&self.sessions).insert(&opened.session_id, entry);
        let started = StartedSession {
            spec,
            record,
            commands: inbox,
        };
        (opened, started)
    }

    /// Creates a new token. `None` if the session is unknown, an empty string if it has ended.
    pub(super) fn resume(&self, session_id: &str) -> Option<String> {
        let token = self.draw().token;
        let mut sessions = locked(&self.sessions);
        let entry = sessions.entries.get_mut(session_id)?;
        if entry.has_ended() {
            return Some(String::new());
        }
        entry.record.lock().resumes += 1;
        entry.token = IssuedToken::new(&token, clock::now());
        Some(token)
    }

    /// Terminates a session, if it exists and has not ended, and notifies its agent.
    pub(super) fn terminate(&self, session_id: &str) {
        let at = self.ledger.micros(clock::now());
        let mut sessions = locked(&self.sessions);
        let Some(entry) = sessions.entries.get_mut(session_id) else {
            return;
        };
        entry.record.lock().terminate_called = true;
        entry.record.end(at, EndedBy::Api, "");
        sessions.close(session_id);
    }

    /// Marks a session as ended, so that it can no longer be resumed.
    pub(super) fn close(&self, session_id: &str) {
        locked(&self.sessions).close(session_id);
    }

    /// Returns the entry of a session.
    pub(super) fn find(&self, session_id: &str) -> Option<SessionEntry> {
        locked(&self.sessions).entries.get(session_id).cloned()
    }

    /// Returns the session's record and commands if it has not ended and the token is valid for it.
    pub(super) fn redeem(
        &self,
        session_id: &str,
        token: &str,
    ) -> Option<(SharedRecord, mpsc::Sender<Command>)> {
        let life = locked(&self.faults).token;
        let mut sessions = locked(&self.sessions);
        let entry = sessions.entries.get_mut(session_id)?;
        let commands = entry.commands.clone()?;
        let is_valid = entry.token.redeem(token, life, clock::now());
        is_valid.then(|| (entry.record.clone(), commands))
    }

    /// Returns the current faults.
    pub(super) fn faults(&self) -> Faults {
        locked(&self.faults).clone()
    }

    /// Returns a number that is increased after each change of the faults.
    pub(super) fn fault_version(&self) -> u64 {
        self.fault_version.load(Ordering::Acquire)
    }

    /// Returns the error code if this API call must fail.
    pub(super) fn fail_call(&self, operation: Operation, now: Instant) -> Option<String> {
        let mut faults = locked(&self.faults);
        let limit = faults.throttle;
        let limit = limit.filter(|_| operation == Operation::StartSession);
        let is_throttled = limit.is_some_and(|limit| !locked(&self.bucket).take(now, limit));
        let throttled = is_throttled.then(|| "ThrottlingException".to_owned());
        throttled.or_else(|| faults.fail_call(operation))
    }

    /// Returns true if the response to a successful StartSession must be dropped.
    pub(super) fn drops_response(&self) -> bool {
        locked(&self.faults).drop_response()
    }

    /// Returns the HTTP status if this upgrade must be rejected.
    pub(super) fn refuse_upgrade(&self) -> Option<u16> {
        locked(&self.faults).refuse_upgrade()
    }

    /// Replaces the faults and makes every session reload them.
    pub(super) fn change<E>(
        &self,
        change: impl FnOnce(&Faults) -> Result<Faults, E>,
    ) -> Result<(), E> {
        let mut faults = locked(&self.faults);
        *faults = change(&faults)?;
        drop(faults);
        self.fault_version.fetch_add(1, Ordering::Release);
        self.command(None, || Command::ReloadFaults);
        Ok(())
    }

    /// Injects a fault into one session or, with `None`, into all. Returns the number of sessions.
    pub(super) fn apply_fault(&self, session_id: Option<&str>, fault: OneOffFault) -> usize {
        self.command(session_id, || Command::Inject(fault))
    }

    /// Sends a command to one open session or, with `None`, to all. Returns their number.
    fn command(&self, session_id: Option<&str>, command: impl Fn() -> Command) -> usize {
        let sessions = locked(&self.sessions);
        let selected = sessions
            .entries
            .iter()
            .filter(|(id, _)| session_id.is_none_or(|wanted| wanted == *id))
            .filter_map(|(_, entry)| entry.commands.as_ref());
        selected
            .filter(|commands| commands.try_send(command()).is_ok())
            .count()
    }

    pub(super) fn is_offline(&self, target: &str) -> bool {
        locked(&self.offline).contains(target)
            || locked(&self.ecs).is_connected(target) == Some(false)
    }

    /// Reads the services of ECS.
    pub(super) fn with_ecs<T>(&self, read: impl FnOnce(&Ecs) -> T) -> T {
        read(&locked(&self.ecs))
    }

    /// Changes the services of ECS. The agents of tasks that have stopped crash.
    pub(super) fn change_ecs<T>(&self, change: impl FnOnce(&mut Ecs) -> T) -> T {
        let mut ecs = locked(&self.ecs);
        let changed = change(&mut ecs);
        let sessions = locked(&self.sessions);
        for entry in sessions.entries.values() {
            let is_gone = ecs.is_connected(&entry.record.lock().target) == Some(false);
            if let Some(commands) = entry.commands.as_ref().filter(|_| is_gone) {
                // If the queue is full, the session ends when its client leaves.
                drop(commands.try_send(Command::Inject(OneOffFault::KillAgent)));
            }
        }
        changed
    }

    /// Sets whether the agent of a target is offline, for new sessions.
    pub(super) fn set_offline(&self, target: &str, offline: bool) {
        let mut targets = locked(&self.offline);
        match offline {
            true => targets.insert(target.to_owned()),
            false => targets.remove(target),
        };
    }

    /// Returns the nodes for lookups by tags.
    pub(super) fn nodes(&self) -> Nodes {
        locked(&self.nodes).clone()
    }

    /// Replaces the nodes for lookups by tags.
    pub(super) fn set_nodes(&self, nodes: Nodes) {
        *locked(&self.nodes) = nodes;
    }

    /// Returns the address at which clients reach the simulator.
    pub(super) fn advertised(&self) -> SocketAddr {
        self.options.advertised.unwrap_or(self.address)
    }

    /// Returns the URL of a session's data channel.
    pub(super) fn stream_url(&self, session_id: &str) -> String {
        let scheme = if self.options.tls { "wss" } else { "ws" };
        let host = match self.options.public_names {
            true => format!("ssmmessages.{}.amazonaws.com", self.options.region),
            false => self.advertised().to_string(),
        };
        format!("{scheme}://{host}/v1/data-channel/{session_id}?role=publish_subscribe")
    }

    /// Spawns a task that runs until it ends or the simulator stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Aborts all tasks without waiting for them.
    pub(super) fn abort(&self) {
        locked(&self.tasks).abort_all();
    }

    /// Stops all tasks and waits for them.
    pub(super) async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        tasks.shutdown().await;
    }

    /// Draws a new session id and token.
    fn draw(&self) -> StartResult {
        let mut rng = locked(&self.rng);
        StartResult {
            session_id: format!("simulator-{:017x}", rng.u128(..1 << 68)),
            token: format!("{:032x}{:032x}", rng.u128(..), rng.u128(..)),
        }
    }
}

/// Result of StartSession. Has no `Debug` because it contains the token.
pub(super) struct StartResult {
    pub(super) session_id: String,
    pub(super) token: String,
}

/// One session, as known to Session Manager.
#[derive(Clone)]
pub(super) struct SessionEntry {
    /// The token expected in OpenDataChannelInput.
    token: IssuedToken,
    pub(super) record: SharedRecord,
    /// Sends commands to the task of the session; `None` once the session has ended.
    commands: Option<mpsc::Sender<Command>>,
}

impl SessionEntry {
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_none()
    }
}

/// A token and its validity. Has no `Debug` because it is a secret.
#[derive(Clone)]
struct IssuedToken {
    text: String,
    made: Instant,
    used: bool,
}

impl IssuedToken {
    fn new(text: &str, now: Instant) -> Self {
        Self {
            text: text.to_owned(),
            made: now,
            used: false,
        }
    }

    fn redeem(&mut self, text: &str, life: TokenLife, now: Instant) -> bool {
        let alive = match life {
            TokenLife::UntilResumed => true,
            TokenLife::SingleUse => !self.used,
            TokenLife::For(span) => now - self.made <= span,
        };
        let good = alive && self.text == text;
        self.used |= good;
        good
    }
}

#[derive(Default)]
struct Sessions {
    entries: BTreeMap<String, SessionEntry>,
    /// Ended sessions, oldest first.
    over: VecDeque<String>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Sessions {
    fn insert(&mut self, session_id: &str, entry: SessionEntry) {
        let _none: Option<SessionEntry> = self.entries.insert(session_id.to_owned(), entry);
    }

    fn close(&mut self, session_id: &str) {
        let Some(entry) = self.entries.get_mut(session_id) else {
            return;
        };
        if entry.commands.take().is_none() {
            return;
        }
        self.over.push_back(session_id.to_owned());
        if self.over.len() > MAX_ENDED {
            let forgotten = self.over.pop_front();
            drop(forgotten.and_then(|id| self.entries.remove(&id)));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// Capacity of the command queue of a session.
const COMMAND_CAPACITY: usize = 64;
/// Maximum number of ended sessions that are kept.
const MAX_ENDED: usize = 20_000;
