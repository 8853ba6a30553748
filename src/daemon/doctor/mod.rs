//! Checks what keeps forwards from working, in the order in which a connection needs it.
//!
//! ```text
//!   each forward:  listen
//!   each account:  aws-settings ─▶ credentials ─▶ clock, ssm-endpoint, ssmmessages-endpoint
//!   each forward:  target, document ─▶ start-session ─▶ websocket-upgrade ─▶ handshake
//!                  ─▶ destination ─▶ session-end
//! ```
//!
//! The checks use the code of real connections. A check whose prerequisite has failed is skipped;
//! independent checks are made. Each check has a deadline, and all together have one. A session
//! that was started is terminated in every case.

mod account;
mod clock_skew;
mod destination;
mod finding;
mod holder;
mod listen;
mod session;
mod target;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use self::account::CheckedAccount;
use self::finding::CheckOutcome;
pub use self::finding::{Check, Failure, Finding, Verdict};
use super::aws_clients::AwsClients;
use crate::clock;
use crate::config;
use crate::error_class::ErrorClass;
use crate::printable::Printable;
use crate::quantity;
use crate::session::{Identity, ShutdownMode};

/// What to check.
#[derive(Debug)]
pub struct Examination {
    /// The AWS settings, or why there are none.
    pub aws: Result<config::Aws, Failure>,
    /// The forwards; disabled ones are not checked.
    pub forwards: Vec<config::Forward>,
    /// Whether the local addresses of the forwards are checked.
    pub with_listeners: bool,
    /// The process of the running daemon, which may hold the local addresses.
    pub daemon: Option<u32>,
    /// Program, version and host, shown to users who list the sessions of a target.
    pub origin: String,
    /// Directory of the journal of open sessions; `None`: no journal.
    pub state: Option<PathBuf>,
    /// Time limits.
    pub limits: TimeLimits,
    /// Receives the check in progress.
    pub current: watch::Sender<Option<CurrentCheck>>,
}

/// A check in progress, and its forward or account.
pub type CurrentCheck = (Check, Option<Printable>);

/// Time limits of the checks.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// Of each check.
    pub check: Duration,
    /// Of all checks; the end of an open session is awaited beyond it, for some seconds.
    pub total: Duration,
}

impl Examination {
    /// Makes the checks, and reports each result at once. Ends early when a `stop` is requested: the
    /// remaining checks are skipped then, except for the end of a session that is open or being
    /// started. It takes some seconds if the stop is graceful, and two at most if it is forced.
    pub async fn run(
        self,
        stop: watch::Receiver<ShutdownMode>,
        report: impl FnMut(Finding) + Send,
    ) {
        let Self {
            aws,
            mut forwards,
            with_listeners,
            daemon,
            origin,
            state,
            limits,
            current,
        } = self;
        forwards.retain(|forward| forward.enabled);
        let mut checks = Checks {
            limits,
            end: clock::now() + limits.total,
            is_over: false,
            stop,
            current,
            report,
        };
        if with_listeners {
            for forward in &forwards {
                listen::check(&mut checks, forward, daemon).await;
            }
        }
        let clients = match aws {
            Ok(aws) => checks.load(aws, &forwards).await,
            Err(failure) => Err(failure),
        };
        let mut accounts = BTreeMap::new();
        for account in distinct_accounts(&forwards) {
            let checked = CheckedAccount::check(&mut checks, &account, clients.as_ref()).await;
            accounts.insert(account, checked);
        }
        let Ok(clients) = &clients else {
            return checks.skip_forwards(&forwards);
        };
        for forward in &forwards {
            let own = forward.accounts();
            let own: Vec<_> = own.iter().map(|account| &accounts[account]).collect();
            let environment = session::SessionEnvironment {
                clients,
                origin: &origin,
                state: state.as_deref(),
            };
            session::check(&mut checks, forward, &own, &environment).await;
        }
    }
}

/// Returns the accounts of all forwards, in the order of the forwards.
fn distinct_accounts(forwards: &[config::Forward]) -> Vec<config::Account> {
    let mut accounts = Vec::new();
    for account in forwards.iter().flat_map(config::Forward::accounts) {
        if !accounts.contains(&account) {
            accounts.push(account);
        }
    }
    accounts
}

/// Makes checks one after the other, within their time limits.
struct Checks<R> {
    limits: TimeLimits,
    /// When all checks must be done.
    end: Instant,
    /// `end` has passed, and that was reported.
    is_over: bool,
    stop: watch::Receiver<ShutdownMode>,
    current: watch::Sender<Option<CurrentCheck>>,
    report: R,
}

/// What a check needs.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// The forward or the account.
    subject: Option<&'a Printable>,
    /// The prerequisite that has failed.
    blocked: Option<Check>,
}

/// What later checks need to know of a check.
enum Checked<T> {
    Passed(T),
    Skipped,
    Failed,
}

impl<R: FnMut(Finding)> Checks<R> {
    /// Makes a check, and reports its result.
    async fn check<T>(
        &mut self,
        check: Check,
        scope: Scope<'_>,
        work: impl Future<Output = CheckOutcome<T>>,
    ) -> Checked<T> {
        let begin = clock::now();
        let outcome = match self.obstacle(scope.blocked) {
            Some(why) => CheckOutcome::Skip(why),
            None => {
                let subject = scope.subject.cloned();
                self.current.send_replace(Some((check, subject)));
                self.within_limits(check, work).await
            }
        };
        self.current.send_replace(None);
        self.report(check, scope.subject, outcome, clock::since(begin))
    }

    /// Loads the AWS settings of all accounts.
    async fn load(
        &mut self,
        aws: config::Aws,
        forwards: &[config::Forward],
    ) -> Result<AwsClients, Failure> {
        let loading = AwsClients::new(aws, Identity::Chain, forwards);
        match self.until_stopped(loading).await {
            Some(Ok(clients)) => Ok(clients),
            Some(Err(error)) => {
                let hint = error.hint().into_owned();
                Err(Failure::new(error.class(), with_sources(&error), hint))
            }
            // Not shown: its check is interrupted too.
            None if self.is_stopped() => Err(Failure::new(ErrorClass::Stopping, "interrupted", "")),
            None => Err(out_of_time()),
        }
    }

    /// Waits for work that has a time limit of its own. Returns `None` if the checks are stopped, or
    /// their time is over, before it is done: the check that needs it must then have [`no_result`].
    async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            done = timeout_at(self.end.into(), work) => done.ok(),
            () = requested(&mut stop, ShutdownMode::Graceful) => None,
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() != ShutdownMode::Running
    }

    /// Returns why a check cannot be made.
    fn obstacle(&self, blocked: Option<Check>) -> Option<Printable> {
        if self.is_stopped() {
            return Some("interrupted".into());
        }
        if self.is_over {
            return Some("the time limit of all checks has passed".into());
        }
        let name = blocked?.name();
        Some(Printable::of(format_args!(
            "needs {name}, which has failed"
        )))
    }

    async fn within_limits<T>(
        &mut self,
        check: Check,
        work: impl Future<Output = CheckOutcome<T>>,
    ) -> CheckOutcome<T> {
        let left = self.end.saturating_duration_since(clock::now());
        let limit = self.limits.check.min(left);
        let mut stop = self.stop.clone();
        tokio::select! {
            outcome = timeout(limit, work) => match outcome {
                Ok(outcome) => outcome,
                Err(_) => self.late(check, limit),
            },
            () = requested(&mut stop, ShutdownMode::Graceful) => CheckOutcome::Skip("interrupted".into()),
        }
    }

    fn late<T>(&mut self, check: Check, limit: Duration) -> CheckOutcome<T> {
        self.is_over = limit < self.limits.check;
        if self.is_over {
            return out_of_time().into();
        }
        let limit = quantity::duration(limit);
        let text = Printable::of(format_args!("no result within {limit}"));
        if check.is_optional() {
            return CheckOutcome::Skip(Printable::of(format_args!(
                "{text}; not needed to connect"
            )));
        }
        Failure::new(ErrorClass::TimedOut, text, check.remedy_if_late()).into()
    }

    fn report<T>(
        &mut self,
        check: Check,
        subject: Option<&Printable>,
        outcome: CheckOutcome<T>,
        duration: Duration,
    ) -> Checked<T> {
        let (verdict, text, checked) = match outcome {
            CheckOutcome::Pass(value, text) => (Verdict::Pass, text, Checked::Passed(value)),
            CheckOutcome::Skip(text) => (Verdict::Skip, text, Checked::Skipped),
            CheckOutcome::Fail(Failure {
                class,
                text,
                remedy,
            }) => (Verdict::Fail { class, remedy }, text, Checked::Failed),
        };
        (self.report)(Finding {
            check,
            subject: subject.cloned(),
            verdict,
            text,
            duration,
        });
        checked
    }

    /// Skips all checks of forwards whose settings could not be loaded at all.
    fn skip_forwards(&mut self, forwards: &[config::Forward]) {
        for forward in forwards {
            let name = Printable::new(&forward.name);
            for check in session::CHECKS {
                let why = self.obstacle(Some(Check::AwsSettings)).unwrap_or_default();
                self.report(
                    check,
                    Some(&name),
                    CheckOutcome::<()>::Skip(why),
                    Duration::ZERO,
                );
            }
        }
    }
}

/// Returns the failure of a check during which the time limit of all checks has passed.
fn out_of_time() -> Failure {
    let text = "no result within the time limit of all checks";
    Failure::new(
        ErrorClass::TimedOut,
        text,
        "raise `--timeout`, the time limit of all checks",
    )
}

/// The work of a check whose result did not come before the checks were stopped or out of time: it
/// ends by one of both.
async fn no_result<T>() -> CheckOutcome<T> {
    std::future::pending().await
}

/// Returns the messages of an error and its sources, without repetitions.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = source.source();
    }
    text
}

/// Waits until a stop of at least this urgency is requested.
async fn requested(stop: &mut watch::Receiver<ShutdownMode>, urgency: ShutdownMode) {
    if stop.wait_for(|stop| *stop >= urgency).await.is_err() {
        // Nobody can stop it any more.
        std::future::pending::<()>().await;
    }
}
