//! Serves a session, from its data channel to its end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::timeout;

use super::arguments::Arguments;
use super::caller::Caller;
use super::configuration::{BadConfiguration, File, configuration};
use super::lines::ConnectionLines;
use super::official::Purpose;
use super::output::Output;
use super::{failures, lines, unserved};
use crate::cli::ad_hoc::blocking;
use crate::cli::exit::Exit;
use crate::cli::{connect, startup, terminal};
use crate::config::Listen;
use crate::daemon::{
    HandOverError, HandedOver, HandedOverConfig, HandedOverEnd, Listening, SessionsLeft, Signals,
};
use crate::error_class::ErrorClass;
use crate::forward::{FirstFailure, ListenError, Stdio};
use crate::proto::ClientSide;
use crate::session::{SuppliedSession, allow_prompts};
use crate::telemetry::{self, Log, Verbosity};

/// Serves the session until it ends or a signal arrives.
pub(super) async fn serve(arguments: Arguments, purpose: Purpose, log: Log) -> Exit {
    let verbosity = match purpose {
        Purpose::Ssh => Verbosity::Error,
        Purpose::Port | Purpose::Shell | Purpose::Unknown => Verbosity::Warn,
    };
    let signals = startup::start(log, verbosity).and_then(startup::with_terminal_keys);
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(exit) => {
            unserved::still_active(&arguments.session);
            return exit;
        }
    };
    let (output, caller) = (Output::new(&arguments, purpose), Caller::current());
    let config = match configured(arguments, &output, &mut signals).await {
        Ok(config) => config,
        Err(exit) => return output.finish(exit).await,
    };
    allow_prompts(telemetry::flush_log);
    if purpose == Purpose::Shell {
        let exit = refuse_shell();
        unserved::terminate(config, &mut signals).await;
        return exit;
    }
    if purpose == Purpose::Port {
        output.print(lines::starting(&output.session));
    }
    let session = config.session.clone();
    let mut starting = Box::pin(HandedOver::start(config));
    let started = tokio::select! {
        started = &mut starting => started,
        () = signals.wait_for_stop() => {
            return end_early(starting, &session, output, &mut signals).await;
        }
    };
    match started {
        Ok(handed_over) => opened(handed_over, output, caller, &mut signals).await,
        Err(error) => {
            let exit = not_taken_over(&error, &session, &output);
            output.finish(exit).await
        }
    }
}

/// Builds the configuration. If that fails, the session is terminated or named.
async fn configured(
    arguments: Arguments,
    output: &Output,
    signals: &mut Signals,
) -> Result<HandedOverConfig, Exit> {
    let request = arguments.request.as_ref();
    if let Some(fault) = request.and_then(|request| request.fault) {
        terminal::send(&format!("warning: {fault}; {CANNOT_REPEAT}"));
    }
    let own = arguments.clone();
    let config = tokio::select! {
        config = blocking(move || Ok(configuration(own, File::Read))) => config,
        // A configuration file on a file system that hangs.
        () = signals.wait_for_stop() => {
            output.print(lines::TERMINATED.to_owned());
            unserved::terminate_without_file(arguments, signals).await;
            return Err(Exit::Done);
        }
    };
    match config {
        Ok(Ok(config)) => Ok(config),
        Ok(Err(BadConfiguration::Argument(error))) => {
            let exit = output.failed(&error);
            unserved::still_active(&arguments.session);
            Err(exit)
        }
        // The file is not valid; AWS can be called without it.
        Ok(Err(BadConfiguration::Reported(exit @ Exit::Configuration))) => {
            unserved::terminate_without_file(arguments, signals).await;
            Err(exit)
        }
        Ok(Err(BadConfiguration::Reported(exit))) | Err(exit) => {
            unserved::still_active(&arguments.session);
            Err(exit)
        }
    }
}

fn refuse_shell() -> Exit {
    let hint = "install the official Session Manager plugin as well: shells are handed over to it";
    let what = "ssm-proxyd does not serve shells and commands";
    terminal::fail(Exit::Failed, &what, hint)
}

/// Reports a session that was not taken over.
fn not_taken_over(failed: &HandOverError, session: &SuppliedSession, output: &Output) -> Exit {
    let exit = match &failed.error {
        Some(error) => output.failed(&failures::not_taken_over(error)),
        None => Exit::Done,
    };
    if !failed.is_terminated {
        unserved::still_active(session);
    }
    exit
}

/// Waits for the handshake and serves what the document is for.
async fn opened(
    handed_over: HandedOver,
    mut output: Output,
    caller: Caller,
    signals: &mut Signals,
) -> Exit {
    let ready = tokio::select! {
        ready = handed_over.ready() => ready,
        () = signals.wait_for_stop() => return end(handed_over, output, signals).await,
    };
    let side = match ready {
        Ok(side) => side,
        Err(failure) => {
            let exit = not_ready(&failure, &output);
            return stopped(handed_over, output, signals, exit).await;
        }
    };
    if side == ClientSide::Stdio {
        return stdio(handed_over, output, signals).await;
    }
    if output.purpose != Purpose::Port {
        output.purpose = Purpose::Port;
        output.print(lines::starting(&output.session));
    }
    match listen_address(side) {
        Ok(address) => listen(handed_over, address, output, caller, signals).await,
        Err(error) => {
            let exit = output.failed(&error);
            stopped(handed_over, output, signals, exit).await
        }
    }
}

fn not_ready(failure: &FirstFailure, output: &Output) -> Exit {
    match output.purpose {
        Purpose::Port | Purpose::Ssh | Purpose::Shell => {
            output.failed(&failures::not_ready(failure))
        }
        // The most common document that is not known is none: that of a shell.
        Purpose::Unknown if failure.class == ErrorClass::HandshakeFailed => {
            output.failed(&failure.what);
            refuse_shell()
        }
        Purpose::Unknown => output.failed(&failures::not_ready(failure)),
    }
}

/// Returns the address that a document asks for.
fn listen_address(side: ClientSide) -> Result<Listen, String> {
    let port = match side {
        ClientSide::UnixSocket(path) => {
            let path = std::path::absolute(&path).map_err(|error| error.to_string())?;
            return Ok(Listen::Unix(path));
        }
        ClientSide::Port(port) if port.is_empty() => 0,
        ClientSide::Port(port) => port.parse().map_err(|_| {
            format!("localPortNumber {port:?} is not a port; choose one up to 65535")
        })?,
        ClientSide::Stdio => 0,
    };
    let host = terminal::environment(LOCAL_HOST).filter(|host| host != "localhost");
    let Some(host) = host else {
        return Ok(Listen::Localhost(port));
    };
    let address: IpAddr = host.parse().map_err(|_| {
        format!("{LOCAL_HOST} is neither an IP address nor localhost; correct or unset it")
    })?;
    Ok(Listen::Tcp((address, port).into()))
}

/// Accepts connections until a signal.
async fn listen(
    mut handed_over: HandedOver,
    address: Listen,
    output: Output,
    caller: Caller,
    signals: &mut Signals,
) -> Exit {
    let listening = match bind(&mut handed_over, address).await {
        Ok(listening) => listening,
        Err(error) => {
            let exit = output.failed(&failures::cannot_listen(&error));
            return stopped(handed_over, output, signals, exit).await;
        }
    };
    output.print(lines::opened(listening.addresses.first(), &output.session));
    let print = |line| output.print(line);
    let metrics = &listening.metrics;
    let mut of_connections = ConnectionLines::new(metrics, &output.session);
    let ended = tokio::select! {
        ended = handed_over.wait(metrics, signals, caller.ended()) => ended,
        never = of_connections.print_all(print) => never,
    };
    of_connections.print_new(print);
    let exit = match ended {
        HandedOverEnd::Requested => return end(handed_over, output, signals).await,
        HandedOverEnd::SessionEnded(why) => {
            output.print(lines::ended(&output.session, &why));
            Exit::Done
        }
        HandedOverEnd::Failed => {
            terminal::fail(Exit::Failed, &"internal error", "please report it")
        }
    };
    stopped(handed_over, output, signals, exit).await
}

/// Listens on the address. If another program has the port on one of the addresses of localhost,
/// listens on the IPv4 one alone, which is that of the official plugin.
async fn bind(handed_over: &mut HandedOver, address: Listen) -> Result<Listening, ListenError> {
    let port = match &address {
        Listen::Localhost(port) => Some(*port),
        Listen::Tcp(_) | Listen::Unix(_) | Listen::Systemd(_) => None,
    };
    let error = match (handed_over.listen(address).await, port) {
        (Err(error), Some(port)) => (error, port),
        (listening, _) => return listening,
    };
    let (error, port) = error;
    let ipv4 = Listen::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let listening = handed_over.listen(ipv4).await?;
    terminal::send(&format!(
        "warning: {error}; connections are accepted on 127.0.0.1 only"
    ));
    Ok(listening)
}

/// Connects stdin and stdout, whose data is the only output.
async fn stdio(handed_over: HandedOver, output: Output, signals: &mut Signals) -> Exit {
    let standard = match Stdio::take() {
        Ok(standard) => standard,
        Err(error) => {
            let exit = terminal::fail(Exit::Failed, &error, "cannot use stdin and stdout");
            return stopped(handed_over, output, signals, exit).await;
        }
    };
    let session = handed_over.session().clone();
    match handed_over.connect(standard).await {
        Ok(one_shot) => {
            connect::serve(one_shot, &output.target, signals).await;
            Exit::Done
        }
        Err(error) => {
            not_taken_over(&error, &session, &output);
            Exit::Failed
        }
    }
}

/// Ends after a signal during the start. It goes on for some time, because only its result can
/// terminate the session; the third signal abandons it.
async fn end_early(
    starting: impl Future<Output = Result<HandedOver, HandOverError>>,
    session: &SuppliedSession,
    output: Output,
    signals: &mut Signals,
) -> Exit {
    output.print(lines::TERMINATED.to_owned());
    let abandoned = async {
        signals.wait_for_stop().await;
        signals.wait_for_stop().await;
    };
    let started = tokio::select! {
        started = timeout(MAX_START, starting) => started.ok(),
        () = abandoned => None,
    };
    match started {
        Some(Ok(handed_over)) => stop(handed_over, signals).await,
        Some(Err(error)) if error.is_terminated => {}
        Some(Err(_)) | None => unserved::still_active(session),
    }
    output.print(lines::exiting(&output.session));
    output.finish(Exit::Done).await
}

/// Ends after a signal.
async fn end(handed_over: HandedOver, output: Output, signals: &mut Signals) -> Exit {
    output.print(lines::TERMINATED.to_owned());
    stop(handed_over, signals).await;
    output.print(lines::exiting(&output.session));
    output.finish(Exit::Done).await
}

/// Ends with an exit code.
async fn stopped(
    handed_over: HandedOver,
    output: Output,
    signals: &mut Signals,
    exit: Exit,
) -> Exit {
    stop(handed_over, signals).await;
    output.finish(exit).await
}

/// Terminates the sessions. What is left is reported, and does not change the exit code.
async fn stop(handed_over: HandedOver, signals: &mut Signals) {
    match handed_over.shutdown(signals).await {
        Ok(()) => {}
        Err(SessionsLeft::HandedOver(session)) => unserved::still_active(&session),
        Err(SessionsLeft::Further(hint)) => {
            let what = "sessions of further connections may still be active";
            terminal::fail(Exit::Failed, &what, hint);
        }
    }
}

/// How long a start may go on after a signal.
const MAX_START: Duration = Duration::from_secs(5);

/// Address on which the official plugin listens, instead of localhost.
const LOCAL_HOST: &str = "SSM_PLUGIN_LOCAL_HOST";

const CANNOT_REPEAT: &str =
    "no further session can be started, so all connections share the session";
