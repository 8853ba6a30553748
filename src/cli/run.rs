//! `run`: runs the daemon in the foreground.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tracing::{error, info, warn};

use super::ad_hoc::blocking;
use super::exit::Exit;
use super::self_test::SelfTest;
use super::{admin_socket_path, environment, paths, startup, terminal};
use crate::config;
use crate::daemon::{
    Cause, Daemon, DaemonEnvironment, ReloadError, StartError, StartOptions, log_format,
    log_verbosity,
};
use crate::forward::{ActivatedSockets, InheritedSockets};
use crate::panics::caught;
use crate::session::{Identity, TerminatePolicy};
use crate::telemetry::{Log, LogError, LogHandle};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration file [default: $SSM_PROXYD_CONFIG, then
    /// ~/.config/ssm-proxyd/config.toml, then /etc/ssm-proxyd/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Fail at startup or reload if any forward cannot start
    #[arg(long)]
    strict: bool,
    /// After the start, make the checks of `doctor` for all forwards, and log each failure
    #[arg(long)]
    test: bool,
}

/// Runs until a stop signal, then terminates all sessions.
pub(super) async fn run(args: RunArgs, log: Log, sockets: io::Result<InheritedSockets>) -> Exit {
    // Registered first: a signal during the start must end it in order.
    let mut signals = match startup::signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let reading = blocking(move || {
        paths::read(args.config.as_deref())
            .map_err(|error| terminal::fail_with_rendered(Exit::Configuration, &error))
    });
    let read = tokio::select! {
        read = reading => read,
        () = signals.wait_for_stop() => {
            terminal::send(&"stopping; nothing has been started");
            return Exit::Done;
        }
    };
    let (path, mut config) = match read {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let log = match start_log(log, config.log) {
        Ok(log) => log,
        Err(error) => {
            let hint = "set `format` in [log] to \"text\" or \"json\"";
            return terminal::fail(Exit::Configuration, &error, hint);
        }
    };
    if let Err(bad) = environment::apply(&mut config.aws) {
        return bad.fail();
    }
    environment::apply_manager(&mut config.shutdown);
    let passed = match sockets.and_then(ActivatedSockets::new) {
        Ok(passed) => passed,
        Err(error) => {
            let hint = "each must be a listening stream socket (ListenStream= in a .socket unit)";
            let error = format!("cannot use the sockets passed by the service manager: {error}");
            return terminal::fail(Exit::CannotListen, &error, hint);
        }
    };
    let state = paths::state_directory();
    if state.is_none() {
        let hint = "set STATE_DIRECTORY or HOME to a persistent directory";
        warn!(
            hint,
            "no journal of active sessions: they stay active if this process is killed"
        );
    }
    let admin = match config.admin.socket {
        Some(_) => None,
        None => admin_socket_path::of_daemon(),
    };
    let environment = DaemonEnvironment {
        origin: terminal::client_label(),
        identity: Identity::Chain,
        state,
        passed,
        admin,
        log: Some(log),
        orphan_policy: TerminatePolicy::Required,
    };
    let options = StartOptions {
        strict: args.strict,
        file: Some(path.clone()),
    };
    let self_test = args.test.then(|| SelfTest::new(&config, &environment));
    let started = tokio::select! {
        started = Daemon::begin(config, environment, options) => started,
        () = signals.wait_for_stop() => {
            info!("stopping; nothing has been started");
            return Exit::Done;
        }
    };
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(error) => return report_start_error(&path, &error),
    };
    let running = self_test.map(SelfTest::start);
    let reload_config = move || reload_config(&path);
    let cause = caught(daemon.run(&mut signals, reload_config)).await;
    if cause != Ok(Cause::Requested) {
        error!("internal error: stopping, so that the service manager can restart the daemon");
    }
    let ending = async {
        if let Some(running) = running {
            running.end().await;
        }
    };
    tokio::join!(ending, daemon.stop_with_signals(&mut signals));
    match cause {
        Ok(Cause::Requested) => Exit::Done,
        Ok(Cause::Lost) | Err(_) => Exit::Failed,
    }
}

/// Reads the configuration again, for a reload.
fn reload_config(path: &Path) -> Result<config::Config, ReloadError> {
    let is_kept = |there: std::fs::Metadata| there.is_file() || there.is_dir();
    // A missing file is left to the read below, which reports the reason.
    if !std::fs::metadata(path).map_or(true, is_kept) {
        let path = path.display();
        return Err(ReloadError::unusable(
            format!("{path} is not a regular file: it can be read only once, at the start"),
            "write the configuration to a regular file, and restart",
        ));
    }
    let mut config = config::read(path).map_err(ReloadError::Config)?;
    environment::apply_manager(&mut config.shutdown);
    let applied = environment::apply(&mut config.aws);
    applied.map_err(|bad| ReloadError::unusable(&bad, bad.hint()))?;
    Ok(config)
}

fn start_log(log: Log, settings: config::Log) -> Result<LogHandle, LogError> {
    let config::Log { format, level } = settings;
    log.start(log_format(format), log_verbosity(level))
}

/// Reports why the daemon cannot start with the configuration at `path`.
pub(super) fn report_start_error(path: &Path, error: &StartError) -> Exit {
    let (hint, path) = (hint(error), path.display());
    match error {
        StartError::Listen { line, .. } | StartError::Forward { line, .. } => {
            let error_there = format!("{error} ({path}, line {line})");
            terminal::fail_with_class(error.class(), &error_there, &hint)
        }
        StartError::Roots(source) => {
            let hint = match environment::names_bundle() {
                true => hint.into_owned(),
                false => format!("{hint} of {path}"),
            };
            terminal::fail_with_class(error.class(), &with_sources(source), &hint)
        }
        StartError::Unfinished { .. }
        | StartError::Http(_)
        | StartError::Admin(_)
        | StartError::AdminMoved
        | StartError::Log(_)
        | StartError::Proxy(_)
        | StartError::Aws(_)
        | StartError::Stdio(_) => terminal::fail_with_class(error.class(), error, &hint),
    }
}

/// Returns the hint, naming the source of the invalid value.
pub(super) fn hint(error: &StartError) -> Cow<'static, str> {
    match (error, environment::names_bundle()) {
        (StartError::Roots(_), true) => Cow::Borrowed(
            "check AWS_CA_BUNDLE in the environment, which overrides `ca_bundle` in the file",
        ),
        _ => error.hint(),
    }
}

/// Formats an error and its sources in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {}", source.to_string().to_lowercase());
        next = source.source();
    }
    text
}
