//! Checks that the status claims no session that cannot carry data, and that a forward which failed
//! to serve a client is not reported as ready.

use std::time::{Duration, Instant};

use super::checks::MAX_WAITING;
use super::client::Outcome;
use super::life::{DETECTION, Life};
use super::script::ClientSpec;
use super::status::status;
use super::world::World;
use crate::clock;
use crate::telemetry::{ForwardReport, ForwardState, StatusReport};
use crate::virtual_net::Reach;

/// What the status has claimed.
#[derive(Debug)]
pub(super) struct Claims {
    /// Since when it has claimed more sessions than can carry data.
    excess_since: Option<Instant>,
    /// The last check had no response.
    is_unanswered: bool,
    /// When the forwards or their metrics were last replaced.
    replaced: Instant,
    /// Number of checks in a row without a fault.
    quiet_checks: u32,
    /// Number of resumed websockets at the last check.
    resumes: u64,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self {
            excess_since: None,
            is_unanswered: false,
            replaced: clock::now(),
            quiet_checks: 0,
            resumes: 0,
        }
    }

    /// Something begins or ends that may cost sessions, which takes time to detect.
    pub(super) fn begin_detection(&mut self) {
        self.excess_since = None;
    }

    /// The daemon was started or reloaded.
    pub(super) fn replace(&mut self) {
        self.replaced = clock::now();
        self.excess_since = None;
        self.is_unanswered = false;
    }
}

impl Life {
    /// Checks that `/status` does not stay unanswered.
    pub(super) fn check_answered(&mut self, is_answered: bool) -> Result<(), String> {
        let was_unanswered = std::mem::replace(&mut self.claims.is_unanswered, !is_answered);
        match was_unanswered && !is_answered {
            true => Err("/status was not answered twice".to_owned()),
            false => Ok(()),
        }
    }

    /// Checks that the numbers of sessions are true, except for the time in which a loss is
    /// detected.
    pub(super) fn check_sessions(&mut self, status: &StatusReport) -> Result<(), String> {
        let sum = |of: fn(&ForwardReport) -> usize| status.forwards.iter().map(of).sum();
        let established: usize = sum(|forward| forward.sessions);
        let ready: usize = sum(|forward| forward.sessions_ready);
        let open = self.world.simulator.open_sessions();
        let excess = match World::aws().reach() {
            Reach::Open if established > open => Some((established, open)),
            Reach::Open => None,
            // No session can carry data.
            Reach::Silent | Reach::Refused => (ready > 0).then_some((ready, 0)),
        };
        // While a client does not read, the loss of its session is not noticed.
        let excess = excess.filter(|_| !self.has_slow_client(None));
        let Some((claimed, real)) = excess else {
            self.claims.excess_since = None;
            return Ok(());
        };
        let now = clock::now();
        let since = *self.claims.excess_since.get_or_insert(now);
        match now >= since + MAX_DETECTION {
            true => Err(format!(
                "the status has claimed {claimed} sessions instead of {real} for {:?}",
                now - since
            )),
            false => Ok(()),
        }
    }

    /// Returns true if a forward has had a session since some time, or one whose end was perhaps not
    /// noticed by then.
    fn had_session(&self, forward: u8, since: Instant) -> bool {
        let since = since.saturating_duration_since(self.begin + MARGIN);
        let name = format!("forward f{forward}");
        let sessions = self.world.simulator.ledger().sessions;
        sessions.iter().any(|session| {
            let ended = session.ended_us.map(Duration::from_micros);
            session.reason.contains(&name)
                && session.ready_us.is_some()
                && ended.is_none_or(|ended| ended + DETECTION >= since)
        })
    }

    /// Checks that no websocket is replaced while there is no fault.
    pub(super) fn check_resumes(&mut self) -> Result<(), String> {
        let is_quiet = self.is_quiet();
        let sessions = self.world.simulator.ledger().sessions;
        let resumes = sessions.iter().map(|session| session.resumes).sum();
        let claims = &mut self.claims;
        claims.quiet_checks = if is_quiet { claims.quiet_checks + 1 } else { 0 };
        let before = std::mem::replace(&mut claims.resumes, resumes);
        match claims.quiet_checks >= QUIET_CHECKS && resumes > before {
            true => Err(format!(
                "{} sessions were resumed without a fault",
                resumes - before
            )),
            false => Ok(()),
        }
    }

    /// A client has ended. If it was the only one of its forward and got no session, the forward
    /// must not be ready.
    pub(super) async fn check_failing(&self, number: u32, outcome: Outcome) -> Result<(), String> {
        let Some((spec, came)) = self.present.get(&number) else {
            return Ok(());
        };
        let of_same = |(other, _): &&(ClientSpec, Instant)| other.forward == spec.forward;
        let is_alone = self.present.values().filter(of_same).count() == 1;
        let has_waited = clock::now() < *came + MAX_WAITING + MARGIN;
        let has_arrived = self.world.truth.of(number).is_some();
        if outcome != Outcome::Reset
            || !has_waited
            || has_arrived
            || !is_alone
            || self.had_session(spec.forward, *came)
            || *came < self.claims.replaced + SETTLING
            || Self::may_be_lost()
        {
            return Ok(());
        }
        let Some(status) = status().await?.filter(|status| !status.stopping) else {
            return Ok(());
        };
        let forward = status.forwards.get(usize::from(spec.forward));
        match forward {
            Some(forward) if forward.state == ForwardState::Ready && forward.sessions == 0 => {
                Err(format!(
                    "{} is reported as ready, but client {number} was reset and there is no session",
                    forward.name
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Longer than the silence after which a websocket is dead, and the test after a suspend.
const MAX_DETECTION: Duration = Duration::from_secs(50);

/// In minutes: longer than the time in which the last fault may cost a websocket, plus one.
const QUIET_CHECKS: u32 = 4;

/// Longer than a client needs to see the reset, and than the start of the simulator.
const MARGIN: Duration = Duration::from_secs(1);

/// Longer than a reload takes.
const SETTLING: Duration = Duration::from_secs(40);
