//! Terminates one session, with retries.
//!
//! Retries temporary errors with exponential backoff (0.5 s to 60 s) for up to 24 h of pauses in
//! total. During shutdown only a few more attempts are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{Span, debug, info, warn};

use super::aws::SsmClient;
use super::error::{Error, ErrorKind, Recovery};
use super::journal::Journal;
use super::registry::Registration;
use crate::panics::{self, Panic, caught};

/// The termination of a session.
#[derive(Debug)]
pub(super) struct Termination {
    pub(super) ssm: SsmClient,
    pub(super) id: String,
    /// Span of the connection that the session was started for.
    pub(super) span: Span,
    pub(super) journal: Journal,
    pub(super) policy: TerminatePolicy,
    pub(super) source: StartedBy,
}

/// The process that started a session.
#[derive(Clone, Debug)]
pub(super) enum StartedBy {
    /// This process. The session stays registered until this is dropped.
    Own(Arc<Registration>),
    /// A former process. The flag is set once a failure to terminate one of its sessions was
    /// logged: there may be thousands.
    Former(Arc<AtomicBool>),
}

/// How many attempts are made to terminate a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminatePolicy {
    /// Retry until it succeeds or no longer makes sense, and log a failure.
    Required,
    /// Retry in the background: shutdown does not wait for it and failures are not logged as
    /// warnings. On failure the session stays in the journal for the next process.
    BestEffort,
}

/// Progress of the shutdown, as terminations see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeLeft {
    /// No shutdown.
    Unlimited,
    /// Shutting down: a few seconds are left, no backoff.
    Seconds,
    /// The shutdown is over: give up.
    None,
}

/// Signals to a termination.
#[derive(Clone, Debug)]
pub(super) struct TerminateSignals {
    pub(super) time_left: watch::Receiver<TimeLeft>,
    /// Each change skips the pause before the next attempt.
    pub(super) retry_now: watch::Receiver<()>,
}

impl TerminateSignals {
    fn is_shutting_down(&self) -> bool {
        *self.time_left.borrow() != TimeLeft::Unlimited
    }

    /// Waits before the next attempt. Returns true if the pause was cut short.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => false,
            Ok(()) = self.retry_now.changed() => true,
            () = reached(&mut self.time_left, TimeLeft::Seconds) => true,
        }
    }

    /// Waits before the next attempt. Returns the pause after it, and the sum of all completed
    /// pauses.
    async fn next(&mut self, pause: Duration, waited: Duration) -> (Duration, Duration) {
        match self.pause(pause).await {
            true => (FIRST_PAUSE, waited),
            false => ((pause * 2).min(MAX_PAUSE), waited + pause),
        }
    }
}

impl Termination {
    /// Calls TerminateSession until it succeeds, fails permanently, or time runs out. Returns how
    /// many sessions may still be active: this one, or none.
    pub(super) async fn run(self, mut signals: TerminateSignals) -> usize {
        if self.policy == TerminatePolicy::BestEffort {
            self.run_best_effort(signals).await;
            return 0;
        }
        let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
        let mut shutdown_attempts = 0;
        let mut over = signals.time_left.clone();
        loop {
            let outcome = tokio::select! {
                outcome = self.try_once(&mut signals) => outcome,
                () = reached(&mut over, TimeLeft::None) => return self.report_active(None),
            };
            let error = match outcome {
                Some(Ok(())) => return self.done(pause).await,
                Some(Err(error)) => error,
                None => return self.report_active(Some(&no_response())),
            };
            match NextAction::of(&error, waited) {
                NextAction::TryAgain => {}
                NextAction::Refused => return self.refused(&error).await,
                NextAction::Expired => {
                    self.journal.remove(&self.id).await;
                    return self.report_active(Some(&error));
                }
            }
            if signals.is_shutting_down() {
                shutdown_attempts += 1;
                if shutdown_attempts > MAX_SHUTDOWN_ATTEMPTS {
                    return self.report_active(Some(&error));
                }
                sleep(FIRST_PAUSE).await;
                continue;
            }
            self.log_failure(&error, pause);
            (pause, waited) = signals.next(pause, waited).await;
        }
    }

    async fn run_best_effort(&self, signals: TerminateSignals) {
        let mut time_left = signals.time_left.clone();
        tokio::select! {
            () = self.try_best_effort(signals) => {}
            () = reached(&mut time_left, TimeLeft::Seconds) => {}
        }
    }

    async fn try_best_effort(&self, mut signals: TerminateSignals) {
        let session = &self.id;
        let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
        loop {
            let error = match self.try_once(&mut signals).await {
                Some(Ok(())) => break,
                Some(Err(error)) => error,
                None => return,
            };
            debug!(%session, %error, "cannot terminate the session of a former process");
            if NextAction::of(&error, waited) != NextAction::TryAgain {
                return;
            }
            (pause, waited) = signals.next(pause, waited).await;
        }
        self.journal.remove(session).await;
        debug!(%session, "session of a former process terminated");
    }

    /// Makes one attempt. During shutdown it waits for a credential provider for only 2 s more:
    /// `None` if the provider has not answered by then.
    async fn try_once(&self, signals: &mut TerminateSignals) -> Option<Result<(), Error>> {
        let waited_for_credentials = async {
            reached(&mut signals.time_left, TimeLeft::Seconds).await;
            sleep(MAX_WAIT_FOR_CREDENTIALS).await;
        };
        tokio::select! {
            api_client = self.ssm.api_client() => if let Err(error) = api_client {
                return Some(Err(error));
            },
            () = waited_for_credentials => return None,
        }
        let _permit = self.ssm.limits().terminate.acquire().await;
        let terminated = caught(async {
            panics::point("terminate-session");
            self.ssm.terminate(&self.id).await
        });
        let panicked = |panic: Panic| {
            let why = panic.to_string();
            Err(Error::new("TerminateSession", ErrorKind::Internal, why))
        };
        Some(terminated.await.unwrap_or_else(panicked))
    }

    /// Reports the result to those who wait for the end of the session.
    fn settle(&self, outcome: Result<(), Error>) {
        if let StartedBy::Own(registration) = &self.source {
            registration.settle(outcome);
        }
    }

    async fn done(&self, pause: Duration) -> usize {
        self.settle(Ok(()));
        self.journal.remove(&self.id).await;
        if pause > WARN_AT_PAUSE {
            info!(session = %self.id, "session terminated after retries");
        } else {
            debug!(session = %self.id, "session terminated");
        }
        0
    }

    /// Logs a failure: one warning if it lasts, `debug` otherwise.
    fn log_failure(&self, error: &Error, pause: Duration) {
        let session = &self.id;
        if pause == WARN_AT_PAUSE {
            let hint = error.hint();
            warn!(%session, %error, hint, "TerminateSession failed; retrying");
        } else {
            debug!(%session, %error, ?pause, "TerminateSession failed; will retry");
        }
    }

    /// Handles a permanent failure. A session of a former process is removed from the journal; one
    /// of this process stays, since the next process, which tries once more, may have better
    /// credentials, policy or configuration.
    async fn refused(&self, error: &Error) -> usize {
        let StartedBy::Former(is_reported) = &self.source else {
            return self.report_active(Some(error));
        };
        self.journal.remove(&self.id).await;
        if is_reported.swap(true, Relaxed) {
            debug!(session = %self.id, %error, "cannot terminate the session of a former process");
            return 1;
        }
        self.report_active(Some(error))
    }

    pub(super) fn report_active(&self, error: Option<&Error>) -> usize {
        let failure = error.cloned().unwrap_or_else(no_time_left);
        self.settle(Err(failure));
        let hint = "if its data channel was open, termination was requested there too; see `aws ssm describe-sessions --state Active`";
        let error = error.map(tracing::field::display);
        warn!(session = %self.id, error, hint, "session may still be active");
        1
    }
}

/// What to do after a failed TerminateSession.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextAction {
    TryAgain,
    /// AWS rejects the call, or the configuration does not allow it.
    Refused,
    /// The session has reached the idle timeout by now.
    Expired,
}

impl NextAction {
    /// Classifies an error, after pauses of `waited` in total.
    fn of(error: &Error, waited: Duration) -> Self {
        // A response of a proxy or captive portal says nothing about the session.
        let is_temporary = error.recovery() == Recovery::Retry || error.kind() == ErrorKind::NotAws;
        match is_temporary {
            true if waited >= MAX_LIFE => Self::Expired,
            true => Self::TryAgain,
            false => Self::Refused,
        }
    }
}

fn no_response() -> Error {
    let why = "no response from the credential provider";
    Error::new("TerminateSession", ErrorKind::Credentials, why)
}

fn no_time_left() -> Error {
    let why = "no response in the time that a shutdown leaves";
    Error::new("TerminateSession", ErrorKind::Unreachable, why)
}

/// Waits until the shutdown has reached `stage`.
pub(super) async fn reached(time_left: &mut watch::Receiver<TimeLeft>, stage: TimeLeft) {
    let reached = |now: &TimeLeft| match stage {
        TimeLeft::Unlimited => true,
        TimeLeft::Seconds => *now != TimeLeft::Unlimited,
        TimeLeft::None => *now == TimeLeft::None,
    };
    // An error means that the dispatcher is gone, and with it this task.
    drop(time_left.wait_for(reached).await);
}

/// The first pause between attempts, and the limit of its doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause before which a failure is logged as a warning: some seconds after the first attempt.
const WARN_AT_PAUSE: Duration = Duration::from_secs(4);

/// How long a termination is retried: as long as the journal keeps a session.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a shutdown waits for a credential provider.
const MAX_WAIT_FOR_CREDENTIALS: Duration = Duration::from_secs(2);

/// Maximum number of retries during shutdown.
const MAX_SHUTDOWN_ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn only_a_response_of_aws_or_a_day_of_attempts_ends_the_attempts() {
        let verdict =
            |kind, waited| NextAction::of(&Error::new("TerminateSession", kind, ""), waited);
        for kind in [
            ErrorKind::Throttled,
            ErrorKind::Unreachable,
            ErrorKind::Proxy,
            ErrorKind::ServiceFault,
            ErrorKind::Credentials,
            ErrorKind::NotAws,
        ] {
            assert_eq!(
                verdict(kind, MAX_LIFE / 2),
                NextAction::TryAgain,
                "{kind:?}"
            );
            assert_eq!(verdict(kind, MAX_LIFE), NextAction::Expired, "{kind:?}");
        }
        for kind in [ErrorKind::Denied, ErrorKind::Role, ErrorKind::Invalid] {
            assert_eq!(
                verdict(kind, Duration::ZERO),
                NextAction::Refused,
                "{kind:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_pause_between_tries_ends_when_it_is_cut_short() {
        let (time_left, retry_now) = (
            watch::Sender::new(TimeLeft::Unlimited),
            watch::Sender::new(()),
        );
        let mut signals = TerminateSignals {
            time_left: time_left.subscribe(),
            retry_now: retry_now.subscribe(),
        };
        let long = Duration::from_secs(3600);

        retry_now.send_replace(());
        let hurried = timeout(MAX_PAUSE, signals.pause(long)).await;
        time_left.send_replace(TimeLeft::Seconds);
        let stopped = timeout(MAX_PAUSE, signals.pause(long)).await;

        assert_eq!((hurried, stopped), (Ok(true), Ok(true)));
    }

    #[tokio::test]
    async fn a_provider_that_hangs_is_waited_for_only_shortly_during_shutdown() {
        let termination = Termination {
            ssm: SsmClient::unanswered().await,
            id: "s-1".to_owned(),
            span: Span::none(),
            journal: Journal::none(),
            policy: TerminatePolicy::Required,
            source: StartedBy::Former(Arc::default()),
        };
        let (time_left, retry_now) = (
            watch::Sender::new(TimeLeft::Seconds),
            watch::Sender::new(()),
        );
        let signals = TerminateSignals {
            time_left: time_left.subscribe(),
            retry_now: retry_now.subscribe(),
        };

        let left = timeout(MAX_PAUSE, termination.run(signals)).await;

        assert_eq!(left, Ok(1));
    }
}
