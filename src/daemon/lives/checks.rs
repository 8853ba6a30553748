//! Checks of the invariants, besides those of a client.

use std::time::{Duration, Instant};

use super::life::Life;
use super::panic_hook;
use super::script::{ClientSpec, FORWARDS, Temper};
use super::status::status;
use super::tally::{self, Happening};
use super::world::{CONNECT_TIMEOUT, MAX_CONNECTIONS};
use crate::clock;
use crate::sim::SessionRecord;

impl Life {
    /// Remembers the sessions whose websockets are dead from now on. While a client does not read,
    /// its session is not tested. A session that a killed daemon has left is nobody's.
    pub(super) fn expect_resumes(&mut self) {
        if self.has_slow_client(None) || self.may_leave_sessions {
            return;
        }
        let sessions = self.world.simulator.ledger().sessions;
        let open = sessions
            .into_iter()
            .filter(|session| session.ended_us.is_none());
        self.dead = open
            .map(|session| (session.session_id, session.attached))
            .collect();
    }

    /// Checks that these sessions have other websockets, unless something else has happened.
    pub(super) fn check_resumed(&mut self) -> Result<(), String> {
        let ledger = self.world.simulator.ledger();
        if !self.dead.is_empty() {
            tally::count(Happening::ResumeAfterSuspend);
        }
        for (id, attached) in std::mem::take(&mut self.dead) {
            let session = ledger.session(&id);
            let open = session.filter(|session| session.ended_us.is_none());
            if open.is_some_and(|session| session.attached <= attached) {
                return Err(format!("{id} is not resumed after a suspend"));
            }
        }
        Ok(())
    }

    /// Checks what must hold at any time.
    pub(super) async fn check(&mut self) -> Result<(), String> {
        if let Some(panic) = panic_hook::unexpected() {
            return Err(panic);
        }
        if let Some((client, at)) = self.world.truth.wrong() {
            return Err(format!("the byte at {at} of client {client} is wrong"));
        }
        self.check_resumes()?;
        let status = status().await?;
        self.check_answered(status.is_some())?;
        let Some(status) = status else {
            return Ok(());
        };
        if status.connections > MAX_CONNECTIONS {
            return Err(format!("{} connections are open", status.connections));
        }
        self.check_sessions(&status)?;
        if !status.alive && !Self::may_be_lost() {
            return Err("status: the accept loops do not respond".to_owned());
        }
        Ok(())
    }

    /// Checks that no connection waits for a session longer than `connect_timeout`: those that wait
    /// have come since.
    pub(super) async fn check_waiting(&mut self, now: Instant) -> Result<(), String> {
        let is_late = |(at, _): &mut (Instant, u8)| *at + MAX_WAITING <= now;
        while self.arrivals.pop_front_if(is_late).is_some() {}
        let Some(status) = status().await? else {
            return Ok(());
        };
        for (forward, report) in (0..FORWARDS).zip(&status.forwards) {
            let recent = self
                .arrivals
                .iter()
                .filter(|(_, of)| *of == forward)
                .count();
            if report.waiting > recent {
                return Err(format!(
                    "{}: {} connections are waiting, and only {recent} came in time",
                    report.name, report.waiting
                ));
            }
        }
        Ok(())
    }

    /// Checks that every forward serves, and that nothing is left of former clients.
    pub(super) async fn check_recovered(&mut self) -> Result<(), String> {
        self.disturbed_until = clock::now();
        for forward in 0..FORWARDS {
            let (temper, up, down) = (Temper::Request, 1000, 2000);
            self.start_client(ClientSpec {
                forward,
                temper,
                up,
                down,
            });
        }
        let end = clock::now() + Duration::from_secs(60);
        while !self.clients.is_empty() && clock::now() < end {
            self.pass(Duration::from_secs(1)).await?;
        }
        if !self.clients.is_empty() {
            return Err("the daemon has not recovered: a client was not served".to_owned());
        }
        self.pass(Duration::from_secs(90)).await?;
        self.check_unused().await
    }

    /// Checks that gauges, permits and sessions are those of an unused daemon.
    async fn check_unused(&mut self) -> Result<(), String> {
        let status = status().await?.ok_or("the daemon does not serve /status")?;
        // The last reload is that of the recovery.
        if status.reloads > 1 {
            tally::count(Happening::Reload);
        }
        if status.failed_reloads > 0 {
            tally::count(Happening::FailedReload);
        }
        let mut sessions = 0;
        for forward in &status.forwards {
            let name = &forward.name;
            if forward.connections > 0 || forward.waiting > 0 {
                return Err(format!(
                    "{name}: {} connections and {} waiting, but there are no clients",
                    forward.connections, forward.waiting
                ));
            }
            if let Some(failure) = &forward.failure {
                return Err(format!("{name}: status reports {} for ever", failure.error));
            }
            sessions += forward.sessions;
        }
        if status.connections > 0 || !status.finishing.is_empty() {
            return Err(format!(
                "{} connections, {:?} finishing, but there are no clients",
                status.connections, status.finishing
            ));
        }
        let open = self.world.simulator.open_sessions();
        if open != sessions && !self.may_leave_sessions {
            return Err(format!("{open} sessions at AWS, {sessions} in the status"));
        }
        let shared = self
            .world
            .daemon
            .as_mut()
            .and_then(|daemon| daemon.shared());
        let shared = shared.ok_or("the daemon has not started")?;
        match (shared.permits.available_permits(), shared.budget.taken()) {
            (MAX_CONNECTIONS, 0) => Ok(()),
            left => Err(format!(
                "permits and reorder budget do not return: {left:?}"
            )),
        }
    }

    /// Checks that the sessions of a killed daemon are in its journal.
    pub(super) fn check_journal(&self) -> Result<(), String> {
        let journal = self.world.journal();
        let sessions = self.world.simulator.ledger().sessions;
        let used = |session: &&SessionRecord| session.ended_us.is_none() && session.attached > 0;
        let lost = sessions
            .iter()
            .filter(used)
            .find(|session| !journal.contains(&session.session_id));
        match lost.filter(|_| !self.has_bad_disk) {
            Some(lost) => Err(format!(
                "{} is not in the journal of a killed daemon",
                lost.session_id
            )),
            None => Ok(()),
        }
    }
}

/// How long a connection may wait for a session, and before for an accept loop that pauses.
pub(super) const MAX_WAITING: Duration =
    Duration::from_millis(CONNECT_TIMEOUT.as_secs() * 1000 + 2000);
