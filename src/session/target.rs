//! From what a person named to a session on a node: one target after the other, and of each the
//! nodes that it means.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::aws::{Found, Service};
use super::dispatcher::Sessions;
use super::error::{Error, Kind, Transience};
use super::priority::Urgency;
use super::{Session, StartRequest};

/// A managed node, by its id or by its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its id.
    Node(String),
    /// It has all of these tags.
    Tags(BTreeMap<String, String>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => f.write_str(id),
            Self::Tags(tags) => {
                let tags = tags.iter().map(|(key, value)| format!("{key}={value}"));
                f.write_str(&tags.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// What is waited for before there is a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// DescribeInstanceInformation, to find a target by its tags.
    LookUp,
    /// The right to call StartSession.
    Turn,
    /// StartSession.
    Call,
}

impl Sessions {
    /// Starts a session on the first of the targets that is connected. Each call waits for a turn of
    /// its own; `tell` is told what is waited for. `request` asks for everything but the target.
    /// What may pass in a moment is retried within `patience` if a connection waits: a service that is
    /// not reached, and twice one that has a fault.
    ///
    /// # Errors
    ///
    /// What the service says; if no target is connected, of each what is wrong with it.
    pub async fn start_on(
        &self,
        targets: &[Target],
        service: &Service,
        request: &StartRequest,
        urgency: &Urgency,
        patience: Duration,
        tell: impl Fn(Progress),
    ) -> Result<Session, Error> {
        // Whoever waits is to hear the cause, not that its time is up.
        let mut time_is_up = pin!(sleep(patience * 7 / 8));
        let (mut pause, mut faults) = (FIRST_PAUSE, 0);
        loop {
            let trial = self.start_once(targets, service, request, urgency, &tell);
            // Boxed, because the futures of the callers would nest too deep for the compiler.
            let error = match Box::pin(trial).await {
                Err(error) if urgency.is_urgent() => error,
                outcome => return outcome,
            };
            match error.transience() {
                Transience::Unreached => {}
                Transience::Fault if faults < MAX_FAULTS => faults += 1,
                Transience::Fault | Transience::None => return Err(error),
            }
            debug!(%error, ?pause, "no session yet; retrying");
            tokio::select! {
                biased;
                () = &mut time_is_up => return Err(error),
                () = sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
            }
        }
    }

    async fn start_once(
        &self,
        targets: &[Target],
        service: &Service,
        request: &StartRequest,
        urgency: &Urgency,
        tell: &impl Fn(Progress),
    ) -> Result<Session, Error> {
        let attempt = Attempt {
            sessions: self,
            service,
            request,
            urgency,
            tell,
        };
        let mut missed = Vec::new();
        for target in targets {
            match attempt.on(target).await {
                Err(error) if error.kind() == Kind::TargetNotConnected => missed.push(error),
                outcome => return outcome,
            }
        }
        Err(Error::all(missed))
    }
}

struct Attempt<'a, F> {
    sessions: &'a Sessions,
    service: &'a Service,
    request: &'a StartRequest,
    urgency: &'a Urgency,
    tell: &'a F,
}

impl<F: Fn(Progress)> Attempt<'_, F> {
    /// Tries the nodes of a target. What was only remembered of them is looked up again before they
    /// are given up.
    async fn on(&self, target: &Target) -> Result<Session, Error> {
        let mut missed = Vec::new();
        let mut tried = Vec::new();
        loop {
            if let Target::Tags(_) = target {
                (self.tell)(Progress::LookUp);
            }
            let found = self.service.find(target).await;
            let Found {
                nodes, remembered, ..
            } = match &found {
                Ok(found) => found,
                Err(error) if tried.is_empty() => return Err(error.clone()),
                Err(_) => return Err(Error::all(missed)),
            };
            for node in nodes {
                if tried.contains(node) {
                    continue;
                }
                tried.push(node.clone());
                match self.at(node).await {
                    Err(error) if error.kind() == Kind::TargetNotConnected => missed.push(error),
                    outcome => return outcome,
                }
            }
            if let Ok(found) = &found {
                self.service.forget(target, found);
            }
            if !remembered {
                return Err(Error::all(missed));
            }
        }
    }

    async fn at(&self, node: &str) -> Result<Session, Error> {
        (self.tell)(Progress::Turn);
        let turn = self.sessions.turn(self.service, self.urgency).await?;
        (self.tell)(Progress::Call);
        let request = StartRequest {
            target: node.to_owned(),
            ..self.request.clone()
        };
        turn.start(self.service.clone(), request).await
    }
}

/// The pauses between attempts, and where doubling ends.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Faults of the service after which it is tried again: each may have cost a session.
const MAX_FAULTS: u32 = 2;
