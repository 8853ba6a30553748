//! `forward`: forwards without a file, until Ctrl-C.
//!
//! stdout contains one line for each forward that is ready, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::ad_hoc::{AdHocConfig, blocking, by_document, load_ad_hoc, with_flags};
use super::aws_options::AwsOptions;
use super::exit::Exit;
use super::local_forward::{DynamicForward, LocalForward};
use super::ready_file::ReadyFile;
use super::relay_flags::{RelayFlagError, RelayFlags};
use super::{live_status, paths, progress, run, startup, stdout, terminal};
use crate::config::{self, Allow, Config, Forward, Listen, Remote, SessionMode, Target};
use crate::daemon::{Cause, Daemon, DaemonEnvironment, ReloadError, StartError};
use crate::forward::ActivatedSockets;
use crate::panics::caught;
use crate::session::{Identity, TerminatePolicy, allow_prompts};
use crate::telemetry::{ForwardReport, Log, Verbosity, flush_log};

#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    /// The managed node: i-…, mi-… or ecs:…, each with an optional .REGION;
    /// ecs:CLUSTER/SERVICE[/CONTAINER]; tag:KEY=VALUE; or a name, which is the value of the tag Name
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    options: ForwardOptions,
    /// A local port of a SOCKS and HTTP CONNECT proxy, as in ssh: clients choose the destination,
    /// and names are resolved on the target
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    dynamic: Vec<DynamicForward>,
    /// Print the ready lines as JSON objects
    #[arg(long)]
    json: bool,
    /// Also write the ready lines to this file once all forwards are ready; it is removed on
    /// exit
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    aws: AwsOptions,
}

/// What is forwarded, and how; for `exec` too.
#[derive(Clone, Debug, Args)]
pub(super) struct ForwardOptions {
    /// A local port and the destination it forwards to, as in ssh; port 0 selects a free port,
    /// HOST localhost is the target itself. With --document, the local part alone forwards to the
    /// destination of the document
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    pub(super) local: Vec<LocalForward>,
    /// Allow other machines to connect to a BIND address that is not a loopback address
    #[arg(short = 'g', long)]
    allow_remote_clients: bool,
    /// The SSM document [default: depends on the destination]
    #[arg(long, value_name = "DOCUMENT", requires = "local", value_parser = config::argument("document"))]
    document: Option<String>,
    /// A parameter of the document, instead of the destination in -L; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "document", value_parser = config::parameter)]
    parameter: Vec<(String, String)>,
    /// Text that is added to the `Reason` of each session
    #[arg(long, value_name = "TEXT", value_parser = config::argument("reason"))]
    pub(super) reason: Option<String>,
    /// The configuration file [default: as for `run`, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) relay: RelayFlags,
}

impl ForwardOptions {
    /// Checks that only this machine can connect to an address, unless others may.
    fn check_bind(&self, name: &str, listen: &Listen) -> Result<(), Exit> {
        if listen.is_loopback() || self.allow_remote_clients {
            return Ok(());
        }
        let error = format!("{name}: other machines could connect to it");
        let hint = "remove BIND, or add `--allow-remote-clients` if this is intended";
        Err(terminal::fail(Exit::Usage, &error, hint))
    }

    /// Returns a forward with the relay of the command line, if there is one.
    pub(super) fn through_relay(&self, forward: Forward, label: &str) -> Result<Forward, Exit> {
        let applied = self.relay.apply(forward, label, self.document.is_some());
        applied.map_err(|error| error.fail())
    }

    /// Returns the destination and the document of a `-L`.
    fn destination(&self, local: &LocalForward) -> Result<(Remote, Option<String>), Exit> {
        let (why, hint) = match (&local.remote, &self.document) {
            (Some(remote), document) if self.parameter.is_empty() => {
                return Ok((remote.clone(), document.clone()));
            }
            (None, Some(name)) => return Ok((by_document(name, &self.parameter), None)),
            (Some(_), _) => (
                "has a destination, but so has the document with --parameter",
                "write [BIND:]PORT alone, or remove --parameter",
            ),
            (None, None) => (
                "has no destination",
                "write [BIND:]PORT:HOST:HOSTPORT, or add the --document that fixes host and port",
            ),
        };
        let error = format!("-L {local} {why}");
        Err(terminal::fail(Exit::Usage, &error, hint))
    }
}

/// Runs the forwards until a signal.
pub(super) async fn forward(args: ForwardArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Warn) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    if args.options.local.is_empty() && args.dynamic.is_empty() {
        let hint = "for example `-L 5432:db.internal:5432`, as for ssh";
        return terminal::fail(
            Exit::Usage,
            &"nothing to forward: no -L or -D was given",
            hint,
        );
    }
    let ForwardArgs {
        target,
        options,
        dynamic,
        json,
        ready_file,
        aws,
    } = args;
    let reading = blocking(move || {
        let config = configuration(&target, &options, &dynamic, aws, Names::Tags)?;
        let file = ready_file.as_deref().map(ReadyFile::new).transpose()?;
        Ok((config, file))
    });
    let read = tokio::select! {
        read = reading => read,
        () = signals.wait_for_stop() => return Exit::Done,
    };
    let (config, file) = match read {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let started = tokio::select! {
        started = start(config) => started,
        () = signals.wait_for_stop() => return Exit::Done,
    };
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(exit) => return exit,
    };
    let (reports, metrics) = (daemon.reports(), daemon.metrics());
    let ready = async {
        if let Err(exit) = report_ready(&reports, json, file.clone()).await {
            return exit;
        }
        match live_status::watch(metrics).await {}
    };
    let exit = tokio::select! {
        cause = caught(daemon.run(&mut signals, no_configuration_file)) => match cause {
            Ok(Cause::Requested) => Exit::Done,
            Ok(Cause::Lost) | Err(_) => Exit::Failed,
        },
        exit = ready => exit,
    };
    live_status::clear();
    log_open(&daemon);
    let stopping = daemon.stop_with_signals(&mut signals);
    progress::during("stopping", stopping).await;
    let removing = blocking(move || {
        if let Some(file) = file {
            file.remove();
        }
        Ok(())
    });
    removing.await.err().unwrap_or(exit)
}

/// Reports open connections that shutdown waits for.
fn log_open(daemon: &Daemon) {
    let open: usize = daemon
        .metrics()
        .iter()
        .map(|metrics| metrics.open.get())
        .sum();
    if open > 0 {
        let plural = if open == 1 { "" } else { "s" };
        terminal::send(&format!(
            "ssm-proxyd: waiting for {open} open connection{plural}; another Ctrl-C resets them"
        ));
    }
}

/// Reload without a file; not reached, as SIGHUP is not handled.
fn no_configuration_file() -> Result<Config, ReloadError> {
    Err(ReloadError::unusable("no configuration file to reload", ""))
}

/// What a bare name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// A forward of the file, else the tag `Name`.
    Forwards,
    /// The tag `Name`.
    Tags,
}

/// Builds one forward for each `-L` and one proxy for each of `dynamic`, all to one target. That of a named forward is used with the
/// other settings of that forward.
pub(super) fn configuration(
    target: &str,
    options: &ForwardOptions,
    dynamic: &[DynamicForward],
    aws: AwsOptions,
    names: Names,
) -> Result<Config, Exit> {
    let usage = |error: config::ValueError| terminal::fail(Exit::Usage, &error, error.hint());
    let parsed: Result<Target, _> = target.parse();
    let mut ad_hoc = load_ad_hoc(options.config.as_deref(), "")?;
    let named = match (names, &parsed) {
        (Names::Tags, _) | (_, Ok(Target::Node { .. } | Target::Ecs(_))) => None,
        (Names::Forwards, Ok(Target::Tags(_)) | Err(_)) => ad_hoc.take(target),
    };
    let AdHocConfig {
        mut config,
        forward,
        named: _,
    } = ad_hoc;
    let forward = match named {
        Some(named) => with_flags(named, aws),
        None => Forward {
            enabled: true,
            target: parsed.map_err(usage)?.into(),
            account: aws.account(),
            ..forward
        },
    };
    for (index, local) in options.local.iter().enumerate() {
        options.check_bind(&format!("-L {local}"), &local.listen)?;
        let (remote, document) = options.destination(local)?;
        let is_repeated = options.local[..index].contains(local);
        let is_taken = |other: &LocalForward| other.listen == local.listen;
        if local.listen.port() != Some(0) && options.local[..index].iter().any(is_taken) {
            let error = format!("-L {local}: another -L has the same address");
            return Err(terminal::fail(
                Exit::Usage,
                &error,
                "choose another port for one of them",
            ));
        }
        let forward = Forward {
            // A repeated `-L` means two free ports.
            name: match is_repeated {
                true => format!("{local} #{}", index + 1),
                false => local.to_string(),
            },
            listen: vec![local.listen.clone()],
            allow_remote_clients: options.allow_remote_clients,
            remote,
            document,
            reason: options.reason.clone().or_else(|| forward.reason.clone()),
            ..forward.clone()
        };
        let forward = options.through_relay(forward, &format!("-L {local}"))?;
        config.forwards.push(forward);
    }
    for proxy in dynamic {
        let name = format!("-D {proxy}");
        if options.relay.is_given() {
            return Err(RelayFlagError::of_proxy(&name).fail());
        }
        options.check_bind(&name, &proxy.listen)?;
        let is_taken = |other: &Forward| other.listen.contains(&proxy.listen);
        if proxy.listen.port() != Some(0) && config.forwards.iter().any(is_taken) {
            let error = format!("{name}: another -L or -D has the same address");
            let hint = "choose another port for one of them";
            return Err(terminal::fail(Exit::Usage, &error, hint));
        }
        config.forwards.push(Forward {
            // A repeated `-D` means two free ports.
            name: match config.forwards.iter().any(|other| other.name == name) {
                true => format!("{name} #{}", config.forwards.len() + 1),
                false => name,
            },
            listen: vec![proxy.listen.clone()],
            allow_remote_clients: options.allow_remote_clients,
            remote: Remote::Requested(Allow::any()),
            document: None,
            relay: None,
            sessions: SessionMode::PerConnection {
                warm: 0,
                warm_max_age: Duration::ZERO,
            },
            reason: options.reason.clone().or_else(|| forward.reason.clone()),
            ..forward.clone()
        });
    }
    Ok(config)
}

/// Starts the forwards, or prints the error.
pub(super) async fn start(mut config: Config) -> Result<Daemon, Exit> {
    // These sections of the file apply to the daemon only.
    config.admin = config::Admin::default();
    config.http = None;
    let environment = DaemonEnvironment {
        origin: terminal::client_label(),
        identity: Identity::Chain,
        state: paths::state_directory(),
        passed: ActivatedSockets::default(),
        admin: None,
        log: None,
        orphan_policy: TerminatePolicy::BestEffort,
    };
    allow_prompts(flush_log);
    let started = Daemon::start(config, environment).await;
    started.map_err(|error: StartError| {
        terminal::fail_with_class(error.class(), &error, &run::hint(&error))
    })
}

/// Prints a line for each forward and writes the ready file, on a separate thread because both may
/// block.
async fn report_ready(
    reports: &[ForwardReport],
    json: bool,
    file: Option<ReadyFile>,
) -> Result<(), Exit> {
    let lines: Vec<String> = reports.iter().map(|report| ready(report, json)).collect();
    blocking(move || {
        let mut each = lines.iter();
        each.try_for_each(|line| stdout::print_line(line).map_err(|unheard| unheard.exit()))?;
        file.map_or(Ok(()), |file| file.write(&(lines.join("\n") + "\n")))
    })
    .await
}

fn ready(report: &ForwardReport, json: bool) -> String {
    let port = report
        .listen
        .first()
        .and_then(|address| address.rsplit_once(':'));
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    let relay = report.relay.as_ref().map(|relay| relay.port);
    match json {
        true => json!({
            "listen": report.listen,
            "port": port,
            "remote": report.remote,
            "target": report.target,
            "relay": relay,
        })
        .to_string(),
        false => format!(
            "{} -> {} via {}{}",
            report.listen.join(", "),
            report.remote,
            report.target,
            relay.map_or_else(String::new, |port| format!(", relay {port}"))
        ),
    }
}
