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

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::aws::Service;
use super::error::{Error, Kind, Recovery};
use super::{Session, StartRequest};

/// A handle by which sessions are started and ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    jobs: mpsc::UnboundedSender<Job>,
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
        (Self { jobs }, terminator)
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
        }));
        self.jobs.send(job).map_err(|_| ending())?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Ends a session, soon.
    pub(super) fn end(&self, service: Service, id: String) {
        if let Err(lost) = self.jobs.send(Job::End { service, id })
            && let Job::End { id, .. } = lost.0
        {
            warn!(session = %id, "session was not ended: the daemon had stopped");
        }
    }
}

/// The task behind [`Sessions`].
#[derive(Debug)]
pub struct Terminator {
    queue: mpsc::UnboundedReceiver<Job>,
    starts: JoinSet<()>,
    ends: JoinSet<()>,
    at_once: Arc<Semaphore>,
}

impl Terminator {
    /// Runs until every handle is dropped and every session is ended.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                job = self.queue.recv() => match job {
                    Some(job) => self.take(job),
                    None => break,
                },
                Some(done) = self.starts.join_next() => warn_if_panicked(done),
                Some(done) = self.ends.join_next() => warn_if_panicked(done),
            }
        }
        while let Some(done) = self.ends.join_next().await {
            warn_if_panicked(done);
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Start(start) => {
                self.starts.spawn(start.run());
            }
            Job::End { service, id } => {
                self.ends.spawn(end(service, id, Arc::clone(&self.at_once)));
            }
        }
    }
}

fn warn_if_panicked(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        warn!(%error, "a call to AWS was lost");
    }
}

#[derive(Debug)]
enum Job {
    Start(Box<Start>),
    End { service: Service, id: String },
}

#[derive(Debug)]
struct Start {
    service: Service,
    request: StartRequest,
    reply: oneshot::Sender<Result<Session, Error>>,
    sessions: Sessions,
}

impl Start {
    async fn run(self: Box<Self>) {
        let Self {
            service,
            request,
            reply,
            sessions,
        } = *self;
        let started = service.start(&request).await;
        let session = started.map(|(id, access)| {
            debug!(session = %id, target = %request.target, "session started");
            Session {
                id,
                access,
                service,
                sessions,
            }
        });
        // If nobody waits any more, the session comes back here, is dropped, and ended.
        drop(reply.send(session));
    }
}

async fn end(service: Service, id: String, at_once: Arc<Semaphore>) {
    let _permit = at_once.acquire().await;
    for pause in PAUSES {
        match service.terminate(&id).await {
            Ok(()) => return debug!(session = %id, "session ended"),
            Err(error) if error.recovery() == Recovery::Retry && pause > Duration::ZERO => {
                debug!(session = %id, %error, ?pause, "session not ended yet; will try again");
                tokio::time::sleep(pause).await;
            }
            Err(error) => {
                let hint = "it was asked to end on its data channel too; see `aws ssm describe-sessions --state Active`";
                return warn!(session = %id, %error, hint, "session may have been left behind");
            }
        }
    }
}

/// Calls that end sessions, at the same time.
const MAX_ENDS_AT_ONCE: usize = 16;

/// Pauses between attempts to end a session; none after the last.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::ZERO,
];
