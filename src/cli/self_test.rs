//! `run --test`: the checks of `doctor` for all forwards while the daemon serves. Failures are logged.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::daemon::DaemonEnvironment;
use crate::daemon::doctor::{Examination, Finding, TimeLimits, Verdict};
use crate::panics::caught;
use crate::session::ShutdownMode;

/// The checks before they start.
#[derive(Debug)]
pub(super) struct SelfTest(Examination);

impl SelfTest {
    /// Creates the checks of a daemon with this configuration.
    pub(super) fn new(config: &Config, environment: &DaemonEnvironment) -> Self {
        let count = u32::try_from(config.forwards.len()).unwrap_or(u32::MAX);
        Self(Examination {
            current: watch::Sender::new(None),
            aws: Ok(config.aws.clone()),
            forwards: config.forwards.clone(),
            with_listeners: true,
            daemon: Some(std::process::id()),
            origin: environment.origin.clone(),
            state: environment.state.clone(),
            limits: TimeLimits {
                check: CHECK,
                total: FOR_EACH.saturating_mul(count.clamp(1, MAX_FORWARDS)),
            },
        })
    }

    /// Starts the checks.
    pub(super) fn start(self) -> RunningTest {
        let (stop, stopped) = watch::channel(ShutdownMode::Running);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut failed = 0_usize;
            let checks = self.0.run(stopped.clone(), |finding| {
                failed += usize::from(log(&finding));
            });
            // A panic is reported by its hook.
            let is_done =
                caught(checks).await.is_ok() && *stopped.borrow() == ShutdownMode::Running;
            match failed {
                0 if is_done => info!("self-test: no check has failed"),
                0 => {}
                failed => warn!(failed, "self-test: some checks have failed"),
            }
        });
        RunningTest { stop, task }
    }
}

/// The running checks. Dropping this aborts them.
#[derive(Debug)]
pub(super) struct RunningTest {
    stop: watch::Sender<ShutdownMode>,
    task: JoinSet<()>,
}

impl RunningTest {
    /// Ends the checks, and a session that they have started.
    pub(super) async fn end(mut self) {
        self.stop.send_replace(ShutdownMode::Forced);
        // Bounded by the end of a session.
        while self.task.join_next().await.is_some() {}
    }
}

/// Logs a finding. Returns whether it is a failure.
fn log(finding: &Finding) -> bool {
    let Finding {
        check,
        subject,
        verdict,
        text,
        duration: _,
    } = finding;
    let (check, subject, text) = (check.name(), subject.as_deref(), text.as_str());
    match verdict {
        Verdict::Pass => debug!(check, subject, "self-test passed: {text}"),
        Verdict::Skip => debug!(check, subject, "self-test skipped: {text}"),
        Verdict::Fail { class, remedy } => {
            let (class, hint) = (class.name(), remedy.as_str());
            warn!(check, subject, class, hint, "self-test failed: {text}");
            return true;
        }
    }
    false
}

/// Time limit of each check.
const CHECK: Duration = Duration::from_secs(20);

/// Time limit of all checks, for each forward.
const FOR_EACH: Duration = Duration::from_secs(120);

/// Maximum number of forwards for that.
const MAX_FORWARDS: u32 = 1000;
