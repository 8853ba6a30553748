//! `doctor`: checks what keeps a forward from working, and prints the remedies.
//!
//! The checks are those of [`Examination`]; this module finds the configuration and the forwards,
//! which is the first check, and prints the results. A signal skips the remaining checks, and ends a
//! session that was started.

mod output;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use self::output::Output;
use super::ad_hoc::{blocking, error_of, with_flags};
use super::aws_options::AwsOptions;
use super::completions::forward_names;
use super::connect::{self, ConnectArgs};
use super::exit::Exit;
use super::push_key::PushKeyOptions;
use super::{admin_socket_path, environment, paths, progress, startup, terminal};
use crate::config::{self, Aws, Config, Forward, Target};
use crate::daemon::doctor::{
    Check, CurrentCheck, Examination, Failure, Finding, TimeLimits, Verdict,
};
use crate::daemon::{Client, OneShotConfig};
use crate::error_class::ErrorClass;
use crate::session::{ShutdownMode, allow_prompts};
use crate::telemetry::{self, Log, Verbosity};

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// A forward of the configuration, or a managed node as for `connect` [default: all forwards]
    #[arg(value_name = "NAME|TARGET", add = forward_names())]
    name: Option<String>,
    /// The configuration file [default: as for `run`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// With a TARGET: a destination reachable from it [default: its port 22]
    #[arg(long, value_name = "HOST:PORT", requires = "name")]
    remote: Option<String>,
    /// With a TARGET: the SSM document [default: as for `connect`]
    #[arg(long, value_name = "DOCUMENT", requires = "name", value_parser = config::argument("document"))]
    document: Option<String>,
    /// The time limit of all checks [default: 2m for each forward]
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    timeout: Option<Duration>,
    /// The time limit of each check
    #[arg(long, value_name = "DURATION", value_parser = config::duration, default_value = "20s")]
    check_timeout: Duration,
    #[command(flatten)]
    aws: AwsOptions,
}

/// Makes the checks and prints their results. The exit code is that of the worst failure.
pub(super) async fn doctor(args: DoctorArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Error) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let (json, limits) = (args.json, (args.check_timeout, args.timeout));
    let prepared = tokio::select! {
        prepared = blocking(move || prepare(args)) => prepared,
        number = signals.next_stop_number() => return Exit::Signal(number),
    };
    let Prepared {
        path,
        configuration,
        subjects,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let count = subjects
        .as_ref()
        .map_or(0, |subjects| subjects.forwards.len());
    let mut output = Output::new(json, path, count);
    output.add(configuration);
    allow_prompts(telemetry::flush_log);
    let mut signal = None;
    match subjects {
        Some(subjects) => {
            let examination = examination(subjects, limits).await;
            let (stop, stopped) = watch::channel(ShutdownMode::Running);
            let current = examination.current.subscribe();
            let mut running =
                std::pin::pin!(examination.run(stopped, |finding| output.add(finding)));
            signal = tokio::select! {
                () = &mut running => None,
                number = signals.next_stop_number() => Some(number),
                never = show_progress(current) => match never {},
            };
            if signal.is_some() {
                stop.send_replace(ShutdownMode::Graceful);
                let ending = "ending the session; a second signal waits no longer";
                tokio::select! {
                    () = progress::during(ending, &mut running) => {}
                    _ = signals.next_stop_number() => {
                        stop.send_replace(ShutdownMode::Forced);
                        running.await;
                    }
                }
            }
        }
        None => output.skip_all(),
    }
    output.end(signal.map(Exit::Signal))
}

/// Shows a check that takes long.
async fn show_progress(mut current: watch::Receiver<Option<CurrentCheck>>) -> Infallible {
    loop {
        let check = current.borrow_and_update().clone();
        let changed = async { current.changed().await.is_err() };
        let is_over = match check {
            None => changed.await,
            Some((check, subject)) => {
                let subject = subject.map_or_else(String::new, |one| format!(" of {one}"));
                let what = format!("checking {}{subject}", check.name());
                progress::during(&what, changed).await
            }
        };
        if is_over {
            return std::future::pending().await;
        }
    }
}

async fn examination(
    subjects: Subjects,
    (check, total): (Duration, Option<Duration>),
) -> Examination {
    let Subjects {
        aws,
        forwards,
        with_listeners,
        socket,
    } = subjects;
    let count = u32::try_from(forwards.len()).unwrap_or(u32::MAX).max(1);
    let total = total.unwrap_or_else(|| FOR_EACH.saturating_mul(count));
    Examination {
        aws,
        daemon: running_daemon(socket).await,
        with_listeners,
        forwards,
        origin: terminal::client_label(),
        state: paths::state_directory(),
        limits: TimeLimits {
            check: check.min(MAX_LIMIT),
            total: total.min(MAX_LIMIT),
        },
        current: watch::Sender::new(None),
    }
}

/// Returns the process of the daemon that runs here, if there is one.
async fn running_daemon(socket: Option<PathBuf>) -> Option<u32> {
    let places = match socket {
        Some(socket) => vec![socket],
        None => admin_socket_path::of_clients(),
    };
    for place in places {
        if let Ok(client) = Client::connect(&place).await {
            return client.pid();
        }
    }
    None
}

/// What is to be checked.
struct Prepared {
    path: Option<PathBuf>,
    /// The result of the first check.
    configuration: Finding,
    /// `None` if that has failed.
    subjects: Option<Subjects>,
}

struct Subjects {
    aws: Result<Aws, Failure>,
    forwards: Vec<Forward>,
    with_listeners: bool,
    /// The admin socket in the configuration.
    socket: Option<PathBuf>,
}

/// Finds the configuration and what is to be checked.
fn prepare(args: DoctorArgs) -> Result<Prepared, Exit> {
    let read = paths::read(args.config.as_deref());
    let Some(name) = args.name.clone() else {
        return Ok(match read {
            Ok((path, config)) => of_file(path, config, None, args.aws),
            Err(error) => invalid(&error),
        });
    };
    let target = name.parse::<Target>();
    match (read, target) {
        // Its file may have no forwards.
        (read, Ok(Target::Node { .. } | Target::Ecs(_))) => {
            match error_of(args.config.as_deref()) {
                Some(error) => Ok(invalid(&error)),
                None => of_target(read.ok().map(|(path, _)| path), args),
            }
        }
        (Ok((path, config)), _) if config.forwards.iter().any(|one| one.name == name) => {
            if args.remote.is_some() || args.document.is_some() {
                let error =
                    format!("--remote and --document are for a TARGET, and {name:?} is a forward");
                let hint = "leave them out, or write the target of the forward instead of its name";
                return Err(terminal::fail(Exit::Usage, &error, hint));
            }
            Ok(of_file(path, config, Some(&name), args.aws))
        }
        (Ok((path, config)), Err(error)) => Err(unknown(&error, &path, &config)),
        (Ok((path, _)), Ok(Target::Tags(_))) => of_target(Some(path), args),
        (Err(config::Error::NotFound { .. }), Ok(Target::Tags(_))) => of_target(None, args),
        (Err(error), Ok(Target::Tags(_)) | Err(_)) => Ok(invalid(&error)),
    }
}

/// Returns the forwards of a file: all, or the one with this name.
fn of_file(path: PathBuf, mut config: Config, name: Option<&str>, options: AwsOptions) -> Prepared {
    let all = config.forwards.len();
    if let Some(name) = name {
        config.forwards.retain(|forward| forward.name == name);
    }
    let forwards = config.forwards.into_iter().map(|forward| Forward {
        // Named explicitly, so enabled.
        enabled: forward.enabled || name.is_some(),
        ..with_flags(forward, options.clone())
    });
    config.forwards = forwards.collect();
    let disabled = config.forwards.iter().filter(|forward| !forward.enabled);
    let disabled = match disabled.count() {
        0 => String::new(),
        count => format!(", of which {count} disabled"),
    };
    let plural = if all == 1 { "" } else { "s" };
    let text = format!(
        "{} is valid: {all} forward{plural}{disabled}",
        path.display()
    );
    config.forwards.retain(|forward| forward.enabled);
    let mut aws = config.aws;
    let applied = environment::apply(&mut aws);
    let aws = applied.map(|()| aws).map_err(|bad| bad.failure());
    Prepared {
        path: Some(path),
        configuration: Finding::new(Check::Configuration, Verdict::Pass, text),
        subjects: Some(Subjects {
            aws,
            forwards: config.forwards,
            with_listeners: true,
            socket: config.admin.socket,
        }),
    }
}

/// Returns a forward to a target that is not in the file.
fn of_target(path: Option<PathBuf>, args: DoctorArgs) -> Result<Prepared, Exit> {
    let DoctorArgs {
        name,
        config,
        remote,
        document,
        aws,
        ..
    } = args;
    let target = name.unwrap_or_default();
    let (OneShotConfig { aws, forward, .. }, _label) = connect::configuration(ConnectArgs {
        target: target.clone(),
        port: None,
        remote,
        document,
        parameter: Vec::new(),
        reason: None,
        config,
        push_key: PushKeyOptions::default(),
        aws,
    })?;
    // It may be the mistyped name of a forward.
    let is_name = matches!(target.parse(), Ok(Target::Tags(_))) && !target.contains(':');
    let text = match &path {
        Some(path) if is_name => {
            format!("{} is valid; it has no forward {target:?}", path.display())
        }
        Some(path) => format!("{} is valid", path.display()),
        None => "no file, which a target does not need".to_owned(),
    };
    let forward = Forward {
        name: target,
        ..forward
    };
    Ok(Prepared {
        path,
        configuration: Finding::new(Check::Configuration, Verdict::Pass, text),
        subjects: Some(Subjects {
            aws: Ok(aws),
            forwards: vec![forward],
            with_listeners: false,
            socket: None,
        }),
    })
}

fn unknown(error: &config::ValueError, path: &Path, config: &Config) -> Exit {
    let forwards = config.forwards.iter();
    let known: Vec<_> = forwards.map(|forward| forward.name.as_str()).collect();
    let (hint, path) = (error.hint(), path.display());
    let hint = format!("{hint}; the forwards of {path}: {}", known.join(", "));
    terminal::fail(Exit::Usage, error, &hint)
}

/// Returns the finding of a file that is missing or invalid.
fn invalid(error: &config::Error) -> Prepared {
    let problems = error.summary();
    let more = match problems.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more, which `ssm-proxyd check` shows)"),
    };
    let (text, hint) = problems.into_iter().next().unwrap_or_default();
    let failure = Failure::new(ErrorClass::BadConfiguration, text + &more, hint);
    Prepared {
        path: None,
        configuration: Finding::failed(Check::Configuration, failure),
        subjects: None,
    }
}

/// Default time limit of all checks, for each forward.
const FOR_EACH: Duration = Duration::from_secs(120);

/// Maximum of a time limit, so that the deadline is representable.
const MAX_LIMIT: Duration = Duration::from_secs(24 * 3600);
