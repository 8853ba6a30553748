//! Serves a session, from its data channel to its end.

use std::net::IpAddr;

use super::arguments::Arguments;
use super::configuration::{BadConfiguration, configuration};
use super::lines;
use super::official::Purpose;
use crate::cli::ad_hoc::blocking;
use crate::cli::exit::Exit;
use crate::cli::{connect, startup, terminal};
use crate::config::Listen;
use crate::daemon::{HandedOver, HandedOverConfig, HandedOverEnd, Signals};
use crate::error_class::ErrorClass;
use crate::forward::{ListenError, Stdio};
use crate::printable::Printable;
use crate::proto::ClientSide;
use crate::session::allow_prompts;
use crate::telemetry::{self, Log, Verbosity};

/// Serves the session until it ends or a signal arrives.
pub(super) async fn serve(arguments: Arguments, purpose: Purpose, log: Log) -> Exit {
    let verbosity = match purpose {
        Purpose::Ssh => Verbosity::Error,
        Purpose::Port | Purpose::Shell | Purpose::Unknown => Verbosity::Warn,
    };
    let mut signals = match startup::start(log, verbosity) {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let output = Output::of(&arguments, purpose);
    let config = tokio::select! {
        config = blocking(move || Ok(configuration(arguments))) => config,
        // A configuration file on a file system that hangs.
        () = signals.wait_for_stop() => return output.print(lines::TERMINATED.to_owned()).await,
    };
    let config = match config {
        Ok(Ok(config)) => config,
        Ok(Err(BadConfiguration::Argument(error))) => return output.failed(&error).await,
        Ok(Err(BadConfiguration::Reported(exit))) | Err(exit) => return exit,
    };
    allow_prompts(telemetry::flush_log);
    if purpose == Purpose::Shell {
        return refuse_shell(config).await;
    }
    if purpose == Purpose::Port {
        lines::print_later(lines::starting(&output.session)).await;
    }
    match HandedOver::start(config).await {
        Ok(handed_over) => opened(handed_over, output, &mut signals).await,
        Err(error) => {
            let error = match &*error.hint() {
                "" => error.to_string(),
                hint => format!("{error}; {hint}"),
            };
            output.failed(&error).await
        }
    }
}

/// Where messages go, and what they name.
struct Output {
    purpose: Purpose,
    /// The session id, printable.
    session: String,
    /// The node, printable; empty if unknown.
    target: String,
}

impl Output {
    fn of(arguments: &Arguments, purpose: Purpose) -> Self {
        let session = &arguments.session;
        Self {
            purpose,
            session: Printable::cut(&session.id, MAX_ID).to_string(),
            target: Printable::cut(&session.target, MAX_ID).to_string(),
        }
    }

    /// Reports that the session is not served: on stdout, unless that may be read by ssh.
    async fn failed(&self, error: &str) -> Exit {
        let text = lines::not_started(&error);
        match self.purpose {
            Purpose::Port | Purpose::Shell => lines::print_later(text).await,
            Purpose::Ssh | Purpose::Unknown => {
                terminal::send(&text.trim_end());
                Exit::Done
            }
        }
    }

    /// Prints a line, unless stdout may be read by ssh.
    async fn print(&self, line: String) -> Exit {
        match self.purpose {
            Purpose::Port => lines::print_later(line).await,
            Purpose::Shell | Purpose::Ssh | Purpose::Unknown => Exit::Done,
        }
    }
}

/// Terminates a session that nothing here can serve.
async fn refuse_shell(config: HandedOverConfig) -> Exit {
    let session = Printable::cut(&config.session.id, MAX_ID);
    let hint = "install the official Session Manager plugin as well: shells are handed over to it";
    let ended = HandedOver::terminate(config).await;
    let exit = terminal::fail(
        Exit::Failed,
        &"ssm-proxyd does not serve shells and commands",
        hint,
    );
    if let Err(error) = ended {
        let what = format!("session {session} may still be active: {error}");
        terminal::fail(exit, &what, &error.hint());
    }
    exit
}

/// Waits for the handshake and serves what the document is for.
async fn opened(handed_over: HandedOver, mut output: Output, signals: &mut Signals) -> Exit {
    let ready = tokio::select! {
        ready = handed_over.ready() => ready,
        () = signals.wait_for_stop() => return end(handed_over, &output, signals).await,
    };
    let side = match ready {
        Ok(side) => side,
        Err(failure) => {
            let remedy = match output.purpose {
                Purpose::Unknown => INSTALL_FOR_SHELLS,
                Purpose::Port | Purpose::Ssh | Purpose::Shell => "",
            };
            let exit = output.failed(&format!("{failure}{remedy}")).await;
            stop(handed_over, &output, signals).await;
            return exit;
        }
    };
    if side == ClientSide::Stdio {
        return stdio(handed_over, &output, signals).await;
    }
    if output.purpose != Purpose::Port {
        output.purpose = Purpose::Port;
        lines::print_later(lines::starting(&output.session)).await;
    }
    match listen_address(side) {
        Ok(address) => listen(handed_over, address, &output, signals).await,
        Err(error) => {
            let exit = output.failed(&error).await;
            stop(handed_over, &output, signals).await;
            exit
        }
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
        ClientSide::Port(port) => port
            .parse()
            .map_err(|_| format!("localPortNumber {port:?} is not a port"))?,
        ClientSide::Stdio => 0,
    };
    let host = terminal::environment(LOCAL_HOST).filter(|host| host != "localhost");
    let Some(host) = host else {
        return Ok(Listen::Localhost(port));
    };
    let address: IpAddr = host
        .parse()
        .map_err(|_| format!("{LOCAL_HOST} is neither an IP address nor localhost"))?;
    Ok(Listen::Tcp((address, port).into()))
}

/// Accepts connections until a signal.
async fn listen(
    mut handed_over: HandedOver,
    address: Listen,
    output: &Output,
    signals: &mut Signals,
) -> Exit {
    let listening = match handed_over.listen(address).await {
        Ok(listening) => listening,
        Err(error) => {
            let exit = output.failed(&cannot_listen(&error)).await;
            stop(handed_over, output, signals).await;
            return exit;
        }
    };
    let reporting = async {
        let opened = lines::opened(listening.addresses.first(), &output.session);
        lines::print_later(opened).await;
        lines::report_connections(listening.metrics, &output.session).await;
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = handed_over.wait(signals) => ended,
        never = reporting => never,
    };
    match ended {
        HandedOverEnd::Requested => end(handed_over, output, signals).await,
        HandedOverEnd::SessionEnded(why) => {
            lines::print_later(lines::ended(&output.session, &why)).await;
            stop(handed_over, output, signals).await;
            Exit::Done
        }
        HandedOverEnd::Failed => {
            terminal::fail(Exit::Failed, &"internal error", "please report it");
            stop(handed_over, output, signals).await;
            Exit::Failed
        }
    }
}

fn cannot_listen(error: &ListenError) -> String {
    match error.class() == ErrorClass::ListenAddressInUse {
        true => format!("{error}; choose another localPortNumber"),
        false => error.to_string(),
    }
}

/// Connects stdin and stdout, whose data is the only output.
async fn stdio(handed_over: HandedOver, output: &Output, signals: &mut Signals) -> Exit {
    let standard = match Stdio::take() {
        Ok(standard) => standard,
        Err(error) => {
            let exit = terminal::fail(Exit::Failed, &error, "cannot use stdin and stdout");
            stop(handed_over, output, signals).await;
            return exit;
        }
    };
    match handed_over.connect(standard).await {
        Ok(one_shot) => {
            connect::serve(one_shot, &output.target, signals).await;
            Exit::Done
        }
        Err(error) => terminal::fail(Exit::Failed, &error, &error.hint()),
    }
}

/// Ends after a signal.
async fn end(handed_over: HandedOver, output: &Output, signals: &mut Signals) -> Exit {
    // Both at once: the reader of stdout may not read.
    let terminated = output.print(lines::TERMINATED.to_owned());
    tokio::join!(terminated, stop(handed_over, output, signals));
    output.print(lines::exiting(&output.session)).await
}

/// Terminates the sessions. What is left is reported, and does not change the exit code.
async fn stop(handed_over: HandedOver, output: &Output, signals: &mut Signals) {
    if let Err(hint) = handed_over.shutdown(signals).await {
        let what = format!("session {} may still be active", output.session);
        terminal::fail(Exit::Failed, &what, hint);
    }
}

/// Address on which the official plugin listens, instead of localhost.
const LOCAL_HOST: &str = "SSM_PLUGIN_LOCAL_HOST";

const INSTALL_FOR_SHELLS: &str = "; if the document is for shells, install the official Session Manager plugin as well: it is given sessions that may be shells";

/// Maximum length of an id in messages, in characters.
const MAX_ID: usize = 256;
