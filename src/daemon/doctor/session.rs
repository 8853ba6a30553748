//! Checks a real session of a forward: start, websocket, handshake, a connection to the destination,
//! and its end. Whatever happens, the session is terminated.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::account::CheckedAccount;
use super::destination::{is_of_destination, reach};
use super::finding::{Check, CheckOutcome, Failure, Finding};
use super::{Checked, Checks, Scope, no_result, requested, target};
use crate::clock;
use crate::config;
use crate::daemon::StartError;
use crate::daemon::aws_clients::AwsClients;
use crate::daemon::orphans;
use crate::daemon::shutdown::LOOK_FOR_SESSIONS;
use crate::daemon::start::Parts;
use crate::error_class::ErrorClass;
use crate::forward::{Context, SessionPlan};
use crate::printable::Printable;
use crate::session::{Priority, Session, SessionEnd, ShutdownMode, TerminatePolicy};
use crate::tunnel::{Driver, Error, Tunnel};

/// What the sessions of all forwards share.
pub(super) struct SessionEnvironment<'a> {
    pub(super) clients: &'a AwsClients,
    /// Program, version and host.
    pub(super) origin: &'a str,
    /// Directory of the journal.
    pub(super) state: Option<&'a Path>,
}

/// The checks of a forward after those of its account.
pub(super) const CHECKS: [Check; 7] = [
    Check::Target,
    Check::Document,
    Check::StartSession,
    Check::Upgrade,
    Check::Handshake,
    Check::Destination,
    Check::SessionEnd,
];

/// Checks a forward, whose targets are in these accounts.
pub(super) async fn check(
    checks: &mut Checks<impl FnMut(Finding)>,
    forward: &config::Forward,
    accounts: &[&CheckedAccount],
    environment: &SessionEnvironment<'_>,
) {
    let name = Printable::new(&forward.name);
    // One of several targets may work.
    let blocked = |of: fn(&CheckedAccount) -> Option<Check>| {
        let blocked: Option<Vec<_>> = accounts.iter().map(|account| of(account)).collect();
        blocked?.first().copied()
    };
    let scope = Scope {
        subject: Some(&name),
        blocked: blocked(|account| account.blocked),
    };
    let channel_blocked = blocked(|account| account.channel_blocked);
    let new = checks.until_stopped(Trial::new(forward, environment)).await;
    match new {
        Some(Ok(mut trial)) => {
            trial.check(checks, forward, scope, channel_blocked).await;
            trial.end(checks, scope).await;
        }
        None => {
            for check in CHECKS {
                if check == Check::SessionEnd {
                    let skip = CheckOutcome::<()>::Skip(NOT_STARTED.into());
                    let _skipped = checks.report(check, scope.subject, skip, Duration::ZERO);
                } else {
                    let _skipped = checks.check::<()>(check, scope, no_result()).await;
                }
            }
        }
        Some(Err(error)) => {
            // The settings of this account could not be loaded.
            let why = Printable::of(&error);
            for check in CHECKS {
                let skip = async { CheckOutcome::<()>::Skip(why.clone()) };
                let _skipped = checks.check(check, scope, skip).await;
            }
        }
    }
}

/// A session and the tasks that it needs.
struct Trial {
    context: Context,
    plan: SessionPlan,
    /// The end of the session, once it was started.
    end: Option<SessionEnd>,
    tunnel: Option<Tunnel>,
    /// Runs the tunnel.
    driving: JoinSet<()>,
    /// Terminates sessions of former processes.
    background: JoinSet<()>,
    shutdown_mode: watch::Sender<ShutdownMode>,
    dispatcher: JoinSet<usize>,
}

impl Trial {
    async fn new(
        forward: &config::Forward,
        environment: &SessionEnvironment<'_>,
    ) -> Result<Self, StartError> {
        let SessionEnvironment {
            clients,
            origin,
            state,
        } = environment;
        let forwards = std::slice::from_ref(forward);
        let state = state.map(Path::to_owned);
        let origin = format!("{origin}, doctor");
        let Parts {
            context,
            shutdown_mode,
            trigger: _,
            dump_connections: _,
            dispatcher,
            orphans,
        } = Parts::start(clients, forwards, 1, state, origin).await?;
        let context = clients.context(forward, &context)?;
        let mut background = JoinSet::new();
        background.spawn(orphans::terminate_orphans(
            (*clients).clone(),
            context.sessions.clone(),
            orphans,
            TerminatePolicy::BestEffort,
        ));
        Ok(Self {
            plan: SessionPlan::new(forward, &context),
            context,
            end: None,
            tunnel: None,
            driving: JoinSet::new(),
            background,
            shutdown_mode,
            dispatcher,
        })
    }

    /// Makes the checks up to the destination.
    async fn check(
        &mut self,
        checks: &mut Checks<impl FnMut(Finding)>,
        forward: &config::Forward,
        mut scope: Scope<'_>,
        channel_blocked: Option<Check>,
    ) {
        let plan = self.plan.clone();
        let target = target::target(forward, &plan);
        let target = checks.check(Check::Target, scope, target).await;
        let document = target::document(&plan);
        let document = checks.check(Check::Document, scope, document).await;
        for (check, checked) in [(Check::Target, target), (Check::Document, document)] {
            if matches!(checked, Checked::Failed) {
                scope.blocked = scope.blocked.or(Some(check));
            }
        }
        let limit = checks.limits.check;
        let started = checks.check(Check::StartSession, scope, self.start(limit));
        let session = next(started.await, &mut scope, Check::StartSession);
        self.end = session.as_ref().map(Session::end);
        scope.blocked = scope.blocked.or(channel_blocked);
        let connected = checks.check(Check::Upgrade, scope, self.connect(session));
        let driver = next(connected.await, &mut scope, Check::Upgrade);
        let shaken = checks.check(Check::Handshake, scope, self.shake_hands(driver, forward));
        let end = next(shaken.await, &mut scope, Check::Handshake).flatten();
        if forward.is_proxy() {
            let skip = async { CheckOutcome::<()>::Skip(CHOSEN_BY_CLIENTS.into()) };
            let _skipped = checks.check(Check::Destination, scope, skip).await;
            return;
        }
        let destination = reach(self.tunnel.as_ref(), end, limit);
        let _reached = checks.check(Check::Destination, scope, destination).await;
    }

    async fn start(&self, limit: Duration) -> CheckOutcome<Session> {
        // Without retries: a failure is a result.
        let priority = Priority::warm_session();
        let (targets, request) = (&self.plan.targets, &self.plan.request);
        let sessions = &self.context.sessions;
        let started = sessions.start_on(targets, request, &priority, limit, |_stage| {});
        match started.await {
            Ok(session) => {
                let text = format!("session {}", session.id());
                CheckOutcome::Pass(session, text.into())
            }
            Err(error) => Failure::of_aws(&error).into(),
        }
    }

    /// Opens the websocket of the session.
    async fn connect(&mut self, session: Option<Session>) -> CheckOutcome<Driver> {
        let Some(session) = session else {
            return CheckOutcome::Skip("there is no session".into());
        };
        let endpoint = session.endpoint().clone();
        let network = self.context.network.clone();
        let (tunnel, mut driver) = Driver::new(session, network, self.plan.tunnel_options.clone());
        self.tunnel = Some(tunnel);
        match driver.connect().await {
            Ok(()) => CheckOutcome::Pass(driver, format!("connected to {endpoint}").into()),
            Err(error) => Failure::of_tunnel(&error).into(),
        }
    }

    /// Waits for the handshake. Returns the error of a tunnel whose handshake was complete, but
    /// which ended because of its destination.
    async fn shake_hands(
        &mut self,
        driver: Option<Driver>,
        forward: &config::Forward,
    ) -> CheckOutcome<Option<Arc<Error>>> {
        let (Some(driver), Some(mut tunnel)) = (driver, self.tunnel.clone()) else {
            return CheckOutcome::Skip("there is no websocket".into());
        };
        self.driving.spawn(driver.run());
        match tunnel.ready().await {
            Ok(()) => {
                let version = tunnel.agent_version().unwrap_or_default();
                // The destination of a proxy's session here is an example.
                let destination = tunnel.destination().filter(|_| !forward.is_proxy());
                let destination = destination.map_or_else(String::new, |destination| {
                    format!(", which leads to {destination}")
                });
                CheckOutcome::Pass(None, format!("agent {version}{destination}").into())
            }
            Err(error) if is_of_destination(error.class()) => {
                CheckOutcome::Pass(Some(error), "complete".into())
            }
            Err(error) => Failure::of_tunnel(&error).into(),
        }
    }

    /// Ends the session, waits for it, and reports whether it has ended. Also does so when the
    /// checks were stopped or their time is over.
    async fn end(self, checks: &mut Checks<impl FnMut(Finding)>, scope: Scope<'_>) {
        let begin = clock::now();
        let Self {
            context,
            plan: _,
            end,
            tunnel,
            mut driving,
            mut background,
            shutdown_mode,
            mut dispatcher,
        } = self;
        if let Some(tunnel) = tunnel {
            tunnel.close();
            let closed = async { while driving.join_next().await.is_some() {} };
            // Otherwise it is terminated through the API alone.
            drop(timeout(CLOSE_TIMEOUT, closed).await);
        }
        driving.shutdown().await;
        background.shutdown().await;
        // The dispatcher ends when nothing can start a session any more.
        drop(context);
        // A call of StartSession that was interrupted is awaited, and its session is terminated.
        shutdown_mode.send_replace(ShutdownMode::Graceful);
        let mut stop = checks.stop.clone();
        let left = tokio::select! {
            left = dispatcher.join_next() => left,
            () = requested(&mut stop, ShutdownMode::Forced) => {
                shutdown_mode.send_replace(ShutdownMode::Forced);
                dispatcher.join_next().await
            }
        };
        let outcome = match (end, matches!(left, Some(Ok(0)))) {
            // One may have been started by a call that was interrupted.
            (None, true) if checks.is_stopped() => CheckOutcome::Skip(NOT_LEFT.into()),
            (None, true) => CheckOutcome::Skip(NOT_STARTED.into()),
            (Some(_), true) => CheckOutcome::Pass((), "terminated".into()),
            (end, false) => unterminated(end).await.into(),
        };
        let _checked = checks.report(
            Check::SessionEnd,
            scope.subject,
            outcome,
            clock::since(begin),
        );
    }
}

/// Returns the value of a check that has passed. Otherwise the next checks are blocked.
fn next<T>(checked: Checked<T>, scope: &mut Scope<'_>, check: Check) -> Option<T> {
    match checked {
        Checked::Passed(value) => Some(value),
        Checked::Skipped => None,
        Checked::Failed => {
            scope.blocked = scope.blocked.or(Some(check));
            None
        }
    }
}

/// Returns the failure of a session that may still be active.
async fn unterminated(end: Option<SessionEnd>) -> Failure {
    let outcome = match end {
        Some(end) => timeout(END_TIMEOUT, end.confirmed()).await.ok().flatten(),
        None => None,
    };
    let (class, why) = match outcome {
        Some(Err(error)) => (error.class(), format!(": {error}")),
        Some(Ok(())) | None => (ErrorClass::TimedOut, String::new()),
    };
    let remedy = match class == ErrorClass::AccessDenied {
        true => DENIED,
        false => LOOK_FOR_SESSIONS,
    };
    Failure::new(
        class,
        format!("the session may still be active{why}"),
        remedy,
    )
}

const CHOSEN_BY_CLIENTS: &str = "the clients of a proxy choose the destination";

const NOT_STARTED: &str = "no session was started";
const NOT_LEFT: &str = "no session is left";

const DENIED: &str = "the caller needs ssm:TerminateSession on its own sessions (arn:aws:ssm:*:*:session/${aws:userid}-*); until then, the account's idle session timeout ends them";

/// How long the result of TerminateSession is awaited.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of a graceful close: the flag on the channel waits 1 s for its acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
