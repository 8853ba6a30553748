//! One StartSession call, and the session that comes of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tracing::{Span, debug};

use super::lost::Lost;
use super::{Job, Sessions, ending, internal, unix_seconds};
use crate::panics::{self, caught};
use crate::session::aws::{Service, Started};
use crate::session::error::{Effect, Error, Kind};
use crate::session::journal::Entry;
use crate::session::registry::Registration;
use crate::session::start::start;
use crate::session::terminate::{TimeLeft, reached};
use crate::session::{Session, StartRequest};

/// The right to call StartSession now, once.
#[derive(Debug)]
pub struct Turn {
    pub(super) sessions: Sessions,
    pub(super) called: Instant,
}

impl Turn {
    /// Calls StartSession. The call goes on if this future is dropped; its session is ended then.
    ///
    /// # Errors
    ///
    /// What the service says, or that the daemon is ending.
    pub async fn start(
        self,
        service: Service,
        mut request: StartRequest,
    ) -> Result<Session, Error> {
        let Self { sessions, called } = self;
        request.reason = sessions.reasons.unique(&request.reason);
        let (reply, answer) = oneshot::channel();
        let handle = sessions.clone();
        let job = Job::Start(Box::new(Start {
            service,
            request,
            called,
            reply,
            sessions,
            span: Span::current(),
        }));
        handle.jobs.send(job).map_err(|_| ending())?;
        answer.await.unwrap_or_else(|_| Err(handle.unanswered()))
    }
}

#[derive(Debug)]
pub(super) struct Start {
    pub(super) service: Service,
    pub(super) request: StartRequest,
    pub(super) called: Instant,
    pub(super) reply: oneshot::Sender<Result<Session, Error>>,
    pub(super) sessions: Sessions,
    pub(super) span: Span,
}

impl Start {
    /// Calls StartSession and replies. Returns how many sessions may have been left behind.
    /// The wait for credentials ends when nobody waits for the session any more.
    pub(super) async fn run(
        self: Box<Self>,
        calling: Arc<AtomicUsize>,
        mut time_left: watch::Receiver<TimeLeft>,
    ) -> usize {
        let Self {
            service,
            request,
            called,
            mut reply,
            sessions,
            span,
        } = *self;
        let abandoned = async {
            tokio::select! {
                () = reply.closed() => {}
                () = reached(&mut time_left, TimeLeft::Soon) => {}
            }
        };
        let started = caught(async {
            panics::point("start-session");
            start(&service, &request, &calling, abandoned).await
        });
        let started = match started.await {
            Ok(Some(started)) => started,
            // Nothing was called.
            Ok(None) => return 0,
            Err(panic) => Err(internal(&panic.to_string())),
        };
        if let Some(news) = news(&service, &started, called) {
            // Before the reply: whoever was throttled asks for another turn at once.
            let _ending = sessions.jobs.send(news);
        }
        let is_unknown = |error: &Error| error.effect() == Effect::Unknown;
        let lost = started.as_ref().err().filter(|error| is_unknown(error));
        let lost = lost.map(|error| Lost {
            service: service.clone(),
            request: request.clone(),
            sessions: sessions.clone(),
            span: span.clone(),
            error: error.clone(),
        });
        let session = match started {
            Ok(started) => sessions.keep(started, service, span).await,
            Err(error) => Err(error),
        };
        if let Ok(session) = &session {
            debug!(session = %session.id(), target = %request.target, "session started");
        }
        // If nobody waits any more, the session comes back here, is dropped, and ended.
        drop(reply.send(session));
        match lost {
            Some(lost) => lost.find(&calling, time_left).await,
            None => 0,
        }
    }
}

impl Sessions {
    /// Takes over a session that was started: from here on it is ended.
    async fn keep(&self, started: Started, service: Service, span: Span) -> Result<Session, Error> {
        let Started { id, access } = started;
        let registration = self.register(&service, &id).await.ok_or_else(|| {
            // One of the two would end the other.
            let why = format!("the service gave the id of another session: {id}");
            Error::new("StartSession", Kind::ServiceFault, why)
        })?;
        match access {
            Ok(access) => Ok(Session {
                registration,
                access,
                service,
                sessions: self.clone(),
                span,
            }),
            Err(error) => {
                self.end(service, registration, span);
                Err(error)
            }
        }
    }
}

impl Sessions {
    /// Adds a session to the registry and the journal. `None` if its id is registered already.
    pub(super) async fn register(&self, service: &Service, id: &str) -> Option<Arc<Registration>> {
        let origin = service.origin();
        let registration = self.registry.add(origin.clone(), id)?;
        let entry = Entry {
            session: id.to_owned(),
            since: unix_seconds(),
            origin,
        };
        self.journal.add(entry).await;
        Some(Arc::new(registration))
    }
}

/// What a call tells about the rate that AWS allows: nothing if AWS did not answer it.
pub(super) fn news(
    service: &Service,
    started: &Result<Started, Error>,
    called: Instant,
) -> Option<Job> {
    let throttled = || Some(Job::Throttled(service.origin(), called));
    let answered = || Some(Job::Answered(service.origin(), called));
    match started {
        Ok(_) => answered(),
        Err(error) if error.kind() == Kind::Throttled => throttled(),
        Err(error) if error.effect() == Effect::Answered => answered(),
        Err(_) => None,
    }
}

/// How to find a session whose id is not known.
pub(super) const FIND_BY_REASON: &str = "its `Reason` names this program, host and forward; see `aws ssm describe-sessions --state Active`. A caller with ssm:DescribeSessions finds and ends such sessions by itself";
