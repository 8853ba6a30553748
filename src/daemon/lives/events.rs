//! Applies the events of a script.

use std::time::Duration;

use super::admin;
use super::disturbance::Disturbance;
use super::life::Life;
use super::script::{AdminCommand, Break, Call, ClientSpec, Code, Event, Provider, Stop, Temper};
use super::tally::{self, Happening};
use super::world::{TARGET, World};
use crate::blocking::virtual_disk::{self, Disk};
use crate::clock::{self, virtual_time};
use crate::panics;
use crate::session::virtual_provider::{self, Condition, RENEWAL};
use crate::sim::{
    ApiFault, BreakEvery, DisconnectKind, DroppedResponses, OneOffFault, Operation, RefusedUpgrades,
};
use crate::virtual_net::Reach;

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    Aws,
    Destination,
    Offline,
    /// A fault that begins, and its seconds.
    ProviderBegins(Condition, u64),
    Provider,
    Disk,
    Stable,
    /// The simulator ends it.
    Nothing,
    Pause,
    /// Faults of calls that were not made, and panics of tasks that did not run.
    Pending,
    /// Check that the sessions have noticed the end of a suspend.
    Awake,
}

impl Life {
    /// Makes an event happen.
    pub(super) async fn apply(&mut self, event: &Event) -> Result<(), String> {
        if let Event::Client(spec) = event {
            self.start_client(*spec);
            return Ok(());
        }
        self.patience.extend(Duration::ZERO);
        let was_quiet = self.is_quiet();
        self.tally(event);
        let disturbance = Disturbance::of(event);
        // Without input, the mux of an old agent ends.
        let ends_mux = disturbance == Disturbance::PendingAndHalfClosed;
        self.disturb(match ends_mux && self.world.has_old_agent {
            true => Disturbance::All,
            false => disturbance,
        });
        self.apply_fault(event, was_quiet);
        if *event == Event::Kill {
            self.may_leave_sessions |= self.has_bad_disk;
            self.kill_daemon().await;
        } else if let Event::Restart(stop) = event {
            self.stop_daemon(*stop).await?;
        } else {
            return Ok(());
        }
        self.check_journal()?;
        self.start_daemon();
        self.patience.extend(Duration::ZERO);
        Ok(())
    }

    fn apply_fault(&mut self, event: &Event, was_quiet: bool) {
        let simulator = &self.world.simulator;
        let inject = |fault| {
            simulator.inject(None, fault);
        };
        match *event {
            Event::Client(_) | Event::Kill | Event::Restart(_) => {}
            Event::Admin(command) => {
                if command == AdminCommand::Reload {
                    self.claims.replace();
                    virtual_provider::forget();
                }
                self.commands.spawn(admin::command(command));
            }
            Event::Websockets(how) => inject(OneOffFault::Break(kind(how))),
            Event::NetworkCut => World::aws().cut(),
            Event::NetworkSilent(seconds) => {
                Self::set_aws(Reach::Silent);
                // Some routers forget the connections meanwhile.
                if seconds % 2 == 0 {
                    World::aws().lose_streams();
                }
                self.undo_after(seconds, Undo::Aws);
            }
            Event::WebsocketsUnstable(seconds) => {
                let mut faults = simulator.faults();
                faults.break_every = Some(BreakEvery {
                    every: UNSTABLE,
                    manner: DisconnectKind::Close(1000),
                });
                simulator.set_faults(faults);
                self.undo_after(seconds, Undo::Stable);
            }
            Event::NetworkRefused(seconds) => {
                Self::set_aws(Reach::Refused);
                World::aws().cut();
                self.undo_after(seconds, Undo::Aws);
            }
            Event::MachineSleeps(seconds) => {
                inject(OneOffFault::Break(DisconnectKind::BlackHole));
                if was_quiet {
                    self.expect_resumes();
                    self.undo_after(MAX_WAKING, Undo::Awake);
                }
                virtual_time::set_wall_forward(Duration::from_secs(seconds));
                // The credentials may have expired.
                if !virtual_provider::is_good() {
                    self.disturb(Disturbance::All);
                }
            }
            Event::AgentCrash => inject(OneOffFault::KillAgent),
            Event::AgentAway(seconds) => {
                inject(OneOffFault::AgentAway(Duration::from_secs(seconds)));
                self.patience.extend(Duration::from_secs(seconds));
                self.undo_after(seconds, Undo::Nothing);
            }
            Event::Offline(seconds) => {
                simulator.set_offline(TARGET, true);
                self.undo_after(seconds, Undo::Offline);
            }
            Event::Pauses(times) => {
                for time in 0..times {
                    self.undo_after(u64::from(time) * 7, Undo::Pause);
                }
            }
            Event::CallsFail(call, code, times) => {
                let fault = ApiFault {
                    code: name(code).to_owned(),
                    times: Some(times),
                };
                simulator.fail(operation(call), fault);
                self.undo_after(PENDING, Undo::Pending);
                // The daemon drops the credentials: others may have the permission.
                self.needs_credentials |= matches!(code, Code::ExpiredToken | Code::AccessDenied);
                self.may_leave_sessions |= (call, code) == (Call::Terminate, Code::AccessDenied);
            }
            Event::Throttled(seconds) => {
                let code = name(Code::Throttling).to_owned();
                simulator.fail(Operation::StartSession, ApiFault { code, times: None });
                self.undo_after(seconds, Undo::Pending);
            }
            Event::ResponsesLost(times) => {
                let mut faults = simulator.faults();
                faults.drop_responses = Some(DroppedResponses { times: Some(times) });
                simulator.set_faults(faults);
                self.undo_after(PENDING, Undo::Pending);
            }
            Event::UpgradesRefused(status, times) => {
                let mut faults = simulator.faults();
                faults.refuse_upgrades = Some(RefusedUpgrades {
                    status,
                    times: Some(times),
                });
                simulator.set_faults(faults);
                self.undo_after(PENDING, Undo::Pending);
            }
            Event::Provider(how, seconds) => {
                // When the credentials must be renewed; at other times nobody asks.
                let wait = virtual_provider::valid_for()
                    .saturating_sub(RENEWAL)
                    .as_secs();
                let begins = Undo::ProviderBegins(condition(how, seconds), seconds);
                self.undo_after(wait, begins);
            }
            Event::CredentialsExpire(seconds) => {
                virtual_provider::set_life(Duration::from_secs(seconds));
            }
            Event::DestinationSilent(seconds) => {
                World::destination().set_reach(Reach::Silent);
                self.patience.extend(Duration::from_secs(seconds));
                self.undo_after(seconds, Undo::Destination);
            }
            Event::DestinationRefused(seconds) => {
                World::destination().set_reach(Reach::Refused);
                self.undo_after(seconds, Undo::Destination);
            }
            Event::Reload(variant) => {
                self.world.configure(variant);
                self.reload();
            }
            Event::BadReload => {
                self.world.break_configuration();
                self.reload();
            }
            Event::DumpConnections => self.dump_connections(),
            Event::RetryNow => self.retry_now(),
            Event::Panic(point) => {
                panics::arm_here(point.name());
                self.undo_after(PENDING, Undo::Pending);
            }
            Event::DiskFull(seconds) => {
                virtual_disk::set(Disk::Full);
                self.has_bad_disk = true;
                self.undo_after(seconds, Undo::Disk);
            }
            Event::DiskSlow(seconds) => {
                virtual_disk::set(Disk::Slow(Duration::from_secs(seconds)));
                self.disk_until = clock::now() + Duration::from_secs(seconds) + MAX_START;
                self.has_bad_disk = true;
                self.undo_after(seconds, Undo::Disk);
            }
        }
    }

    /// Counts an event that hits something.
    fn tally(&self, event: &Event) {
        let is_moving = self.world.truth.is_moving();
        let is_used = self.world.truth.is_used();
        let is_outage = matches!(event, Event::NetworkSilent(_) | Event::NetworkRefused(_));
        let is_drain = matches!(event, Event::Restart(Stop::Signal | Stop::Command));
        let happening = match () {
            () if matches!(event, Event::Websockets(_)) && is_moving => Happening::CloseInFlight,
            () if is_outage && is_moving => Happening::OutageInFlight,
            () if is_drain && is_used => Happening::Drain,
            () if matches!(event, Event::Restart(_)) && is_used => Happening::ForcedStop,
            () if *event == Event::Kill && is_used => Happening::Kill,
            () => return,
        };
        tally::count(happening);
    }

    /// The provider misbehaves from now on. No connection may be lost while the credentials of its
    /// last answer are valid.
    fn begin_provider(&mut self, condition: Condition, seconds: u64) {
        let needed = Duration::from_secs(seconds) + MARGIN;
        if virtual_provider::valid_for() < needed || self.needs_credentials {
            self.disturb(Disturbance::All);
        }
        virtual_provider::set(condition);
        // The first one makes the daemon ask the provider; the second one must not wait.
        for forward in [0, 3] {
            let (temper, up, down) = (Temper::Request, 100, 100);
            self.start_client(ClientSpec {
                forward,
                temper,
                up,
                down,
            });
        }
        self.undo_after(seconds, Undo::Provider);
    }

    fn undo_after(&mut self, seconds: u64, undo: Undo) {
        let at = clock::now() + Duration::from_secs(seconds);
        self.undo.entry(at).or_default().push(undo);
    }

    /// Ends the faults whose time has come.
    pub(super) fn undo_until(&mut self, now: std::time::Instant) -> Result<(), String> {
        while let Some(entry) = self.undo.first_entry().filter(|entry| *entry.key() <= now) {
            for undo in entry.remove() {
                match undo {
                    Undo::Aws => {
                        World::aws().set_reach(Reach::Open);
                        self.claims.begin_detection();
                    }
                    Undo::Destination => World::destination().set_reach(Reach::Open),
                    Undo::Offline => {
                        self.world.simulator.set_offline(TARGET, false);
                        self.settle();
                    }
                    Undo::ProviderBegins(condition, seconds) => {
                        self.begin_provider(condition, seconds);
                    }
                    Undo::Provider => {
                        virtual_provider::set(Condition::Good);
                        // A request that has begun may still wait.
                        if virtual_provider::valid_for().is_zero() || self.needs_credentials {
                            self.disturb(Disturbance::Pending);
                        }
                    }
                    Undo::Disk => virtual_disk::set(Disk::Good),
                    Undo::Stable => {
                        let mut faults = self.world.simulator.faults();
                        faults.break_every = None;
                        self.world.simulator.set_faults(faults);
                    }
                    Undo::Nothing => {}
                    Undo::Pending => {
                        self.world.forget_pending();
                        self.settle();
                    }
                    Undo::Awake => self.check_resumed()?,
                    Undo::Pause => {
                        self.world.simulator.inject(None, OneOffFault::PauseClient);
                    }
                }
            }
            self.patience.extend(Duration::ZERO);
        }
        Ok(())
    }
}

/// After this time in seconds, a fault is forgotten that has hit nothing.
const PENDING: u64 = 60;

/// In seconds: until a suspend is detected, until a test of a websocket has failed, and until the
/// session is resumed.
const MAX_WAKING: u64 = 5 + 5 + 5;

/// Longer than a start waits for the disk.
const MAX_START: Duration = Duration::from_secs(25);

/// Too short for any data.
const UNSTABLE: Duration = Duration::from_millis(10);

/// Longer than a client of an unused forward needs.
const MARGIN: Duration = Duration::from_secs(60);

fn kind(how: Break) -> DisconnectKind {
    match how {
        Break::Close => DisconnectKind::Close(1000),
        Break::Fin => DisconnectKind::Fin,
        Break::Reset => DisconnectKind::Reset,
        Break::BlackHole => DisconnectKind::BlackHole,
    }
}

fn operation(call: Call) -> Operation {
    match call {
        Call::Start => Operation::StartSession,
        Call::Resume => Operation::ResumeSession,
        Call::Terminate => Operation::TerminateSession,
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Throttling => "ThrottlingException",
        Code::Internal => "InternalServerError",
        Code::ExpiredToken => "ExpiredTokenException",
        Code::AccessDenied => "AccessDeniedException",
    }
}

fn condition(how: Provider, seconds: u64) -> Condition {
    match how {
        Provider::Hangs => Condition::Hanging,
        Provider::Fails => Condition::Failing,
        Provider::Slow => Condition::Slow(Duration::from_secs(seconds / 2)),
    }
}
