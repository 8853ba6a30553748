//! Command line: commands, options, exit codes and messages.
//!
//! The commands only call other modules. stdout carries the result of a command; everything else
//! goes to stderr.

mod ad_hoc;
mod admin_socket_path;
mod aws_options;
mod cells;
mod check;
mod completions;
mod connect;
mod control;
mod daemon_address;
mod database_login;
mod demo;
mod doctor;
mod environment;
mod exec;
mod exit;
mod forward;
mod forward_variables;
mod help;
mod hosts;
mod iam_policy;
mod init;
mod live_status;
mod local_forward;
mod man;
mod named_forwards;
mod paths;
mod plugin;
mod progress;
mod push_key;
mod ready_file;
mod reference;
mod relay;
mod relay_flags;
mod relay_lines;
mod run;
mod schema;
mod self_test;
mod simulate;
mod ssh_config;
mod startup;
mod status;
mod stdout;
mod targets;
mod terminal;
mod token;
mod top;

use std::ffi::{OsStr, OsString};
use std::io;
use std::panic::catch_unwind;
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand};

pub use self::exit::Exit;
use crate::config::ValueError;
use crate::forward::InheritedSockets;
use crate::panics;
use crate::printable::is_printable;
use crate::proto::ClientVersion;
use crate::session::{kill_credential_processes, restore_terminal};
use crate::telemetry::{self, Log, Verbosity};

/// Runs the command given by the arguments. Returns when it is complete and the log is flushed.
pub fn main() -> Exit {
    panics::install_hook(|line| terminal::send(&line));
    // The panic hook has reported it.
    let exit = catch_unwind(run_command).unwrap_or(Exit::Failed);
    restore_terminal();
    telemetry::flush_log();
    exit
}

fn run_command() -> Exit {
    if let Some(exit) = plugin::answer() {
        return exit;
    }
    if let Some(exit) = completions::answer() {
        return exit;
    }
    let cli = match parsed(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    #[cfg(debug_assertions)]
    cli.panic_at.into_iter().for_each(panics::arm);
    let log = match log(&cli.log) {
        Ok(log) => log,
        Err(error) => {
            let hint = "for example SSM_PROXYD_LOG=ssm_proxyd=debug";
            return terminal::fail(Exit::Usage, &error, hint);
        }
    };
    let sockets = passed_sockets(&cli.command);
    in_runtime(cli.command.run(log, sockets))
}

/// Parses a command line, whose first word is the name of the program.
fn parsed(words: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = help::command().try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut help::command()))
}

/// Runs a command in a runtime.
fn in_runtime(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(command);
            kill_credential_processes();
            // A hanging name lookup must not delay the exit.
            runtime.shutdown_background();
            exit
        }
        Err(error) => terminal::fail(
            Exit::Failed,
            &error,
            "check this machine's thread and memory limits",
        ),
    }
}

/// Port forwarding over AWS Systems Manager Session Manager: one session for each connection.
#[derive(Debug, Parser)]
#[command(name = "ssm-proxyd", version = version())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogOptions,
    /// Code location that panics once, for tests
    #[cfg(debug_assertions)]
    #[arg(long, global = true, hide = true, value_name = "POINT")]
    panic_at: Vec<panics::Armed>,
}

#[derive(Debug, Args)]
struct LogOptions {
    /// Log more: -v for decisions, -vv for every message
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Write a first configuration file
    Init(init::InitArgs),
    /// Validate a configuration and print the resulting settings
    Check(check::CheckArgs),
    /// Show the forwards of a running daemon, or the connections of one of them
    Status(status::StatusArgs),
    /// Show the forwards of a running daemon and their connections, live on a terminal
    Top(top::TopArgs),
    /// Wait until a daemon or some of its forwards are ready
    Wait(control::WaitArgs),
    /// Reload the configuration of a running daemon
    Reload(control::ReloadArgs),
    /// Stop a running daemon and wait until it has stopped
    Stop(control::StopArgs),
    /// Reset one connection of a running daemon
    Close(control::CloseArgs),
    /// Show or change the log filter of a running daemon
    Log(control::LogArgs),
    /// Connect stdin and stdout to a destination, for ssh's ProxyCommand
    Connect(connect::ConnectArgs),
    /// Forward ports without a configuration file, until Ctrl-C
    Forward(forward::ForwardArgs),
    /// Run a command with forwards that last as long as the command
    Exec(exec::ExecArgs),
    /// List the managed nodes, or the tasks of an ECS cluster
    Targets(targets::TargetsArgs),
    /// Find out what keeps a forward from working, with a real session, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Print or install the ssh configuration for `ssh i-…`
    SshConfig(ssh_config::SshConfigArgs),
    /// Make this program the session-manager-plugin of the AWS CLI
    Plugin(plugin::PluginArgs),
    /// Print the least IAM policy for the forwards of the configuration
    IamPolicy(iam_policy::IamPolicyArgs),
    /// Print, install or remove names of remote hosts in /etc/hosts, so that TLS names match
    Hosts(hosts::HostsArgs),
    /// Print a token for a database with IAM authentication (RDS, Aurora), in place of a password
    Token(token::TokenArgs),
    /// Run the end of relay mode on a target: one connection over many sessions
    Relay(relay::RelayArgs),
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Print a manual page
    Man(man::ManArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print a reference page of the documentation
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
    /// Demonstrate a complete tunnel on this machine, without an AWS account
    Demo(demo::DemoArgs),
    /// Simulate the SSM service and agents on loopback, for testing clients
    Simulate(Box<simulate::Args>),
}

impl Command {
    async fn run(self, log: Log, sockets: io::Result<InheritedSockets>) -> Exit {
        match self {
            Self::Run(args) => run::run(args, log, sockets).await,
            Self::Check(args) => quietly(log, async { check::check(&args) }).await,
            Self::Status(args) => quietly(log, status::status(args)).await,
            Self::Top(args) => quietly(log, top::top(args)).await,
            Self::Wait(args) => quietly(log, control::wait(args)).await,
            Self::Reload(args) => quietly(log, control::reload(args)).await,
            Self::Stop(args) => quietly(log, control::stop(args)).await,
            Self::Close(args) => quietly(log, control::close(args)).await,
            Self::Log(args) => quietly(log, control::log(args)).await,
            Self::Forward(args) => forward::forward(args, log).await,
            Self::Exec(args) => exec::exec(args, log).await,
            Self::Connect(args) => connect::connect(args, log).await,
            Self::Init(args) => init::init(args, log).await,
            Self::Targets(args) => targets::targets(args, log).await,
            Self::Doctor(args) => doctor::doctor(args, log).await,
            Self::SshConfig(args) => quietly(log, async { ssh_config::ssh_config(args) }).await,
            Self::Plugin(args) => quietly(log, async { plugin::plugin(args) }).await,
            Self::IamPolicy(args) => quietly(log, async { iam_policy::iam_policy(&args) }).await,
            Self::Hosts(args) => quietly(log, async { hosts::hosts(&args) }).await,
            Self::Token(args) => token::token(args, log).await,
            Self::Relay(args) => relay::relay(args, log).await,
            Self::Completions(args) => {
                quietly(log, async { completions::completions(&args) }).await
            }
            Self::Man(args) => quietly(log, async { man::man(&args) }).await,
            Self::Schema => quietly(log, async { schema::schema() }).await,
            Self::Reference(args) => quietly(log, async { reference::reference(&args) }).await,
            Self::Demo(args) => quietly(log, demo::run(args)).await,
            Self::Simulate(args) => quietly(log, run_simulator(*args)).await,
        }
    }
}

/// Must be called while there is one thread, as it changes the environment.
fn passed_sockets(command: &Command) -> io::Result<InheritedSockets> {
    match command {
        Command::Run(_) => {
            InheritedSockets::take(&terminal::environment("LISTEN_FDNAMES").unwrap_or_default())
        }
        Command::Check(_)
        | Command::Status(_)
        | Command::Top(_)
        | Command::Wait(_)
        | Command::Reload(_)
        | Command::Stop(_)
        | Command::Close(_)
        | Command::Log(_)
        | Command::Connect(_)
        | Command::Forward(_)
        | Command::Exec(_)
        | Command::Init(_)
        | Command::Targets(_)
        | Command::Doctor(_)
        | Command::SshConfig(_)
        | Command::Plugin(_)
        | Command::IamPolicy(_)
        | Command::Hosts(_)
        | Command::Token(_)
        | Command::Relay(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Schema
        | Command::Reference(_)
        | Command::Demo(_)
        | Command::Simulate(_) => Ok(InheritedSockets::default()),
    }
}

/// Runs a command that prints its own messages.
async fn quietly(log: Log, command: impl Future<Output = Exit>) -> Exit {
    match startup::start_log(log, Verbosity::Warn) {
        Ok(()) => command.await,
        Err(exit) => exit,
    }
}

async fn run_simulator(args: simulate::Args) -> Exit {
    let mut signals = match startup::stop_signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    match simulate::run(args, signals.wait_for_stop()).await {
        Ok(()) => Exit::Done,
        Err(failure) => failure.report(),
    }
}

fn log(options: &LogOptions) -> Result<Log, telemetry::LogError> {
    let flag = match (options.quiet, options.verbose) {
        (true, _) => Some(Verbosity::Warn),
        (false, 0) => None,
        (false, 1) => Some(Verbosity::Debug),
        (false, _) => Some(Verbosity::Trace),
    };
    let filter = terminal::environment("SSM_PROXYD_LOG");
    let journal = terminal::is_journal();
    Log::new(filter.as_deref(), flag, terminal::has_colour(), journal)
}

/// Handles help and version, which are requested, and usage errors. clap prints all of them.
fn usage(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    if exit == Exit::Usage && !std::env::args_os().all(|argument| is_displayable(&argument)) {
        // clap quotes arguments as they are. Without colours its text can be escaped and cut.
        let text = error.render().to_string();
        let lines = text.trim_end().lines();
        let lines: Vec<_> = lines.map(|line| cut_line(line, MAX_LINE)).collect();
        terminal::send(&lines.join("\n"));
    } else {
        // If stderr is closed, the error cannot be reported.
        drop(error.print());
    }
    if let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && std::env::args_os().any(|argument| argument == "simulate")
    {
        let hint = simulate::unknown_option_hint(option);
        terminal::send(&format!(" hint: {hint}"));
    }
    let fault =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<ValueError>());
    if let Some(fault) = fault {
        terminal::send(&format!(" hint: {}", fault.hint()));
    }
    exit
}

/// Returns whether an argument can be displayed as it is.
fn is_displayable(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    text.chars().count() <= MAX_ARGUMENT && text.chars().all(is_printable)
}

/// Cuts a line to at most `max` characters, leaving its end, which says what is wrong.
fn cut_line(line: &str, max: usize) -> String {
    let count = line.chars().count();
    if count <= max {
        return line.to_owned();
    }
    let half = max / 2;
    let begin: String = line.chars().take(half).collect();
    let end: String = line.chars().skip(count - half).collect();
    format!("{begin} (...) {end}")
}

/// Maximum characters of an argument that is quoted as it is.
const MAX_ARGUMENT: usize = 300;

/// Maximum characters of a line that quotes a longer argument.
const MAX_LINE: usize = 500;

/// Version of the program, and the client version it reports in the protocol.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{} (protocol: client version {})",
            env!("CARGO_PKG_VERSION"),
            ClientVersion::DEFAULT
        )
    });
    &VERSION
}
