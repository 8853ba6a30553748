//! The task that starts and terminates sessions. StartSession calls are rate limited and never
//! cancelled; every dropped session is terminated.
//!
//! ```text
//!   Sessions (handle) ─ start ─▶ Dispatcher (task) ─▶ queues (rate limit) ─▶ starts: StartSession
//!                     ─ end ───▶                   ─▶ ends: TerminateSession
//! ```
//!
//! After a panic in the dispatcher itself it restarts: queued requests fail, while calls are
//! separate tasks and continue.
//!
//! The dispatcher outlives all forwards and is awaited last, with a time limit. Failed terminations
//! are retried while it runs; after that the journal leaves them to the next process.

mod lost;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{Instrument, Span, error, warn};

use self::lost::{FIND_BY_REASON, Reasons};
use self::start::{QueuedStart, counted};
use super::aws::SsmClient;
use super::error::{Error, ErrorKind};
use super::journal::{Journal, JournalEntry, Origin};
use super::registry::{Registration, Registry};
use super::shutdown_mode::{ShutdownMode, time_is_up};
use super::start_queue::{Queued, Queues};
use super::terminate::{StartedBy, TerminatePolicy, TerminateSignals, Termination, TimeLeft};
use crate::clock;
use crate::panics::{self, Panic, caught};

/// Handle to start and terminate sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    journal: Journal,
    registry: Registry,
    reasons: Reasons,
    /// A failure to terminate a session of a former process was logged.
    is_refusal_reported: Arc<AtomicBool>,
}

impl Sessions {
    /// Creates a handle and its task, which the caller must run. `rate` is the maximum number of
    /// StartSession calls per second and service, at least 1.
    pub fn new(rate: u32, seed: u64, journal: Journal) -> (Self, Dispatcher) {
        // Unbounded, because a guard cannot wait in `drop`. The number of commands is limited by
        // the number of sessions and of waiters for one, which are both bounded.
        let (commands, incoming) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            journal,
            registry: Registry::default(),
            reasons: Reasons::new(seed),
            is_refusal_reported: Arc::default(),
        });
        let dispatcher = Dispatcher {
            incoming,
            commands: commands.downgrade(),
            shared: Arc::clone(&shared),
            queues: Queues::new(rate, seed),
            starts: JoinSet::new(),
            ends: JoinSet::new(),
            time_left: watch::Sender::new(TimeLeft::Unlimited),
            retry_now: watch::Sender::new(()),
            lost_sessions: Arc::default(),
            #[cfg(test)]
            is_dead: false,
        };
        (Self { commands, shared }, dispatcher)
    }

    /// Returns the error of a dropped request: the dispatcher has ended, or had a panic.
    fn unanswered(&self) -> Error {
        match self.commands.is_closed() {
            true => stopping_error(),
            false => internal("the request was dropped after a panic"),
        }
    }

    /// Skips the pauses after throttling and between attempts to terminate sessions.
    pub fn retry_now(&self) {
        // Without a task, nothing is waiting.
        let _gone = self.commands.send(Command::RetryNow);
    }

    /// Returns a handle for [`Sessions::retry_now`] only, which does not keep the dispatcher
    /// running.
    pub fn retry_trigger(&self) -> RetryTrigger {
        RetryTrigger(self.commands.downgrade())
    }

    /// Changes the maximum number of StartSession calls per second and service, at least 1.
    pub fn set_rate(&self, rate: u32) {
        // Without a task, nothing is waiting.
        let _gone = self.commands.send(Command::Rate(rate));
    }

    /// Terminates a session in the background. `span` is that of the connection that the session
    /// was started for.
    pub(super) fn terminate(&self, ssm: SsmClient, registration: Arc<Registration>, span: Span) {
        let id = registration.id().to_owned();
        let source = StartedBy::Own(registration);
        self.queue_termination(ssm, id, span, TerminatePolicy::Required, source);
    }

    /// Terminates a session that a former process left active.
    pub fn terminate_orphan(&self, ssm: SsmClient, entry: JournalEntry, policy: TerminatePolicy) {
        let source = StartedBy::Former(Arc::clone(&self.shared.is_refusal_reported));
        self.queue_termination(ssm, entry.session, Span::current(), policy, source);
    }

    fn queue_termination(
        &self,
        ssm: SsmClient,
        id: String,
        span: Span,
        policy: TerminatePolicy,
        source: StartedBy,
    ) {
        let termination = Termination {
            ssm,
            id,
            span,
            journal: self.shared.journal.clone(),
            policy,
            source,
        };
        if let Err(lost) = self.commands.send(Command::End(termination))
            && let Command::End(Termination {
                id, span, source, ..
            }) = lost.0
            && policy == TerminatePolicy::Required
        {
            if let StartedBy::Own(registration) = source {
                registration.lose();
            }
            span.in_scope(|| warn!(session = %id, "session not terminated: the daemon stopped"));
        }
    }
}

/// See [`Sessions::retry_trigger`].
#[derive(Clone, Debug)]
pub struct RetryTrigger(mpsc::WeakUnboundedSender<Command>);

impl RetryTrigger {
    /// As [`Sessions::retry_now`].
    pub fn retry_now(&self) {
        if let Some(commands) = self.0.upgrade() {
            // Without a task, nothing is waiting.
            let _gone = commands.send(Command::RetryNow);
        }
    }
}

/// The task behind [`Sessions`].
#[derive(Debug)]
pub struct Dispatcher {
    incoming: mpsc::UnboundedReceiver<Command>,
    /// Does not keep the dispatcher running.
    commands: mpsc::WeakUnboundedSender<Command>,
    shared: Arc<Shared>,
    queues: Queues<Origin, Box<QueuedStart>>,
    starts: JoinSet<usize>,
    ends: JoinSet<usize>,
    time_left: watch::Sender<TimeLeft>,
    /// Each change skips the pauses before the next attempt.
    retry_now: watch::Sender<()>,
    /// Sessions that may be active because their start was aborted or had a panic.
    lost_sessions: Arc<AtomicUsize>,
    /// See [`crate::mutants::Mutant::DeadDispatcher`].
    #[cfg(test)]
    is_dead: bool,
}

impl Dispatcher {
    /// Runs until every handle is dropped and every session is terminated. After `shutdown_mode`
    /// has changed, it runs for at most ten seconds, or two if forced. Returns how many sessions
    /// may still be active.
    pub async fn run(mut self, mut shutdown_mode: watch::Receiver<ShutdownMode>) -> usize {
        let mut left = 0;
        let time_left = self.time_left.clone();
        tokio::select! {
            () = self.work_on(&mut left) => return left + self.take_lost(),
            () = time_is_up(&mut shutdown_mode, time_left) => {}
        }
        // Sessions dropped from now on are not terminated; that is logged.
        self.incoming.close();
        // Starts that wait for credentials have called nothing.
        self.starts.abort_all();
        while let Some(done) = self.starts.join_next().await {
            left += counted(done);
        }
        left += self.take_lost();
        self.time_left.send_replace(TimeLeft::None);
        while let Some(done) = self.ends.join_next().await {
            left += count_unterminated(done);
        }
        left + self.give_up()
    }

    /// Reports and counts the sessions whose start was aborted or had a panic.
    fn take_lost(&self) -> usize {
        let lost = self.lost_sessions.swap(0, Ordering::Relaxed);
        for _ in 0..lost {
            let hint = FIND_BY_REASON;
            warn!(
                hint,
                "StartSession did not complete; its session may still be active"
            );
        }
        lost
    }

    /// Counts the sessions that no attempt was made to terminate.
    fn give_up(&mut self) -> usize {
        let mut left = 0;
        while let Ok(command) = self.incoming.try_recv() {
            if let Command::End(termination) = command
                && termination.policy == TerminatePolicy::Required
            {
                left += termination
                    .span
                    .in_scope(|| termination.report_active(None));
            }
        }
        let count = self.shared.registry.len();
        if count > 0 {
            warn!(
                count,
                "sessions were still in use at shutdown and remain active"
            );
        }
        left + count
    }

    /// Runs [`Dispatcher::work`]. Restarts it after a panic.
    async fn work_on(&mut self, left: &mut usize) {
        while let Err(panic) = caught(self.work(left)).await {
            self.restart(&panic);
            sleep_until((clock::now() + RESTART_PAUSE).into()).await;
        }
    }

    /// Drops the state that a panic may have left inconsistent: the waiters and rate limiters.
    fn restart(&mut self, panic: &Panic) {
        panics::point("dispatcher-restart");
        error!(%panic, "the session dispatcher panicked; restarting");
        self.queues.clear();
        #[cfg(test)]
        (self.is_dead = crate::mutants::Mutant::DeadDispatcher.is_active());
    }

    /// Handles commands until no more can arrive.
    async fn work(&mut self, left: &mut usize) {
        let mut has_handles = true;
        while has_handles || !self.starts.is_empty() || !self.ends.is_empty() {
            self.call();
            tokio::select! {
                biased;
                Some(done) = self.starts.join_next() => *left += counted(done),
                Some(done) = self.ends.join_next() => *left += count_unterminated(done),
                command = self.incoming.recv(), if has_handles => match command {
                    Some(command) => self.take(command),
                    None => has_handles = false,
                },
                () = until(self.queues.poll_timeout()) => {}
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Start(start) => {
                panics::point("dispatcher");
                let origin = start.ssm.origin();
                self.queues.push(clock::now(), origin, start);
            }
            Command::Throttled(origin, called) => {
                if let Some(limiter) = self.queues.limiter(&origin) {
                    limiter.handle_throttled(clock::now(), called);
                }
            }
            Command::Answered(origin, called) => {
                if let Some(limiter) = self.queues.limiter(&origin) {
                    limiter.handle_answer(called);
                }
            }
            Command::Rate(rate) => self.queues.set_rate(rate),
            Command::RetryNow => {
                self.queues.retry_now(clock::now());
                self.retry_now.send_replace(());
            }
            #[cfg(test)]
            Command::End(_) if self.is_dead => {}
            Command::End(termination) => {
                let span = termination.span.clone();
                let signals = TerminateSignals {
                    time_left: self.time_left.subscribe(),
                    retry_now: self.retry_now.subscribe(),
                };
                let run = termination.run(signals);
                self.ends.spawn(run.instrument(span));
            }
        }
    }

    /// Makes the calls that the rate limits permit now.
    fn call(&mut self) {
        let now = clock::now();
        while let Some(start) = self.queues.poll(now) {
            // Without a handle, nobody waits for the session.
            let Some(commands) = self.commands.upgrade() else {
                continue;
            };
            let shared = Arc::clone(&self.shared);
            let sessions = Sessions { commands, shared };
            let span = start.span.clone();
            let time_left = self.time_left.subscribe();
            let run = start.run(sessions, now, Arc::clone(&self.lost_sessions), time_left);
            self.starts.spawn(run.instrument(span));
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn count_unterminated(outcome: Result<usize, tokio::task::JoinError>) -> usize {
    outcome.unwrap_or_else(|error| {
        warn!(%error, "the task of an AWS call failed");
        1
    })
}

/// Returns the wall-clock time in seconds since the Unix epoch, for the journal.
pub fn unix_seconds() -> u64 {
    let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn internal(why: &str) -> Error {
    Error::new("StartSession", ErrorKind::Internal, why)
}

fn stopping_error() -> Error {
    Error::new(
        "StartSession",
        ErrorKind::SessionEnded,
        "the daemon is stopping",
    )
}

#[derive(Debug)]
enum Command {
    Start(Box<QueuedStart>),
    /// AWS throttled the call that was made at this time.
    Throttled(Origin, Instant),
    /// AWS answered the call that was made at this time.
    Answered(Origin, Instant),
    RetryNow,
    Rate(u32),
    End(Termination),
}

impl Queued for Box<QueuedStart> {
    fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }

    fn is_urgent(&self) -> bool {
        self.priority.is_urgent()
    }
}

/// The pause before a restart after a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
