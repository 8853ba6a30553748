//! One life: the events of a script happen to a daemon; then it must recover, and stop with nothing
//! left.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::checks::MAX_WAITING;
use super::client::{Client, Outcome, Patience};
use super::disturbance::Disturbance;
use super::events::Undo;
use super::panic_hook;
use super::readiness::Claims;
use super::script::{ClientSpec, Script, Temper};
use super::tally::{self, Happening};
use super::world::{MAX_CONNECTIONS, World, address};
use crate::blocking::virtual_disk::{self, Disk};
use crate::clock;
use crate::mutants;
use crate::session::virtual_provider;
use crate::virtual_net::{self, PollLimit, Reach};

/// Lives one life.
///
/// # Errors
///
/// Describes the first invariant that did not hold.
pub(super) fn live(script: &Script) -> Result<(), String> {
    let _log = super::log::print();
    panic_hook::begin();
    mutants::set_small_buffers(true);
    let run = || virtual_net::run(script.seed, MAX_POLLS, Life::run(script));
    let lived = catch_unwind(AssertUnwindSafe(run));
    virtual_disk::set(Disk::Good);
    crate::panics::disarm_here();
    mutants::set_small_buffers(false);
    let lived =
        lived.unwrap_or_else(|payload| Err(crate::panics::Panic::new(&*payload).to_string()));
    // A caught panic is the cause of what follows from it.
    panic_hook::unexpected().map_or(lived, Err)
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
    pub(super) begin: Instant,
    pub(super) clients: JoinSet<Result<(u32, Outcome), String>>,
    /// Commands over the admin socket.
    pub(super) commands: JoinSet<Result<(), String>>,
    count: u32,
    /// Clients that no event may have disturbed, with their tempers.
    undisturbed: BTreeMap<u32, Temper>,
    /// Sessions whose websockets died in a suspend, and how many they had.
    pub(super) dead: Vec<(String, u64)>,
    /// When clients have come, and to which forwards.
    pub(super) arrivals: VecDeque<(Instant, u8)>,
    /// When the last disturbance begins to be forgotten.
    pub(super) disturbed_until: Instant,
    /// The clients that have not ended, and when they came.
    pub(super) present: BTreeMap<u32, (ClientSpec, Instant)>,
    pub(super) claims: Claims,
    next_check: Instant,
    pub(super) patience: Patience,
    /// What ends later, by its time.
    pub(super) undo: BTreeMap<Instant, Vec<Undo>>,
    /// The daemon was not permitted to terminate sessions, or was killed before its journal was
    /// written.
    pub(super) may_leave_sessions: bool,
    /// The journal could not be written, or not at once, for some time.
    pub(super) has_bad_disk: bool,
    /// AWS has rejected valid credentials, so the daemon may need others at any time.
    pub(super) needs_credentials: bool,
    /// Until then, a start may fail because of the disk.
    pub(super) disk_until: Instant,
}

impl Life {
    async fn run(script: &Script) -> Result<(), String> {
        let mut life = Self {
            world: World::new(script.seed).await,
            begin: clock::now(),
            clients: JoinSet::new(),
            commands: JoinSet::new(),
            count: 0,
            undisturbed: BTreeMap::new(),
            dead: Vec::new(),
            arrivals: VecDeque::new(),
            disturbed_until: clock::now(),
            present: BTreeMap::new(),
            claims: Claims::new(),
            next_check: clock::now() + CHECK_INTERVAL,
            patience: Patience::new(),
            undo: BTreeMap::new(),
            may_leave_sessions: false,
            has_bad_disk: false,
            needs_credentials: false,
            disk_until: clock::now(),
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
        let is_crowded = self.present.len() >= MAX_CONNECTIONS;
        if is_crowded {
            tally::count(Happening::Crowd);
            // Clients that find no free slot are no failure of their forward.
            self.claims.replace();
        }
        self.present.insert(self.count, (spec, clock::now()));
        // On a shared session, it may stop the others, and end those that are quiet for too long.
        if spec.is_slow() && spec.forward == SHARED {
            let present = &self.present;
            let of_shared = |client: &u32| match present.get(client) {
                Some((spec, _)) => spec.forward == SHARED,
                None => false,
            };
            self.undisturbed
                .retain(|client, temper| *temper != Temper::HalfClose || !of_shared(client));
        }
        let may_be_stopped = spec.temper == Temper::HalfClose
            && spec.forward == SHARED
            && self.has_slow_client(Some(SHARED));
        let is_kept = self.world.keeps(&spec) && !may_be_stopped && !is_crowded;
        if self.is_quiet() && is_kept {
            self.undisturbed.insert(self.count, spec.temper);
        }
        self.clients.spawn(client.run());
    }

    /// Returns true if a client, of one forward or any, leaves bytes unread.
    pub(super) fn has_slow_client(&self, forward: Option<u8>) -> bool {
        let clients = self.present.values().map(|(spec, _)| spec);
        clients
            .filter(|spec| forward.is_none_or(|forward| spec.forward == forward))
            .any(ClientSpec::is_slow)
    }

    /// A fault has ended; its consequences may last a little.
    pub(super) fn settle(&mut self) {
        self.disturbed_until = self.disturbed_until.max(clock::now() + SETTLING);
    }

    /// Returns true if no fault is active or was active shortly before.
    pub(super) fn is_quiet(&self) -> bool {
        self.undo.is_empty() && clock::now() >= self.disturbed_until
    }

    /// Something happens that may break connections, now or for some time after it has ended.
    pub(super) fn disturb(&mut self, disturbance: Disturbance) {
        let truth = &self.world.truth;
        let survives = |client: u32, temper: Temper| match disturbance {
            Disturbance::None => true,
            Disturbance::Pending => truth.of(client).is_some(),
            Disturbance::PendingAndHalfClosed => {
                truth.of(client).is_some() && temper != Temper::HalfClose
            }
            Disturbance::All => false,
        };
        self.undisturbed
            .retain(|client, temper| survives(*client, *temper));
        if disturbance != Disturbance::None {
            self.dead.clear();
            self.claims.begin_detection();
            self.disturbed_until = clock::now() + RECOVERY;
        }
    }

    /// Returns true if a panic was injected: the daemon may have lost a part, and end by itself.
    pub(super) fn may_be_lost() -> bool {
        panic_hook::injected() > 0
    }

    /// Lets time pass, and checks what must always hold.
    pub(super) async fn pass_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let undo_at = self.undo.keys().next().copied();
            let late_at = self.arrivals.front().map(|(at, _)| *at + MAX_WAITING);
            let next = [Some(until), Some(self.next_check), undo_at, late_at];
            let next = next.into_iter().flatten().min().unwrap_or(until);
            let daemon = self.world.daemon.as_mut().expect("it is running");
            tokio::select! {
                biased;
                Some(client) = self.clients.join_next() => self.check_client(client).await?,
                Some(command) = self.commands.join_next() => {
                    command.unwrap_or_else(|error| Err(error.to_string()))?;
                }
                ended = daemon.ended() => self.handle_lost(ended)?,
                () = sleep_until(next.into()) => {
                    self.undo_until(next)?;
                    if late_at.is_some_and(|late| next >= late) {
                        self.check_waiting(next).await?;
                    }
                    if next >= self.next_check {
                        self.next_check = next + CHECK_INTERVAL;
                        self.check().await?;
                    }
                    if next >= until {
                        return Ok(());
                    }
                }
            }
        }
    }

    pub(super) async fn pass(&mut self, duration: Duration) -> Result<(), String> {
        self.pass_until(clock::now() + duration).await
    }

    async fn check_client(
        &mut self,
        client: Result<Result<(u32, Outcome), String>, tokio::task::JoinError>,
    ) -> Result<(), String> {
        let (number, outcome) = client.map_err(|error| error.to_string())??;
        let is_lost = matches!(outcome, Outcome::Reset | Outcome::Refused);
        if is_lost && let Some(temper) = self.undisturbed.remove(&number) {
            return Err(format!(
                "client {number} ({temper:?}) was reset without a cause"
            ));
        }
        self.check_failing(number, outcome).await?;
        let client = self.present.remove(&number);
        let served = match client.filter(|_| outcome == Outcome::Complete) {
            Some((spec, _)) if spec.forward == 1 => Happening::ServedWarm,
            Some((spec, _)) if spec.forward == 2 => Happening::ServedShared,
            Some((spec, _)) if spec.forward == 3 => Happening::ServedUnix,
            Some(_) | None => return Ok(()),
        };
        tally::count(served);
        Ok(())
    }

    /// The daemon has ended by itself, which only an injected panic may cause.
    fn handle_lost(&mut self, ended: Result<(), String>) -> Result<(), String> {
        // A start fails if the disk does not respond; the service manager repeats it.
        if !Self::may_be_lost() && clock::now() > self.disk_until {
            return Err(format!("the daemon has ended by itself: {ended:?}"));
        }
        self.patience.extend(Duration::ZERO);
        self.disturb(Disturbance::All);
        self.start_daemon();
        Ok(())
    }

    pub(super) fn start_daemon(&mut self) {
        self.claims.replace();
        self.world.start_daemon();
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
        // After a client that did not read, its websocket is tested again.
        self.pass(DETECTION).await
    }

    fn signal(&self, signal: i32) {
        if let Some(daemon) = &self.world.daemon {
            daemon.signal(signal);
        }
    }

    pub(super) fn reload(&mut self) {
        self.claims.replace();
        virtual_provider::forget();
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

/// Longer than a broken websocket is unnoticed, while all clients read.
pub(super) const DETECTION: Duration = Duration::from_secs(60);

/// Longer than the circuit breaker stays open after a failure.
const SETTLING: Duration = Duration::from_secs(20);

/// The forward with a shared session.
const SHARED: u8 = 2;

/// Longer than any client stays.
const MAX_CLIENT: Duration = Duration::from_secs(2400);
