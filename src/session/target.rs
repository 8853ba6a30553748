//! From what a person named to a session on a node: one target after the other, and of each the
//! nodes that it means.

use std::collections::BTreeMap;
use std::fmt;

use super::aws::{Found, Service};
use super::error::{Error, Kind};
use super::terminator::Sessions;
use super::urgency::Urgency;
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
        tell: impl Fn(Progress),
    ) -> Result<Session, Error> {
        let attempt = Attempt {
            sessions: self,
            service,
            request,
            urgency,
            tell: &tell,
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
