//! What a person types, and what they read.
//!
//! Commands, options, exit codes, sentences. Everything that is done is done elsewhere. stdout
//! carries a command's result; all else goes to stderr.

mod demo;
mod exit;
mod output;
mod run;
mod simulate;
mod style;

use std::sync::LazyLock;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use self::exit::Exit;
use crate::daemon::Signals;
use crate::proto::CLIENT_VERSION;
use crate::telemetry::{self, Verbosity};

/// Does what the arguments say. Returns when it is done.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Err(error) = start_log(&cli.log, cli.command.verbosity()) {
        return style::fail(
            Exit::Usage,
            &error,
            "for example SSM_PROXYD_LOG=ssm_proxyd=debug",
        );
    }
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(cli.command.run());
            // A look-up of a name that hangs must not keep the process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => style::fail(
            Exit::Failed,
            &error,
            "does this machine allow more threads?",
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
}

#[derive(Debug, Args)]
struct LogOptions {
    /// Say more: -v decisions, -vv every message
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Show a whole tunnel on this machine; no account needed
    Demo(demo::DemoArgs),
    /// A loopback SSM service and agent, for tests of clients
    Simulate(Box<simulate::Args>),
}

impl Command {
    /// How much is logged if nobody says; the demo speaks for itself.
    fn verbosity(&self) -> Verbosity {
        match self {
            Self::Run(_) => Verbosity::Normal,
            Self::Demo(_) | Self::Simulate(_) => Verbosity::Quiet,
        }
    }

    async fn run(self) -> Exit {
        match self {
            Self::Run(args) => run::run(args).await,
            Self::Demo(args) => demo::run(args).await,
            Self::Simulate(args) => run_simulator(*args).await,
        }
    }
}

async fn run_simulator(args: simulate::Args) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return style::fail(Exit::Failed, &error, "signals cannot be received"),
    };
    match simulate::run(args, signals.end()).await {
        Ok(()) => Exit::Done,
        Err(failure) => failure.tell(),
    }
}

fn start_log(options: &LogOptions, default: Verbosity) -> Result<(), telemetry::LogError> {
    let verbosity = match (options.quiet, options.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => default,
        (false, 1) => Verbosity::Verbose,
        (false, _) => Verbosity::Everything,
    };
    let flagged = options.quiet || options.verbose > 0;
    let filter = (!flagged)
        .then(|| style::environment("SSM_PROXYD_LOG"))
        .flatten();
    telemetry::start(filter.as_deref(), verbosity, style::has_colour())
}

/// Help and version are asked for; all else is bad usage. Both are clap's to print.
fn usage(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    // Nobody is left to be told that nobody listens.
    drop(error.print());
    exit
}

/// The program's version, and the version of the protocol's client that it claims to be.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{} (protocol: client version {CLIENT_VERSION})",
            env!("CARGO_PKG_VERSION")
        )
    });
    &VERSION
}
