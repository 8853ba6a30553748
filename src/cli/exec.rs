//! `exec`: forwards for the lifetime of a command.
//!
//! ```text
//!   bind free ports ─▶ start command ─▶ pass on signals ─▶ command exits ─▶ terminate sessions
//!                      {host} {port}                       its exit code becomes ours
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
use super::completions::names_with_destination;
use super::database_login::{User, login_variables};
use super::exit::Exit;
use super::forward::{ForwardOptions, Names, configuration, start};
use super::forward_variables::{ForwardAddress, ForwardVariables};
use super::named_forwards::NamedForwards;
use super::{progress, startup, terminal};
use crate::config::{Forward, Shutdown};
use crate::daemon::{Daemon, Signals};
use crate::telemetry::{Log, Verbosity};

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Forwards of the configuration; with -L, one of them or a managed node
    #[arg(value_name = "NAME|TARGET", required = true, add = names_with_destination())]
    names: Vec<String>,
    #[command(flatten)]
    options: ForwardOptions,
    #[command(flatten)]
    aws: AwsOptions,
    /// Log in to the database as this user, with a token of IAM authentication (RDS, Aurora) in
    /// PGPASSWORD or MYSQL_PWD
    #[arg(long, value_name = "USER")]
    db_user: Option<User>,
    /// The command to run; {host} and {port} are replaced by the address of the first forward,
    /// {NAME.host} and {NAME.port} by that of the forward NAME
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn exec(args: ExecArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Warn) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let ExecArgs {
        names,
        options,
        aws,
        db_user,
        command,
    } = args;
    let is_named = options.local.is_empty();
    let arguments = command.clone();
    let reading = blocking(move || match (is_named, &names[..]) {
        (false, [target]) => configuration(target, &options, &[], aws, Names::Forwards),
        (false, _) => Err(terminal::fail(
            Exit::Usage,
            &"with -L, `exec` takes one TARGET",
            "repeat -L for more destinations, or name forwards of the configuration without -L",
        )),
        (true, names) => {
            let named = NamedForwards {
                names,
                file: options.config.as_deref(),
                reason: options.reason.clone(),
                aws,
                relay: &options.relay,
                command: &arguments,
            };
            named.read()
        }
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
    let forwards = config.forwards.clone();
    let started = tokio::select! {
        started = start(config) => started,
        number = signals.next_number() => return Exit::Signal(number),
    };
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(exit) => return exit,
    };
    let variables = variables(&daemon, &forwards, is_named);
    let login = async {
        match &db_user {
            Some(user) => login_variables(&daemon, &forwards, &variables, user).await,
            None => Ok(Vec::new()),
        }
    };
    let login = tokio::select! {
        login = login => login,
        number = signals.next_number() => Err(Exit::Signal(number)),
    };
    let running = login.and_then(|login| RunningCommand::start(&command, &variables, login));
    let exit = match running {
        Ok(running) => running.wait(&mut daemon, &mut signals).await,
        Err(exit) => exit,
    };
    let stopping = daemon.stop_with_signals(&mut signals);
    progress::during("terminating the sessions", stopping).await;
    exit
}

/// Returns what the command gets. `forwards` are those of the configuration, in its order.
fn variables(daemon: &Daemon, forwards: &[Forward], is_named: bool) -> ForwardVariables {
    let addresses = forwards.iter().zip(daemon.reports());
    let addresses = addresses.map(|(forward, report)| {
        let listen = report.listen.first();
        let listen = listen.map(|address| address.as_str()).unwrap_or_default();
        let name = is_named.then(|| forward.name.clone());
        ForwardAddress::new(name, listen, forward.remote.clone())
    });
    ForwardVariables::new(addresses.collect())
}

struct RunningCommand {
    child: Child,
    pid: Option<Pid>,
}

impl RunningCommand {
    /// Starts the command. Fails as a shell does: 127 if not found, 126 if not executable. `login`
    /// are further variables, some of them secret.
    fn start(
        command: &[String],
        variables: &ForwardVariables,
        login: Vec<(String, String)>,
    ) -> Result<Self, Exit> {
        let (program, arguments) = command.split_first().ok_or(Exit::Usage)?;
        let started = Command::new(variables.fill(program))
            .args(arguments.iter().map(|argument| variables.fill(argument)))
            .envs(variables.environment())
            .envs(login)
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
