//! Commands for a running daemon: `reload`, `stop`, `close`, `wait`, `log`.

use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout_at};

use super::completions::forward_names;
use super::daemon_address::{DaemonAddress, LookupError, START_ONE, failure_hint};
use super::exit::Exit;
use super::progress::{self, ProgressLine};
use super::{stdout, terminal};
use crate::clock;
use crate::config;
use crate::daemon::{ErrorKind, ErrorResponse, Request, Response};
use crate::quantity;
use crate::telemetry::{ForwardState, StatusReport};

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Reloads the daemon's configuration and prints the result.
pub(super) async fn reload(args: ReloadArgs) -> Exit {
    match ask(&args.daemon, &Request::Reload).await {
        Ok(Response::Reloaded(change)) => {
            sent(stdout::print_text(&format!("reloaded: {change}\n")))
        }
        Ok(other) => unexpected_response(&other),
        Err(exit) => {
            if matches!(exit, Exit::Configuration | Exit::CannotListen) {
                terminal::send(&"reload failed; keeping the current configuration");
            }
            exit
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Reset open connections instead of waiting for them
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Stops the daemon and waits for its end. Fails if sessions may still be active.
pub(super) async fn stop(args: StopArgs) -> Exit {
    match ask(&args.daemon, &Request::Stop { now: args.now }).await {
        Ok(Response::Stopped {
            sessions_left: Some(0),
        }) => sent(stdout::print_line("stopped; all sessions are terminated")),
        Ok(Response::Stopped { sessions_left }) => {
            let count = sessions_left.map_or_else(String::new, |count| format!("{count} "));
            let error = format!("stopped, but {count}sessions may still be active");
            let hint = "the daemon's log contains their ids; `aws ssm describe-sessions --state Active` lists active sessions";
            terminal::fail(Exit::Failed, &error, hint)
        }
        Ok(other) => unexpected_response(&other),
        Err(exit) => exit,
    }
}

#[derive(Debug, Args)]
pub(super) struct CloseArgs {
    /// Number of the connection, as printed by `status NAME` and in the log
    #[arg(value_name = "ID")]
    connection: u64,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Resets one connection.
pub(super) async fn close(args: CloseArgs) -> Exit {
    let connection = args.connection;
    match ask(&args.daemon, &Request::Close { connection }).await {
        Ok(Response::Closed { connection }) => sent(stdout::print_line(format_args!(
            "closed connection {connection}"
        ))),
        Ok(other) => unexpected_response(&other),
        Err(exit) => exit,
    }
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// error, warn, info, debug or trace, or a filter as in SSM_PROXYD_LOG [default: print the
    /// current filter]
    level: Option<String>,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Changes the daemon's log filter and prints the current one.
pub(super) async fn log(args: LogArgs) -> Exit {
    let request = Request::Log { level: args.level };
    match ask(&args.daemon, &request).await {
        Ok(Response::Log { filter }) => sent(stdout::print_text(&format!("{filter}\n"))),
        Ok(other) => unexpected_response(&other),
        Err(exit) => exit,
    }
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Maximum time to wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration)]
    timeout: Duration,
    /// Forwards that must be ready [default: only the daemon itself]
    #[arg(value_name = "NAME", add = forward_names())]
    names: Vec<String>,
    #[command(flatten)]
    daemon: DaemonAddress,
}

/// Waits until the daemon is listening and the named forwards are ready.
pub(super) async fn wait(args: WaitArgs) -> Exit {
    let deadline = clock::now() + args.timeout.min(MAX_WAIT);
    let (mut last, mut line) = (None, ProgressLine::new());
    let slow = clock::now() + progress::REFRESH;
    loop {
        let polled = timeout_at(deadline.into(), poll(&args)).await;
        match polled {
            Ok(WaitResult::Ready) => return Exit::Done,
            Ok(WaitResult::Failed(exit)) => return exit,
            Ok(WaitResult::NotYet(what, hint)) => {
                if clock::now() >= slow {
                    line.show(&format!("waiting: {what}"));
                }
                last = Some((what, hint));
            }
            Err(_) => break,
        }
        if clock::now() + POLL_INTERVAL >= deadline {
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    line.clear();
    let (what, hint) =
        last.unwrap_or_else(|| ("the daemon does not respond".into(), String::new()));
    let within = quantity::duration(args.timeout);
    terminal::fail(
        Exit::TryAgain,
        &format!("not ready within {within}: {what}"),
        &hint,
    )
}

/// Result of one poll.
enum WaitResult {
    Ready,
    /// What is not ready, and a hint.
    NotYet(String, String),
    Failed(Exit),
}

async fn poll(args: &WaitArgs) -> WaitResult {
    let asked = async {
        let mut client = args.daemon.connect().await?;
        Ok::<_, LookupError>(client.ask(&Request::Status).await?)
    };
    match asked.await {
        Ok(Response::Status(report)) => missing(&report, &args.names),
        Ok(other) => WaitResult::Failed(unexpected_response(&other)),
        Err(LookupError::Daemon(error)) => {
            WaitResult::NotYet(error.to_string(), failure_hint(&error))
        }
        Err(error @ (LookupError::Configuration(_) | LookupError::Failed(_))) => {
            WaitResult::Failed(error.report())
        }
    }
}

fn missing(report: &StatusReport, names: &[String]) -> WaitResult {
    if report.stopping {
        return WaitResult::NotYet("the daemon is stopping".to_owned(), START_ONE.to_owned());
    }
    for name in names {
        let Some(forward) = report.forwards.iter().find(|forward| forward.name == *name) else {
            let known: Vec<&str> = report.forwards.iter().map(|f| f.name.as_str()).collect();
            let hint = format!("its forwards: {}", known.join(", "));
            let error = format!("the daemon has no forward {name:?}");
            return WaitResult::Failed(terminal::fail(Exit::Usage, &error, &hint));
        };
        match (forward.state, &forward.failure) {
            (ForwardState::Ready, _) => {}
            (ForwardState::Disabled, _) => {
                let hint = "remove `enabled = false` from the forward, and reload";
                return WaitResult::NotYet(format!("{name}: disabled"), hint.to_owned());
            }
            // The failure is older than the circuit breaker stays open, and only a connection can
            // show whether it still exists.
            (_, Some(failure)) if failure.may_be_over(FAILURE_TTL) => {}
            (_, Some(failure)) => {
                let what = format!("{name}: {}", failure.error);
                let (what, hint) = terminal::tagged(&what, &failure.hint, &failure.code);
                return WaitResult::NotYet(what, hint);
            }
            (_, None) => {
                let what = format!("{name}: starting its first session");
                return WaitResult::NotYet(what, String::new());
            }
        }
    }
    WaitResult::Ready
}

/// Sends a request to the daemon, shows on a terminal that it is waited for, and prints the error
/// if it fails.
pub(super) async fn ask(daemon: &DaemonAddress, request: &Request) -> Result<Response, Exit> {
    let asked = ask_quietly(daemon, request);
    let asked = progress::during(waiting_for(request), asked).await;
    asked.map_err(|error| error.report())
}

/// Sends a request to the daemon.
///
/// # Errors
///
/// Fails if no daemon is found or it does not answer, or if it rejects the request.
pub(super) async fn ask_quietly(
    daemon: &DaemonAddress,
    request: &Request,
) -> Result<Response, AskError> {
    let asked = async { Ok::<_, LookupError>(daemon.connect().await?.ask(request).await?) };
    match asked.await {
        Ok(Response::Error(rejection)) => Err(AskError::Rejected(rejection)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(AskError::Lookup(error)),
    }
}

/// Error of a request.
pub(super) enum AskError {
    Lookup(LookupError),
    /// By the daemon.
    Rejected(ErrorResponse),
}

impl AskError {
    /// Prints the error, and returns the exit code.
    pub(super) fn report(&self) -> Exit {
        match self {
            Self::Lookup(error) => error.report(),
            Self::Rejected(rejection) => rejected(rejection),
        }
    }
}

/// Returns what a command waits for.
fn waiting_for(request: &Request) -> &'static str {
    match request {
        Request::Stop { .. } => "waiting for the daemon to stop",
        Request::Reload => "waiting for the daemon to reload",
        Request::Status | Request::Forward { .. } | Request::Close { .. } | Request::Log { .. } => {
            "waiting for the daemon"
        }
    }
}

fn rejected(
    ErrorResponse {
        kind,
        message,
        hint,
        rendered,
    }: &ErrorResponse,
) -> Exit {
    let exit = match kind {
        ErrorKind::Request => Exit::Usage,
        ErrorKind::Configuration => Exit::Configuration,
        ErrorKind::Listen => Exit::CannotListen,
        ErrorKind::Busy => Exit::Unavailable,
    };
    match rendered {
        Some(text) => terminal::fail_with_rendered(exit, text),
        None => terminal::fail(exit, message, hint),
    }
}

/// Returns the exit code of a command that has printed its result.
pub(super) fn sent(printed: Result<(), stdout::StdoutClosed>) -> Exit {
    printed.map_or_else(|closed| closed.exit(), |()| Exit::Done)
}

/// Reports a response of an unexpected type.
pub(super) fn unexpected_response(response: &Response) -> Exit {
    let error = format!("unexpected response from the daemon: {response:?}");
    terminal::fail(
        Exit::Failed,
        &error,
        "check that the daemon and this command have the same version",
    )
}

/// Seconds for which a failure counts if nothing was tried since: the longest time that the circuit
/// breaker stays open. A failure of what the daemon itself tries again counts until it succeeds.
const FAILURE_TTL: u64 = 15;

/// Maximum for `--timeout`, so that the deadline is representable.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns whether `wait f` ends.
    fn is_ready(failure: serde_json::Value) -> bool {
        let forward = json!({
            "name": "f", "listen": [], "target": "i", "remote": "r:1", "state": "failing",
            "connections": 0, "waiting": 0, "accepted": 0, "sent": 0, "received": 0,
            "sessions": 0, "sessions_ready": 0, "sessions_started": 0, "sessions_failed": 0,
            "resumes": 0, "failure": failure,
        });
        let report = json!({
            "version": "1", "pid": 1, "uptime_seconds": 1, "stopping": false, "alive": true,
            "reloads": 0, "failed_reloads": 0, "log": "info", "connections": 0,
            "forwards": [forward], "finishing": [],
        });
        let report = serde_json::from_value(report).unwrap();
        matches!(missing(&report, &["f".to_owned()]), WaitResult::Ready)
    }

    fn failure(seen: u64, retried: bool) -> serde_json::Value {
        json!({
            "code": "TargetNotConnected", "error": "offline", "hint": "",
            "since_seconds": 9000, "seen_seconds": seen, "retried": retried,
        })
    }

    #[test]
    fn a_failure_that_only_a_connection_can_clear_ends_with_time() {
        assert!(!is_ready(failure(FAILURE_TTL - 1, false)));
        assert!(is_ready(failure(FAILURE_TTL, false)));
    }

    #[test]
    fn a_failure_of_what_is_tried_again_lasts_until_it_succeeds() {
        assert!(!is_ready(failure(0, true)));
        assert!(!is_ready(failure(9000, true)));
    }
}
