//! `exec`: a forward for the lifetime of a command.
//!
//! ```text
//!   bind a free port ─▶ start command ─▶ pass on signals ─▶ command exits ─▶ terminate sessions
//!                       {host} {port}                       its exit code becomes ours
//! ```

use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use tokio::task::JoinSet;
use tracing::warn;

use super::ad_hoc::blocking;
use super::aws_options::AwsOptions;
use super::completions::forward_names;
use super::exit::Exit;
use super::forward::{ForwardOptions, configuration, init, start};
use super::{environment, paths, terminal};
use crate::config::{Config, Listen, SessionMode, Shutdown};
use crate::daemon::{Daemon, Signals};
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// A forward of the configuration; with -L, a managed node
    #[arg(value_name = "NAME|TARGET", add = forward_names())]
    name: String,
    #[command(flatten)]
    options: ForwardOptions,
    #[command(flatten)]
    aws: AwsOptions,
    /// The command to run; {host} and {port} are replaced by the address of the forward
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn exec(args: ExecArgs, log: Log) -> Exit {
    let mut signals = match init(log) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let ExecArgs {
        name,
        options,
        aws,
        command,
    } = args;
    let reading = blocking(move || match options.local.is_empty() {
        true => named(&name, aws),
        false => configuration(&name, &options, aws),
    });
    let config = tokio::select! {
        config = reading => config,
        number = signals.next_number() => return Exit::Signal(number),
    };
    let mut config = match config {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    // After the command has exited there are no clients to wait for.
    config.shutdown = Shutdown {
        drain_timeout: Duration::ZERO,
        includes_endings: false,
    };
    let started = tokio::select! {
        started = start(config) => started,
        number = signals.next_number() => return Exit::Signal(number),
    };
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(exit) => return exit,
    };
    let exit = match RunningCommand::start(&command, &ForwardAddress::of(&daemon)) {
        Ok(running) => running.wait(&mut daemon, &mut signals).await,
        Err(exit) => exit,
    };
    daemon.stop_with_signals(&mut signals).await;
    exit
}

/// Returns a forward of the file, changed to a free port and without warm sessions.
fn named(name: &str, aws: AwsOptions) -> Result<Config, Exit> {
    let (path, mut config) = paths::read(None)
        .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))?;
    environment::apply(&mut config.aws).map_err(|bad| bad.fail())?;
    let known: Vec<&str> = config.forwards.iter().map(|f| f.name.as_str()).collect();
    let known = known.join(", ");
    config.forwards.retain(|forward| forward.name == name);
    let Some(forward) = config.forwards.first_mut() else {
        let error = format!("{} has no forward {name:?}", path.display());
        let hint = format!("its forwards: {known}; for a target, add -L");
        return Err(terminal::fail(Exit::Usage, &error, &hint));
    };
    // Named explicitly, so enabled.
    forward.enabled = true;
    forward.listen = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    forward.account = aws.or(std::mem::take(&mut forward.account));
    if let SessionMode::PerConnection { warm, .. } = &mut forward.sessions {
        // The number of connections of the command is unknown.
        *warm = 0;
    }
    Ok(config)
}

/// Address of the first forward.
struct ForwardAddress {
    host: String,
    port: String,
}

impl ForwardAddress {
    /// A Unix socket becomes a host without a port, as in PostgreSQL clients.
    fn of(daemon: &Daemon) -> Self {
        let reports = daemon.reports();
        let first = reports.first().and_then(|report| report.listen.first());
        let first = first.map(|address| address.as_str()).unwrap_or_default();
        let (host, port) = match first.strip_prefix("unix:") {
            Some(path) => (path, ""),
            None => first.rsplit_once(':').unwrap_or((first, "")),
        };
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.to_owned(),
        }
    }

    fn fill(&self, argument: &str) -> String {
        argument
            .replace("{host}", &self.host)
            .replace("{port}", &self.port)
    }
}

struct RunningCommand {
    child: Child,
    pid: Option<Pid>,
}

impl RunningCommand {
    /// Starts the command. Fails as a shell does: 127 if not found, 126 if not executable.
    fn start(command: &[String], address: &ForwardAddress) -> Result<Self, Exit> {
        let (program, arguments) = command.split_first().ok_or(Exit::Usage)?;
        let started = Command::new(address.fill(program))
            .args(arguments.iter().map(|argument| address.fill(argument)))
            .env("SSM_PROXYD_HOST", &address.host)
            .env("SSM_PROXYD_PORT", &address.port)
            .spawn();
        let child = started.map_err(|error| {
            let exists = error.kind() != io::ErrorKind::NotFound;
            let exit = Exit::Command(if exists { 126 } else { 127 });
            let error = format!("cannot run {program}: {}", terminal::os_message(&error));
            terminal::fail(exit, &error, "check that it is in the PATH and executable")
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self { child, pid })
    }

    /// Waits for the command, passing on signals that the terminal does not send to it.
    async fn wait(mut self, daemon: &mut Daemon, signals: &mut Signals) -> Exit {
        let mut waiting = JoinSet::new();
        let pid = self.pid;
        // Not reaped until no more signals can be sent, so that its pid is not reused.
        waiting.spawn_blocking(move || pid.map(wait_for));
        loop {
            tokio::select! {
                _ = waiting.join_next() => break,
                number = signals.next_number() => self.pass_on(number),
                never = daemon.retry_after_suspend() => match never {},
            }
        }
        match self.child.wait() {
            Ok(status) => exit_of(status),
            Err(error) => terminal::fail(Exit::Failed, &error, "cannot wait for the command"),
        }
    }

    fn pass_on(&self, number: u8) {
        if number == INTERRUPT && is_in_the_foreground() {
            return;
        }
        let signal = Signal::from_named_raw(number.into());
        if let Some((pid, signal)) = self.pid.zip(signal)
            && let Err(error) = kill_process(pid, signal)
        {
            warn!(%error, "cannot forward the signal to the command");
        }
    }
}

/// Waits until a child has exited, without reaping it.
fn wait_for(pid: Pid) {
    let ends = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), ends).is_err_and(|error| error == Errno::INTR) {}
}

/// Returns whether we are in the foreground group, whose signals from the terminal the command
/// receives too.
fn is_in_the_foreground() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let signal = status.signal().and_then(|signal| u8::try_from(signal).ok());
    match (code, signal) {
        (Some(code), _) => Exit::Command(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Failed,
    }
}

const INTERRUPT: u8 = 2;
