//! One StartSession call and its session.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;
use tracing::{Span, debug, warn};

use super::lost::Lost;
use super::{Command, Sessions, internal, stopping_error, unix_seconds};
use crate::panics::{self, caught};
use crate::session::aws::{SsmClient, Started};
use crate::session::error::{Effect, Error, ErrorKind};
use crate::session::journal::JournalEntry;
use crate::session::priority::Priority;
use crate::session::registry::Registration;
use crate::session::start::{Unsettled, start};
use crate::session::terminate::{TimeLeft, reached};
use crate::session::{Session, StartRequest, StartStage};

impl Sessions {
    /// Calls StartSession when the rate limit of the service permits it; `report` is called with
    /// what it waits for then. The call continues if this future is dropped; its session is then terminated.
    /// Credentials are awaited until `deadline`.
    ///
    /// # Errors
    ///
    /// The error of the call, or that the daemon is stopping.
    pub async fn start(
        &self,
        ssm: &SsmClient,
        mut request: StartRequest,
        priority: &Priority,
        deadline: Instant,
        report: impl Fn(StartStage),
    ) -> Result<Session, Error> {
        request.reason = self.shared.reasons.unique(&request.reason);
        let (called, is_called) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let command = Command::Start(Box::new(QueuedStart {
            ssm: ssm.clone(),
            request,
            priority: priority.clone(),
            called,
            reply,
            span: Span::current(),
        }));
        self.commands.send(command).map_err(|_| stopping_error())?;
        is_called.await.map_err(|_| self.unanswered())?;
        report(StartStage::Credentials);
        // Here, so that a provider that hangs is not reported as a StartSession that does.
        ssm.await_credentials(deadline).await?;
        report(StartStage::Calling);
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }
}

/// A call that waits in the queue of its service.
#[derive(Debug)]
pub(super) struct QueuedStart {
    pub(super) ssm: SsmClient,
    pub(super) request: StartRequest,
    pub(super) priority: Priority,
    pub(super) called: oneshot::Sender<()>,
    pub(super) reply: oneshot::Sender<Result<Session, Error>>,
    pub(super) span: Span,
}

impl QueuedStart {
    /// Calls StartSession and replies. Returns how many sessions may still be active. The wait for
    /// credentials ends when the receiver of the reply is dropped.
    pub(super) async fn run(
        self: Box<Self>,
        sessions: Sessions,
        now: Instant,
        lost_sessions: Arc<AtomicUsize>,
        mut time_left: watch::Receiver<TimeLeft>,
    ) -> usize {
        let Self {
            ssm,
            request,
            priority: _,
            called,
            mut reply,
            span,
        } = *self;
        // The caller may have gone; then the session is terminated.
        let _gone = called.send(());
        let unsettled = Unsettled::new(lost_sessions);
        let abandoned = async {
            tokio::select! {
                () = reply.closed() => {}
                () = reached(&mut time_left, TimeLeft::Seconds) => {}
            }
        };
        let started = caught(async {
            panics::point("start-session");
            start(&ssm, &request, &unsettled, abandoned).await
        });
        let started = started.await;
        let is_panic = started.is_err();
        let started = match started {
            Ok(Some(started)) => started,
            // Nothing was called.
            Ok(None) => return 0,
            Err(panic) => Err(internal(&panic.to_string())),
        };
        if let Some(follow_up) = follow_up(&ssm, &started, now) {
            // Before the reply: after throttling the caller requests another permit at once.
            let _ending = sessions.commands.send(follow_up);
        }
        let is_unknown = |error: &Error| error.effect() == Effect::Unknown;
        let lost = started.as_ref().err().filter(|error| is_unknown(error));
        let lost = lost.map(|error| Lost {
            ssm: ssm.clone(),
            request: request.clone(),
            sessions: sessions.clone(),
            span: span.clone(),
            error: error.clone(),
        });
        let session = match started {
            Ok(started) => {
                let target = request.target.clone();
                sessions.keep(started, target, ssm, span).await
            }
            Err(error) => Err(error),
        };
        if let Ok(session) = &session {
            debug!(session = %session.id(), target = %request.target, "session started");
        }
        // If the receiver was dropped, the session is returned, dropped here, and terminated.
        drop(reply.send(session));
        let left = match lost {
            Some(lost) => lost.find(time_left).await,
            None => 0,
        };
        // A call that had a panic may have started a session.
        if !is_panic {
            unsettled.settle();
        }
        left
    }
}

impl Sessions {
    /// Creates the guard of a started session.
    pub(in crate::session) async fn keep(
        &self,
        started: Started,
        target: String,
        ssm: SsmClient,
        span: Span,
    ) -> Result<Session, Error> {
        let Started { id, access } = started;
        let registration = self.register(&ssm, &id).await.ok_or_else(|| {
            // One of the two guards would terminate the session of the other.
            let why = format!("Session Manager returned the id of another session: {id}");
            Error::new("StartSession", ErrorKind::ServiceFault, why)
        })?;
        match access {
            Ok(access) => Ok(Session {
                registration,
                access,
                target,
                is_supplied: false,
                ssm,
                sessions: self.clone(),
                span,
            }),
            Err(error) => {
                self.terminate(ssm, registration, span);
                Err(error)
            }
        }
    }
}

impl Sessions {
    /// Adds a session to the registry and the journal. Returns `None` if its id is already
    /// registered.
    pub(in crate::session) async fn register(
        &self,
        ssm: &SsmClient,
        id: &str,
    ) -> Option<Arc<Registration>> {
        let origin = ssm.origin();
        let registration = self.shared.registry.add(origin.clone(), id)?;
        let entry = JournalEntry {
            session: id.to_owned(),
            since: unix_seconds(),
            origin,
        };
        self.shared.journal.add(entry).await;
        Some(Arc::new(registration))
    }
}

/// Returns the count of a start. Its session is counted elsewhere if it was aborted or had a panic.
pub(super) fn counted(outcome: Result<usize, JoinError>) -> usize {
    outcome.unwrap_or_else(|error| {
        if error.is_panic() {
            warn!(%error, "the task of an AWS call failed");
        }
        0
    })
}

/// Returns what a call says about the rate that AWS allows: `None` if AWS did not answer it.
pub(super) fn follow_up(
    ssm: &SsmClient,
    started: &Result<Started, Error>,
    called: Instant,
) -> Option<Command> {
    let throttled = || Some(Command::Throttled(ssm.origin(), called));
    let answered = || Some(Command::Answered(ssm.origin(), called));
    match started {
        Ok(_) => answered(),
        Err(error) if error.kind() == ErrorKind::Throttled => throttled(),
        Err(error) if error.effect() == Effect::Answered => answered(),
        Err(_) => None,
    }
}
