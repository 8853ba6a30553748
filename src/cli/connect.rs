//! `connect`: connects stdin and stdout to a destination, for ssh's ProxyCommand.
//!
//! stdout carries the data of the tunnel only. Nothing is written to stderr unless something fails,
//! or takes long on a terminal. A failure is one line, which ssh prints above its own.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use super::ad_hoc::{AdHocConfig, blocking, by_document, load_ad_hoc, with_flags};
use super::aws_options::AwsOptions;
use super::completions::forward_names;
use super::exit::Exit;
use super::push_key::PushKeyOptions;
use super::relay_flags::RelayFlags;
use super::{paths, run, startup, terminal};
use crate::config::{self, Forward, Remote, SessionMode, Target};
use crate::daemon::{OneShot, OneShotConfig, Signals, StartError};
use crate::error_class::ErrorClass;
use crate::forward::{CloseReason, Stdio, StdioError};
use crate::session::{ShutdownMode, allow_prompts};
use crate::telemetry::{self, Log, Verbosity};

#[derive(Args, Debug)]
pub(super) struct ConnectArgs {
    /// A managed node: i-…, mi-… or ecs:…, each with an optional .REGION;
    /// ecs:CLUSTER/SERVICE[/CONTAINER]; tag:KEY=VALUE; the name of a forward of the configuration,
    /// whose settings are used; or else the value of the tag Name
    #[arg(value_name = "TARGET", add = forward_names())]
    pub(super) target: String,
    /// A port of the target itself [default: that of the forward, or 22, unless a document of your
    /// own decides]
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// A destination reachable from the target, instead of a port of the target
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "port")]
    pub(super) remote: Option<String>,
    /// The SSM document [default: AWS-StartSSHSession, or with --remote the document for remote
    /// hosts]; one of your own gets only the parameters given by PORT, --remote or --parameter
    #[arg(long, value_name = "DOCUMENT", value_parser = config::argument("document"))]
    pub(super) document: Option<String>,
    /// A parameter of the document, instead of PORT and --remote; may be repeated
    #[arg(
        long,
        value_name = "NAME=VALUE",
        requires = "document",
        conflicts_with_all = ["port", "remote"],
        value_parser = config::parameter,
    )]
    pub(super) parameter: Vec<(String, String)>,
    /// Text that is added to the `Reason` of the session
    #[arg(long, value_name = "TEXT", value_parser = config::argument("reason"))]
    pub(super) reason: Option<String>,
    /// The configuration file [default: as for `run`, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) relay: RelayFlags,
    #[command(flatten)]
    pub(super) push_key: PushKeyOptions,
    #[command(flatten)]
    pub(super) aws: AwsOptions,
}

/// Relays data until one side has closed.
pub(super) async fn connect(args: ConnectArgs, log: Log) -> Exit {
    let mut signals = match startup::start(log, Verbosity::Error) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let config = tokio::select! {
        config = blocking(|| configuration(args)) => config,
        number = signals.next_stop_number() => return Exit::Signal(number),
    };
    let (config, target) = match config {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let standard = match Stdio::take() {
        Ok(standard) => standard,
        Err(error) => return fail(Exit::Failed, &error, "cannot use stdin and stdout"),
    };
    allow_prompts(telemetry::flush_log);
    let started = tokio::select! {
        started = OneShot::start(config, standard) => started,
        number = signals.next_stop_number() => return Exit::Signal(number),
    };
    match started {
        Ok(one_shot) => serve(one_shot, &target, &mut signals).await,
        Err(error) => report_start_error(&error),
    }
}

/// Waits for the end of the connection or a signal, reports it, and terminates the session.
pub(super) async fn serve(mut one_shot: OneShot, target: &str, signals: &mut Signals) -> Exit {
    let over = tokio::select! {
        over = watch(&mut one_shot, target) => Ok(over),
        number = signals.next_stop_number() => Err(number),
    };
    let (exit, shutdown_mode) = match over {
        Ok(Some(reason)) => (report_close(target, reason), ShutdownMode::Graceful),
        Ok(None) => {
            let hint = "please report it";
            let exit = fail(Exit::Failed, &"internal error", hint);
            (exit, ShutdownMode::Graceful)
        }
        Err(number) => (Exit::Signal(number), ShutdownMode::Forced),
    };
    // ssh prints its own line as soon as stdout is closed; ours must come before it.
    drop(tokio::task::spawn_blocking(telemetry::flush_log).await);
    one_shot.release_stdout();
    if let Err(hint) = one_shot.shutdown(shutdown_mode, signals).await {
        let what = format!("{target}: the session may still be active");
        // All data may have arrived, but the cleanup is not complete.
        let exit = if exit == Exit::Done {
            Exit::Failed
        } else {
            exit
        };
        return fail(exit, &what, hint);
    }
    exit
}

/// Waits for the end of the connection. Reports a slow start on a terminal.
async fn watch(one_shot: &mut OneShot, target: &str) -> Option<CloseReason> {
    let opened = timeout(SLOW_START, one_shot.wait_open()).await;
    if opened.is_err() && io::stderr().is_terminal() {
        terminal::send(&format!(
            "ssm-proxyd: still connecting to {target}; `-v` shows the progress"
        ));
    }
    one_shot.wait_closed().await
}

fn report_close(target: &str, reason: CloseReason) -> Exit {
    match reason {
        CloseReason::DestinationClosed | CloseReason::ReaderClosed | CloseReason::Stopped => {
            Exit::Done
        }
        CloseReason::HalfCloseTimeout => {
            let class = ErrorClass::ResponseTimedOut;
            let what = format!("{target}: no response since the end of stdin");
            fail_with_class(class.into(), class, &what, class.remedy())
        }
        CloseReason::Failed(StdioError {
            what,
            hint,
            class,
            was_open,
        }) => {
            let exit = match was_open {
                true => Exit::Failed,
                false => class.into(),
            };
            let what = format!("{target}: {what}");
            fail_with_class(exit, class, &what, &hint)
        }
    }
}

fn report_start_error(error: &StartError) -> Exit {
    fail_with_class(error.into(), error.class(), error, &run::hint(error))
}

/// Prints an error, its hint and the name of its class in one line.
fn fail_with_class(exit: Exit, class: ErrorClass, error: &dyn Display, hint: &str) -> Exit {
    let error = error.to_string();
    let error = error.trim_end_matches('.');
    let (error, hint) = terminal::tagged(&error, hint, class.name());
    fail(exit, &error, &hint)
}

/// Prints an error and its hint in one line.
fn fail(exit: Exit, error: &dyn Display, hint: &str) -> Exit {
    let hint = match hint {
        "" => String::new(),
        hint => format!("; {hint}"),
    };
    let error = error.to_string();
    let error = error.trim_end_matches('.');
    terminal::send(&format!("ssm-proxyd: {error}{hint}"));
    exit
}

/// Builds the configuration from the arguments, the environment and the file, if any. Also returns
/// how messages refer to the target.
pub(super) fn configuration(args: ConnectArgs) -> Result<(OneShotConfig, String), Exit> {
    let ConnectArgs {
        target,
        port,
        remote,
        document,
        parameter,
        reason,
        config: file,
        relay,
        push_key,
        aws: options,
    } = args;
    let pushed_key = push_key.read();
    let pushed_key = pushed_key.map_err(|error| fail(Exit::Usage, &error, error.hint()))?;
    let remote = remote.map(|remote| remote.parse().map_err(|error| usage(&error)));
    let flags = Flags {
        remote: remote.transpose()?,
        port,
        document,
        parameter,
    };
    let has_document = flags.document.is_some();
    let mut ad_hoc = load_ad_hoc(file.as_deref(), "")?;
    ad_hoc.forward.sessions = ONE;
    let rate = ad_hoc.config.limits.session_start_rate;
    let aws = ad_hoc.config.aws.clone();
    let Selected {
        forward,
        is_named,
        label,
    } = select(&target, ad_hoc, options)?;
    if pushed_key.is_some() && !forward.target.iter().any(may_be_an_instance) {
        let error = format!("{label} is not an EC2 instance, so no key can be pushed to it");
        let hint = "remove --push-key, and add the key to the user's authorized_keys on the target";
        return Err(fail(Exit::Usage, &error, hint));
    }
    if forward.is_proxy() && flags.remote.is_none() && flags.port.is_none() {
        let error = format!("{label} is a proxy, whose clients choose the destination");
        let hint = "add --remote HOST:PORT, or a PORT of the target itself";
        return Err(fail(Exit::Usage, &error, hint));
    }
    let is_relayed = relay.is_given() || (forward.relay.is_some() && !has_document);
    let (remote, document) = flags.destination(is_named.then_some(&forward), is_relayed);
    let forward = Forward {
        remote,
        document,
        reason: reason.or(forward.reason),
        ..forward
    };
    let forward = relay
        .apply(forward, &label, has_document)
        .map_err(|error| fail(Exit::Usage, &error.what, error.hint))?;
    let config = OneShotConfig {
        aws,
        start_rate: forward.relay.map_or(1, |_| rate),
        forward,
        origin: terminal::client_label(),
        pushed_key,
        state: paths::state_directory(),
    };
    Ok((config, label))
}

fn usage(error: &config::ValueError) -> Exit {
    fail(Exit::Usage, error, error.hint())
}

/// Returns false for ids of other nodes. What a tag stands for is known when it is looked up.
fn may_be_an_instance(target: &Target) -> bool {
    match target {
        Target::Node { id, .. } => id.starts_with(INSTANCE),
        Target::Tags(_) => true,
        Target::Ecs(_) => false,
    }
}

/// The forward that a target on the command line stands for.
struct Selected {
    /// Without a destination, unless it is named.
    forward: Forward,
    /// Whether it is one of the file.
    is_named: bool,
    /// How messages refer to its target.
    label: String,
}

/// Returns the forward of the file with this name, else one to this target.
fn select(text: &str, mut ad_hoc: AdHocConfig, options: AwsOptions) -> Result<Selected, Exit> {
    let target: Result<Target, _> = text.parse();
    let named = match target {
        Ok(Target::Node { .. } | Target::Ecs(_)) => None,
        Ok(Target::Tags(_)) | Err(_) => ad_hoc.take(text),
    };
    let template = ad_hoc.forward;
    if let Some(forward) = named {
        let forward = Forward {
            sessions: template.sessions,
            ..with_flags(forward, options)
        };
        return Ok(Selected {
            forward,
            is_named: true,
            label: text.to_owned(),
        });
    }
    let target = target.map_err(|error| usage(&error))?;
    Ok(Selected {
        label: label(&target, text, &ad_hoc.named),
        is_named: false,
        forward: Forward {
            // In the `Reason` of the session and in the log.
            name: text.to_owned(),
            enabled: true,
            account: options.account(),
            target: target.into(),
            ..template
        },
    })
}

/// Returns how messages refer to a target. A name that could be a mistyped forward is marked.
fn label(target: &Target, text: &str, forwards: &[Forward]) -> String {
    match target {
        Target::Tags(_) if !forwards.is_empty() && !text.contains(':') => {
            format!("{target} (no forward is named {text:?})")
        }
        Target::Tags(_) | Target::Node { .. } | Target::Ecs(_) => target.to_string(),
    }
}

/// The destination on the command line.
struct Flags {
    remote: Option<Remote>,
    port: Option<u16>,
    document: Option<String>,
    parameter: Vec<(String, String)>,
}

impl Flags {
    /// Returns the destination and the document. What is not given is that of `forward`, if any.
    fn destination(self, forward: Option<&Forward>, is_relayed: bool) -> (Remote, Option<String>) {
        match (self.remote, self.port, self.document, forward) {
            (Some(remote), _, Some(document), _) => (remote, Some(document)),
            (Some(remote), _, None, forward) => {
                // A document of one's own for other hosts is also one for this host.
                let of_host = |forward: &&Forward| matches!(forward.remote, Remote::Host { .. });
                let forward = forward.filter(of_host);
                (remote, forward.and_then(|forward| forward.document.clone()))
            }
            (None, None, Some(name), _) if !self.parameter.is_empty() => {
                (by_document(&name, &self.parameter), None)
            }
            (None, None, Some(name), Some(forward)) => match &forward.remote {
                Remote::Document { parameters, .. } => {
                    let parameters = parameters.clone();
                    (Remote::Document { name, parameters }, None)
                }
                remote @ (Remote::Port(_) | Remote::Host { .. } | Remote::Requested(_)) => {
                    (remote.clone(), Some(name))
                }
            },
            (None, None, None, Some(forward)) => (forward.remote.clone(), forward.document.clone()),
            (None, None, Some(name), None) if !name.starts_with(AWS) => {
                (by_document(&name, &[]), None)
            }
            (None, port, document, _) => {
                // A relay is reached with the document for ports.
                let own = (!is_relayed).then(|| SSH_DOCUMENT.to_owned());
                (Remote::Port(port.unwrap_or(SSH)), document.or(own))
            }
        }
    }
}

/// Settings of sessions for one connection, whatever those of others are.
const ONE: SessionMode = SessionMode::PerConnection {
    warm: 0,
    warm_max_age: Duration::from_secs(600),
};

/// How the ids of EC2 instances begin.
const INSTANCE: &str = "i-";

/// Port of sshd.
const SSH: u16 = 22;

/// Begin of the names of AWS's own documents, which fix no port.
const AWS: &str = "AWS-";

/// Document for one connection to a port of the target (docs/protocol.md, section 10).
const SSH_DOCUMENT: &str = "AWS-StartSSHSession";

/// Delay before a slow start is reported on a terminal.
const SLOW_START: Duration = Duration::from_secs(2);
