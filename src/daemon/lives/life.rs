//! One life: the events of a script happen to a daemon; then it must recover, and stop with nothing
//! left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::checks::MAX_WAITING;
use super::client::{Client, Outcome, Patience};
use super::events::Undo;
use super::script::{ClientSpec, Script};
use super::world::{World, address};
use crate::blocking::virtual_disk::{self, Disk};
use crate::clock;
use crate::virtual_net::{self, PollLimit, Reach};

/// Lives one life.
///
/// # Errors
///
/// Describes the first invariant that did not hold.
pub(super) fn live(script: &Script) -> Result<(), String> {
    let _log = super::log::print();
    let run = || virtual_net::run(script.seed, MAX_POLLS, Life::run(script));
    let lived = catch_unwind(AssertUnwindSafe(run));
    virtual_disk::set(Disk::Good);
    crate::panics::disarm_here();
    lived.unwrap_or_else(|payload| Err(crate::panics::Panic::new(&*payload).to_string()))
}

/// Lives one life. Returns its result, and what differs if anything in it does: the final random
/// number and the number of polls.
pub(super) fn traced(script: &Script) -> (Result<(), String>, u64, u64) {
    let lived = live(script);
    (lived, fastrand::u64(..), virtual_net::total_polls())
}

/// A life in progress.
pub(super) struct Life {
    pub(super) world: World,
    begin: Instant,
    pub(super) clients: JoinSet<Result<(u32, Outcome), String>>,
    count: u32,
    /// Clients that nothing has disturbed since they came, or shortly before.
    undisturbed: BTreeSet<u32>,
    /// Sessions whose websockets died in a suspend, and how many they had.
    pub(super) dead: Vec<(String, u64)>,
    /// When clients have come, and to which forwards.
    pub(super) arrivals: VecDeque<(Instant, u8)>,
    /// When the last disturbance begins to be forgotten.
    pub(super) disturbed_until: Instant,
    pub(super) patience: Patience,
    /// What ends later, by its time.
    pub(super) undo: BTreeMap<Instant, Vec<Undo>>,
    /// The daemon was not permitted to terminate sessions.
    pub(super) is_denied: bool,
    /// The journal could not be written, or not at once, for some time.
    pub(super) has_bad_disk: bool,
    /// The daemon may end by itself, since a panic was injected.
    pub(super) may_be_lost: bool,
}

impl Life {
    async fn run(script: &Script) -> Result<(), String> {
        let mut life = Self {
            world: World::new(script.seed).await,
            begin: clock::now(),
            clients: JoinSet::new(),
            count: 0,
            undisturbed: BTreeSet::new(),
            dead: Vec::new(),
            arrivals: VecDeque::new(),
            disturbed_until: clock::now(),
            patience: Patience::new(),
            undo: BTreeMap::new(),
            is_denied: false,
            has_bad_disk: false,
            may_be_lost: false,
        };
        for timed in &script.events {
            life.pass_until(life.begin + Duration::from_millis(timed.at))
                .await?;
            life.apply(&timed.event).await?;
        }
        life.recover().await?;
        life.check_recovered().await?;
        life.end().await
    }

    /// Starts a client.
    pub(super) fn start_client(&mut self, spec: ClientSpec) {
        self.count += 1;
        self.arrivals.push_back((clock::now(), spec.forward));
        let client = Client {
            number: self.count,
            spec,
            address: address(spec.forward),
            truth: Arc::clone(&self.world.truth),
            patience: self.patience.clone(),
        };
        if self.is_quiet() && !self.world.has_disabled {
            self.undisturbed.insert(self.count);
        }
        self.clients.spawn(client.run());
    }

    /// Returns true if no fault is active or was active shortly before.
    pub(super) fn is_quiet(&self) -> bool {
        self.undo.is_empty() && clock::now() >= self.disturbed_until
    }

    /// Something happens that may break connections, now or for some time after it has ended.
    pub(super) fn disturb(&mut self) {
        self.undisturbed.clear();
        self.dead.clear();
        self.disturbed_until = clock::now() + RECOVERY;
    }

    /// Lets time pass, and checks what must always hold.
    pub(super) async fn pass_until(&mut self, until: Instant) -> Result<(), String> {
        let mut next_check = clock::now() + CHECK_INTERVAL;
        loop {
            let undo_at = self.undo.keys().next().copied();
            let late_at = self.arrivals.front().map(|(at, _)| *at + MAX_WAITING);
            let next = [Some(until), Some(next_check), undo_at, late_at];
            let next = next.into_iter().flatten().min().unwrap_or(until);
            let daemon = self.world.daemon.as_mut().expect("it is running");
            tokio::select! {
                biased;
                Some(client) = self.clients.join_next() => self.check_client(client)?,
                ended = daemon.ended() => self.handle_lost(ended)?,
                () = sleep_until(next.into()) => {
                    self.undo_until(next)?;
                    if next >= until {
                        return Ok(());
                    }
                    if late_at.is_some_and(|late| next >= late) {
                        self.check_waiting(next).await?;
                    }
                    if next >= next_check {
                        self.check().await?;
                        next_check += CHECK_INTERVAL;
                    }
                }
            }
        }
    }

    pub(super) async fn pass(&mut self, duration: Duration) -> Result<(), String> {
        self.pass_until(clock::now() + duration).await
    }

    fn check_client(
        &self,
        client: Result<Result<(u32, Outcome), String>, tokio::task::JoinError>,
    ) -> Result<(), String> {
        let (number, outcome) = client.map_err(|error| error.to_string())??;
        match self.undisturbed.contains(&number) && outcome == Outcome::Reset {
            true => Err(format!("client {number} was reset without a cause")),
            false => Ok(()),
        }
    }

    /// The daemon has ended by itself, which only an injected panic may cause.
    fn handle_lost(&mut self, ended: Result<(), String>) -> Result<(), String> {
        if !self.may_be_lost {
            return Err(format!("the daemon has ended by itself: {ended:?}"));
        }
        self.patience.extend(Duration::ZERO);
        self.disturb();
        self.world.start_daemon();
        Ok(())
    }

    /// Ends all faults, and waits until everything must work again.
    async fn recover(&mut self) -> Result<(), String> {
        while let Some(last) = self.undo.keys().next_back().copied() {
            self.pass_until(last).await?;
        }
        self.world.heal();
        self.world.configure(0);
        self.reload();
        self.pass(RECOVERY).await?;
        let end = clock::now() + MAX_CLIENT;
        while !self.clients.is_empty() {
            if clock::now() > end {
                return Err(format!("{} clients have not ended", self.clients.len()));
            }
            self.pass(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    /// Stops the daemon in order, and checks that nothing is left.
    async fn end(mut self) -> Result<(), String> {
        self.stop_daemon().await?;
        let open = self.world.simulator.open_sessions();
        if open > 0 && !self.is_denied {
            return Err(format!("{open} sessions are left after the stop"));
        }
        let journal = self.world.journal();
        // A session is kept for the next process if this one was not permitted to terminate it.
        if !journal.is_empty() && !self.is_denied && !self.has_bad_disk {
            return Err(format!(
                "{} sessions are in the journal after the stop: {journal:?}",
                journal.len()
            ));
        }
        sleep(Duration::from_secs(10)).await;
        let streams = World::aws().open_streams();
        if streams > 0 {
            return Err(format!(
                "{streams} directions of connections to AWS are open"
            ));
        }
        drop(self);
        sleep(Duration::from_secs(1)).await;
        match Handle::current().metrics().num_alive_tasks() {
            0 => Ok(()),
            tasks => Err(format!("{tasks} tasks are left")),
        }
    }

    /// Ends the daemon at once. Its tasks end one after the other; nothing that they still do may
    /// reach AWS.
    pub(super) async fn kill_daemon(&mut self) {
        let daemon = self.world.daemon.take().expect("it is running");
        let (aws, reach) = (World::aws(), World::aws().reach());
        aws.set_reach(Reach::Refused);
        aws.cut();
        daemon.kill().await;
        sleep(Duration::from_millis(1)).await;
        aws.set_reach(reach);
    }

    /// Stops the daemon in order.
    pub(super) async fn stop_daemon(&mut self) -> Result<(), String> {
        let mut daemon = self.world.daemon.take().expect("it is running");
        daemon.signal(SIGTERM);
        let ended = timeout(MAX_STOP, daemon.ended()).await;
        let ended = ended.map_err(|_| "the daemon does not stop".to_owned())?;
        match self.may_be_lost {
            true => Ok(()),
            false => ended,
        }
    }

    fn signal(&self, signal: i32) {
        if let Some(daemon) = &self.world.daemon {
            daemon.signal(signal);
        }
    }

    pub(super) fn reload(&self) {
        self.signal(SIGHUP);
    }

    pub(super) fn dump_connections(&self) {
        self.signal(SIGUSR1);
    }

    pub(super) fn retry_now(&self) {
        self.signal(SIGUSR2);
    }

    pub(super) fn set_aws(reach: Reach) {
        World::aws().set_reach(reach);
    }
}

/// How often a task may be polled within a second: a bulk transfer has 700 messages.
const MAX_POLLS: PollLimit = PollLimit(20_000);

const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Longer than every pause and hold time in the daemon.
const RECOVERY: Duration = Duration::from_secs(120);

/// Longer than any client stays.
const MAX_CLIENT: Duration = Duration::from_secs(2400);

/// Longer than all phases of a stop.
const MAX_STOP: Duration = Duration::from_secs(60);
