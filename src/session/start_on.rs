//! Starts a session on one of several targets: tries them in order, and the nodes of each.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use tracing::debug;

use super::aws::{Resolved, SsmClient};
use super::dispatcher::Sessions;
use super::error::{Error, ErrorKind, Transience};
use super::priority::Priority;
use super::target::Target;
use super::{Session, StartRequest};
use crate::clock;

/// What a start is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStage {
    /// DescribeInstanceInformation, which finds a target by its tags.
    Resolving,
    /// ListTasks and DescribeTasks, which find a task of ECS.
    FindingTask,
    /// The rate limit of StartSession.
    RateLimit,
    /// AWS credentials.
    Credentials,
    /// StartSession.
    Calling,
}

/// A target, and the client of its region and account.
#[derive(Clone, Debug)]
pub struct RegionalTarget {
    /// The target.
    pub target: Target,
    /// The client that looks it up, and starts the session on it.
    pub ssm: SsmClient,
}

impl Sessions {
    /// Starts a session on the first connected target. Each call waits for its own rate limit
    /// permit; `report` is called with what the start is waiting for. `request` has all parameters
    /// but the target.
    ///
    /// If a connection is waiting, transient failures are retried within 7/8 of `connect_timeout`:
    /// connection errors without limit, internal errors of AWS twice.
    ///
    /// # Errors
    ///
    /// The error of the call; if no target is connected, the errors of all of them.
    pub async fn start_on(
        &self,
        targets: &[RegionalTarget],
        request: &StartRequest,
        priority: &Priority,
        connect_timeout: Duration,
        report: impl Fn(StartStage),
    ) -> Result<Session, Error> {
        // Before the caller's timeout, so that the client gets the cause instead of a timeout.
        let deadline = clock::now() + connect_timeout * 7 / 8;
        let mut time_is_up = pin!(sleep_until(deadline.into()));
        let (mut pause, mut faults) = (FIRST_PAUSE, 0);
        let attempt = Attempt {
            sessions: self,
            request,
            priority,
            deadline,
            report,
        };
        loop {
            // Boxed, because the callers' futures would nest too deeply for the compiler.
            let error = match Box::pin(attempt.try_targets(targets)).await {
                Err(error) if priority.is_urgent() => error,
                outcome => return outcome,
            };
            match error.transience() {
                Transience::Unreached => {}
                Transience::Fault if faults < MAX_FAULTS => faults += 1,
                Transience::Fault | Transience::None => return Err(error),
            }
            debug!(%error, ?pause, "StartSession failed; retrying");
            tokio::select! {
                biased;
                () = &mut time_is_up => return Err(error),
                () = sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
            }
        }
    }
}

struct Attempt<'a, F> {
    sessions: &'a Sessions,
    request: &'a StartRequest,
    priority: &'a Priority,
    /// Some time before the caller's timeout.
    deadline: Instant,
    report: F,
}

impl<F: Fn(StartStage)> Attempt<'_, F> {
    /// Tries the targets in order.
    async fn try_targets(&self, targets: &[RegionalTarget]) -> Result<Session, Error> {
        let mut not_connected = Vec::new();
        for target in targets {
            match self.on(target).await {
                Err(error) if error.kind() == ErrorKind::TargetNotConnected => {
                    not_connected.push(error);
                }
                outcome => return outcome,
            }
        }
        Err(Error::all(not_connected))
    }

    /// Tries the nodes of a target. A cached lookup is repeated before the target is given up.
    async fn on(&self, RegionalTarget { target, ssm }: &RegionalTarget) -> Result<Session, Error> {
        let mut not_connected = Vec::new();
        let mut tried = Vec::new();
        loop {
            match target {
                Target::Node(_) => {}
                Target::Tags(_) => (self.report)(StartStage::Resolving),
                Target::Ecs(_) => (self.report)(StartStage::FindingTask),
            }
            let found = ssm.find(target).await;
            let Resolved {
                nodes,
                offline,
                from_cache,
                ..
            } = match &found {
                Ok(found) => found,
                Err(error) if tried.is_empty() => return Err(error.clone()),
                Err(error) => {
                    // Also what was found now, unless the lookup itself failed.
                    let is_gone = error.kind() == ErrorKind::TargetNotConnected;
                    if is_gone && matches!(target, Target::Ecs(_)) {
                        // The tasks tried before have stopped.
                        return Err(error.clone());
                    }
                    not_connected.extend(is_gone.then(|| error.clone()));
                    return Err(Error::all(not_connected));
                }
            };
            for node in nodes {
                if tried.contains(node) {
                    continue;
                }
                tried.push(node.clone());
                match self.at(node, ssm).await {
                    Err(error) if error.kind() == ErrorKind::TargetNotConnected => {
                        not_connected.push(error);
                    }
                    outcome => return outcome,
                }
            }
            if let Ok(found) = &found {
                ssm.invalidate(target, found);
            }
            if !from_cache {
                let error = Error::all(not_connected);
                return Err(match offline {
                    Some(offline) => error.with_prefix(offline),
                    None => error,
                });
            }
        }
    }

    async fn at(&self, node: &str, ssm: &SsmClient) -> Result<Session, Error> {
        (self.report)(StartStage::RateLimit);
        let request = StartRequest {
            target: node.to_owned(),
            ..self.request.clone()
        };
        let report = |stage| (self.report)(stage);
        let (priority, deadline) = (self.priority, self.deadline);
        let start = self
            .sessions
            .start(ssm, request, priority, deadline, report);
        start.await
    }
}

/// The first pause between attempts, and the limit of its doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Maximum number of retries after internal errors of AWS: each may have started a session.
const MAX_FAULTS: u32 = 2;
