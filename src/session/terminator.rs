//! The task that starts sessions without being cancelled, and ends every one that was dropped.
//!
//! ```text
//!   Sessions (handle) ──start, end──▶ Terminator (task) ─▶ starts: StartSession
//!                                                       └▶ ends:   TerminateSession, a few at
//!                                                                  once, tried again when it may help
//! ```
//!
//! It outlives all forwards and is awaited last, within a bound.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{Instrument, Span, debug, warn};

use super::aws::Service;
use super::error::{Error, Kind, Recovery};
use super::{Session, StartRequest};

/// A handle by which sessions are started and ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    jobs: mpsc::UnboundedSender<Job>,
    resumptions: Arc<Semaphore>,
}

impl Sessions {
    /// A handle, and the task behind it, which its owner must run.
    pub fn new() -> (Self, Terminator) {
        // Unbounded, because a guard cannot wait when it is dropped; there are never more jobs
        // than sessions, and those have a limit.
        let (jobs, queue) = mpsc::unbounded_channel();
        let terminator = Terminator {
            queue,
            starts: JoinSet::new(),
            ends: JoinSet::new(),
            at_once: Arc::new(Semaphore::new(MAX_ENDS_AT_ONCE)),
        };
        let resumptions = Arc::new(Semaphore::new(MAX_RESUMPTIONS_AT_ONCE));
        (Self { jobs, resumptions }, terminator)
    }

    /// Waits for the right to call ResumeSession: when a network comes back, everyone wants to.
    pub(super) async fn resumption(&self) -> Option<SemaphorePermit<'_>> {
        self.resumptions.acquire().await.ok()
    }

    /// Calls StartSession. The call goes on if this future is dropped; its session is ended then.
    ///
    /// # Errors
    ///
    /// What the service says, or that the daemon is ending.
    pub async fn start(&self, service: Service, request: StartRequest) -> Result<Session, Error> {
        let ending = || Error::new("StartSession", Kind::Ended, "the daemon is stopping");
        let (reply, answer) = oneshot::channel();
        let job = Job::Start(Box::new(Start {
            service,
            request,
            reply,
            sessions: self.clone(),
            span: Span::current(),
        }));
        self.jobs.send(job).map_err(|_| ending())?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Ends a session, soon. `span` is that of the connection that it was started for.
    pub(super) fn end(&self, service: Service, id: String, span: Span) {
        if let Err(lost) = self.jobs.send(Job::End { service, id, span })
            && let Job::End { id, span, .. } = lost.0
        {
            span.in_scope(|| warn!(session = %id, "session was not ended: the daemon had stopped"));
        }
    }
}

/// The task behind [`Sessions`].
#[derive(Debug)]
pub struct Terminator {
    queue: mpsc::UnboundedReceiver<Job>,
    starts: JoinSet<()>,
    ends: JoinSet<usize>,
    at_once: Arc<Semaphore>,
}

impl Terminator {
    /// Runs until every handle is dropped and every session is ended. Returns how many may have
    /// been left behind.
    pub async fn run(mut self) -> usize {
        let mut left = 0;
        loop {
            tokio::select! {
                job = self.queue.recv() => match job {
                    Some(job) => self.take(job),
                    None => break,
                },
                Some(done) = self.starts.join_next() => left += left_behind(done.map(|()| 0)),
                Some(done) = self.ends.join_next() => left += left_behind(done),
            }
        }
        while let Some(done) = self.ends.join_next().await {
            left += left_behind(done);
        }
        left
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Start(start) => {
                let span = start.span.clone();
                self.starts.spawn(start.run().instrument(span));
            }
            Job::End { service, id, span } => {
                let end = end(service, id, Arc::clone(&self.at_once));
                self.ends.spawn(end.instrument(span));
            }
        }
    }
}

fn left_behind(outcome: Result<usize, tokio::task::JoinError>) -> usize {
    outcome.unwrap_or_else(|error| {
        warn!(%error, "a call to AWS was lost");
        1
    })
}

#[derive(Debug)]
enum Job {
    Start(Box<Start>),
    End {
        service: Service,
        id: String,
        span: Span,
    },
}

#[derive(Debug)]
struct Start {
    service: Service,
    request: StartRequest,
    reply: oneshot::Sender<Result<Session, Error>>,
    sessions: Sessions,
    span: Span,
}

impl Start {
    async fn run(self: Box<Self>) {
        let Self {
            service,
            request,
            reply,
            sessions,
            span,
        } = *self;
        let started = service.start(&request).await;
        let session = started.map(|(id, access)| {
            debug!(session = %id, target = %request.target, "session started");
            Session {
                id,
                access,
                service,
                sessions,
                span,
            }
        });
        // If nobody waits any more, the session comes back here, is dropped, and ended.
        drop(reply.send(session));
    }
}

/// Returns how many sessions may have been left behind: this one, or none.
async fn end(service: Service, id: String, at_once: Arc<Semaphore>) -> usize {
    let _permit = at_once.acquire().await;
    for pause in PAUSES {
        match service.terminate(&id).await {
            Ok(()) => {
                debug!(session = %id, "session ended");
                return 0;
            }
            Err(error) if error.recovery() == Recovery::Retry && pause > Duration::ZERO => {
                debug!(session = %id, %error, ?pause, "session not ended yet; will try again");
                tokio::time::sleep(pause).await;
            }
            Err(error) => {
                let hint = "if its data channel was open it was asked to end there too; see `aws ssm describe-sessions --state Active`";
                warn!(session = %id, %error, hint, "session may have been left behind");
                return 1;
            }
        }
    }
    1
}

/// Calls that resume sessions, at the same time.
const MAX_RESUMPTIONS_AT_ONCE: usize = 64;

/// Calls that end sessions, at the same time.
const MAX_ENDS_AT_ONCE: usize = 16;

/// Pauses between attempts to end a session; none after the last.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::ZERO,
];
