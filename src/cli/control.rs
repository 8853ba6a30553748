//! Commands that ask a running daemon: `reload`, `stop`, `wait`, `log`; and how it is found.

#![expect(clippy::disallowed_methods, reason = "`wait` has a deadline")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use super::completions::forward_names;
use super::exit::Exit;
use super::{place, run, stdout, terminal};
use crate::config;
use crate::daemon::{Answer, Client, ClientError, ErrorResponse, Fault, Request};
use crate::telemetry::{ForwardState, Report};

/// Where the daemon is.
#[derive(Debug, Args)]
pub(super) struct DaemonAddress {
    /// The admin socket of the daemon [default: the one of the configuration, then
    /// $XDG_RUNTIME_DIR/ssm-proxyd/admin.sock, then /run/ssm-proxyd/admin.sock, then
    /// /tmp/ssm-proxyd-UID/admin.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration of the daemon [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DaemonAddress {
    /// Connects to the first daemon that is there.
    ///
    /// # Errors
    ///
    /// If there is none, or the configuration does not tell where.
    async fn find(&self) -> Result<Client, NotFound> {
        let mut first = None;
        for place in self.places()? {
            match Client::connect(&place).await {
                Err(error) if error.is_absence() => first = first.or(Some(error)),
                found => return found.map_err(NotFound::Daemon),
            }
        }
        Err(NotFound::Daemon(first.unwrap_or_else(|| ClientError {
            path: PathBuf::from(place::SYSTEM),
            source: std::io::ErrorKind::NotFound.into(),
        })))
    }

    /// One that was named stands alone.
    fn places(&self) -> Result<Vec<PathBuf>, NotFound> {
        if let Some(named) = &self.socket {
            return Ok(vec![named.clone()]);
        }
        if let Some(named) = self.configured()? {
            return Ok(vec![named]);
        }
        Ok(place::of_clients())
    }

    /// What the configuration says. One that nobody named need not be readable for us.
    fn configured(&self) -> Result<Option<PathBuf>, NotFound> {
        let Ok(path) = run::search(self.config.as_deref()) else {
            return Ok(None);
        };
        let is_named =
            self.config.is_some() || terminal::environment("SSM_PROXYD_CONFIG").is_some();
        match config::read_admin(&path) {
            Ok(admin) => Ok(admin.socket),
            Err(config::Error::Unreadable { .. }) if !is_named => Ok(None),
            Err(error) => Err(NotFound::Configuration(error)),
        }
    }
}

/// Why there is no daemon to ask.
enum NotFound {
    Daemon(ClientError),
    /// It does not tell where the daemon is.
    Configuration(config::Error),
}

impl From<ClientError> for NotFound {
    fn from(error: ClientError) -> Self {
        Self::Daemon(error)
    }
}

impl NotFound {
    fn tell(&self) -> Exit {
        match self {
            Self::Daemon(error) => {
                let hint = if error.is_absence() { START_ONE } else { "" };
                terminal::fail(Exit::Unavailable, error, hint)
            }
            Self::Configuration(error) => terminal::fail_as_told(Exit::Configuration, error),
        }
    }
}

/// Options of `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    whereabouts: DaemonAddress,
}

/// Lets the daemon read its configuration anew, and tells what came of it.
pub(super) async fn reload(args: ReloadArgs) -> Exit {
    match ask(&args.whereabouts, &Request::Reload).await {
        Ok(Answer::Reloaded(change)) => said(stdout::line(format_args!("reloaded: {change}"))),
        Ok(other) => strange(&other),
        Err(exit) => {
            if matches!(exit, Exit::Configuration | Exit::CannotListen) {
                terminal::say(&"not reloaded, everything stays as it was");
            }
            exit
        }
    }
}

/// Options of `stop`.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Reset open connections instead of waiting for them
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    whereabouts: DaemonAddress,
}

/// Stops the daemon and waits until it has. It is no success if sessions may have been left behind.
pub(super) async fn stop(args: StopArgs) -> Exit {
    match ask(&args.whereabouts, &Request::Stop { now: args.now }).await {
        Ok(Answer::Stopped {
            sessions_left: Some(0),
        }) => said(stdout::line("stopped; every session is ended")),
        Ok(Answer::Stopped { sessions_left }) => {
            let count = sessions_left.map_or_else(String::new, |count| format!("{count} "));
            let error = format!("stopped, but {count}sessions may have been left behind");
            let hint = "the daemon's log names them; `aws ssm describe-sessions --state Active` lists those that are open";
            terminal::fail(Exit::Failed, &error, hint)
        }
        Ok(other) => strange(&other),
        Err(exit) => exit,
    }
}

/// Options of `log`.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// error, warn, info, debug or trace, or a filter as in SSM_PROXYD_LOG [default: change nothing]
    level: Option<String>,
    #[command(flatten)]
    whereabouts: DaemonAddress,
}

/// Changes what the daemon logs, and tells what that is now.
pub(super) async fn log(args: LogArgs) -> Exit {
    let request = Request::Log { level: args.level };
    match ask(&args.whereabouts, &request).await {
        Ok(Answer::Log { filter }) => said(stdout::line(filter)),
        Ok(other) => strange(&other),
        Err(exit) => exit,
    }
}

/// Options of `wait`.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration)]
    timeout: Duration,
    /// Forwards that must be ready [default: none by name; the daemon listens]
    #[arg(value_name = "NAME", add = forward_names())]
    names: Vec<String>,
    #[command(flatten)]
    whereabouts: DaemonAddress,
}

/// Waits until the daemon listens, and until these forwards are ready.
pub(super) async fn wait(args: WaitArgs) -> Exit {
    let deadline = Instant::now() + args.timeout.min(MAX_WAIT);
    let mut last = None;
    loop {
        let looked = timeout_at(deadline, look(&args)).await;
        match looked {
            Ok(Look::Ready) => return Exit::Done,
            Ok(Look::Never(exit)) => return exit,
            Ok(Look::Missing(what, hint)) => last = Some((what, hint)),
            Err(_) => break,
        }
        if Instant::now() + POLL_INTERVAL >= deadline {
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    let (what, hint) = last.unwrap_or_else(|| ("the daemon does not answer".into(), String::new()));
    let within = config::written_duration(args.timeout);
    terminal::fail(
        Exit::TryAgain,
        &format!("not ready within {within}: {what}"),
        &hint,
    )
}

/// What is seen at one moment.
enum Look {
    Ready,
    /// What is missing, and what to do about it.
    Missing(String, String),
    Never(Exit),
}

async fn look(args: &WaitArgs) -> Look {
    let asked = async {
        let mut client = args.whereabouts.find().await?;
        Ok::<_, NotFound>(client.ask(&Request::Status).await?)
    };
    match asked.await {
        Ok(Answer::Status(report)) => missing(&report, &args.names),
        Ok(other) => Look::Never(strange(&other)),
        Err(NotFound::Daemon(error)) if error.is_absence() => {
            Look::Missing(error.to_string(), START_ONE.to_owned())
        }
        Err(NotFound::Daemon(error)) => Look::Missing(error.to_string(), String::new()),
        Err(error @ NotFound::Configuration(_)) => Look::Never(error.tell()),
    }
}

fn missing(report: &Report, names: &[String]) -> Look {
    if report.stopping {
        return Look::Missing("the daemon stops".to_owned(), START_ONE.to_owned());
    }
    for name in names {
        let Some(forward) = report.forwards.iter().find(|forward| forward.name == *name) else {
            let known: Vec<&str> = report.forwards.iter().map(|f| f.name.as_str()).collect();
            let hint = format!("its forwards are {}", known.join(", "));
            let error = format!("the daemon has no forward {name:?}");
            return Look::Never(terminal::fail(Exit::Usage, &error, &hint));
        };
        match (forward.state, &forward.trouble) {
            (ForwardState::Ready, _) => {}
            (ForwardState::Disabled, _) => {
                let hint = "remove `enabled = false` from the forward, and reload";
                return Look::Missing(format!("{name}: disabled"), hint.to_owned());
            }
            // Longer ago than a forward refuses without asking: nobody knows.
            (_, Some(trouble)) if trouble.seen_seconds >= FAILURE_TTL => {}
            (_, Some(trouble)) => {
                return Look::Missing(
                    format!("{name}: {}", trouble.error),
                    trouble.hint.to_string(),
                );
            }
            (_, None) => {
                let what = format!("{name}: the first of its sessions is under way");
                return Look::Missing(what, String::new());
            }
        }
    }
    Look::Ready
}

/// Asks the daemon, and says what went wrong.
pub(super) async fn ask(whereabouts: &DaemonAddress, request: &Request) -> Result<Answer, Exit> {
    let asked = async { Ok::<_, NotFound>(whereabouts.find().await?.ask(request).await?) };
    match asked.await {
        Ok(Answer::Error(rejection)) => Err(rejected(&rejection)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(error.tell()),
    }
}

fn rejected(
    ErrorResponse {
        kind,
        message,
        hint,
    }: &ErrorResponse,
) -> Exit {
    let exit = match kind {
        Fault::Request => Exit::Usage,
        Fault::Configuration => Exit::Configuration,
        Fault::Listen => Exit::CannotListen,
        Fault::Busy => Exit::Unavailable,
    };
    // Problems of a file come as they are told.
    match message.starts_with("error: ") {
        true => terminal::fail_as_told(exit, message),
        false => terminal::fail(exit, message, hint),
    }
}

/// How a command ends that has said its result.
pub(super) fn said(told: Result<(), stdout::StdoutClosed>) -> Exit {
    told.map_or_else(|unheard| unheard.exit(), |()| Exit::Done)
}

/// An answer to something else.
pub(super) fn strange(answer: &Answer) -> Exit {
    let error = format!("the daemon has answered something else: {answer:?}");
    terminal::fail(
        Exit::Failed,
        &error,
        "is it of the same version as this command?",
    )
}

const START_ONE: &str =
    "start one: `ssm-proxyd run`, or `systemctl start ssm-proxyd`; `--socket` names another place";

/// For how long a failure counts if nobody has tried since, in seconds: as long as the gate is shut
/// at most.
const FAILURE_TTL: u64 = 15;

/// A clock cannot count to just any time.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often is looked again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
