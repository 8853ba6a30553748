//! `demo`: a complete tunnel on this machine, without an AWS account.
//!
//! The simulator takes the place of AWS and the agent, small servers that of the destinations. The
//! daemon's own code runs between them, over real sockets and with the real AWS SDK.

mod relay;
mod socket;
mod transfers;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::stdout::{self, StdoutClosed};
use super::terminal;
use crate::config;
use crate::daemon::{Cause, Daemon, DaemonEnvironment, ReloadError, Signals};
use crate::forward::ActivatedSockets;
use crate::session::{Identity, TerminatePolicy};
use crate::sim::{Destination, Options, ServerKind, Simulator};
use relay::DemoRelay;
use socket::DemoSocket;
use transfers::{SEED, SIZE, download, mebibytes, request, upload};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the tunnel running afterwards, for example for curl
    #[arg(long)]
    keep: bool,
    /// Also run a relay on the target: one download over one session, and over several
    #[arg(long)]
    relay: bool,
}

/// Runs the demo step by step.
pub(super) async fn run(args: DemoArgs) -> Exit {
    let Err(error) = show(&args).await else {
        return Exit::Done;
    };
    match error.downcast_ref::<StdoutClosed>() {
        Some(closed) => closed.exit(),
        None => terminal::fail(
            Exit::Failed,
            &error,
            "internal error of the demo; please report it",
        ),
    }
}

type DemoError = Box<dyn std::error::Error + Send + Sync>;

async fn show(args: &DemoArgs) -> Result<(), DemoError> {
    let mut signals = Signals::new()?.without_reload();
    let demo = tokio::select! {
        demo = Demo::start(args.relay) => demo?,
        () = signals.wait_for_stop() => return Ok(()),
    };
    let mut demo = demo;
    let shown = tokio::select! {
        shown = demo.run() => shown.map(|()| args.keep),
        () = signals.wait_for_stop() => Ok(false),
    };
    if let Ok(true) = shown {
        demo.keep(&mut signals).await?;
    }
    demo.shut_down().await?;
    shown?;
    Ok(stdout::print(EPILOGUE)?)
}

/// All running parts of the demo.
struct Demo {
    simulator: Simulator,
    /// Servers by the names in [`NAMES`].
    servers: [Destination; 3],
    daemon: Daemon,
    socket: DemoSocket,
    relay: Option<DemoRelay>,
}

impl Demo {
    async fn start(with_relay: bool) -> Result<Self, DemoError> {
        stdout::print_line(PROLOGUE)?;
        let source = ServerKind::Source {
            len: SIZE,
            seed: SEED,
        };
        let servers = [
            Destination::start(ServerKind::Http).await?,
            Destination::start(source).await?,
            Destination::start(ServerKind::Sink).await?,
        ];
        let mut options = Options::default();
        for (name, server) in NAMES.iter().zip(&servers) {
            let host = format!("{name}.internal");
            options.resolver.insert(&host, None, server.address())?;
        }
        let identity = Identity::Fixed {
            access_key: options.credentials.access_key_id.clone(),
            secret_key: options.credentials.secret_access_key.clone(),
        };
        let simulator = Simulator::start(options).await?;
        let endpoint = simulator.endpoint();
        stdout::print_line(format_args!(
            "1. An AWS simulator is listening on {endpoint}: the SSM API, the message\n   \
             gateway, and an agent on the target {TARGET}.\n\
             2. Three servers that only the target can reach: web.internal, source.internal\n   \
             and sink.internal."
        ))?;
        let socket = DemoSocket::new()?;
        let environment = DaemonEnvironment {
            origin: terminal::client_label(),
            identity,
            state: None,
            passed: ActivatedSockets::default(),
            admin: Some(socket.path()),
            log: None,
            orphan_policy: TerminatePolicy::Required,
        };
        let [_, source, _] = &servers;
        let relay = match with_relay {
            true => Some(DemoRelay::start(source.address()).await?),
            false => None,
        };
        let of_relay = relay.as_ref().map(DemoRelay::configuration);
        let text = configuration(&endpoint) + &of_relay.unwrap_or_default();
        let config = config::parse(&text)?;
        let daemon = Daemon::start(config, environment).await?;
        let demo = Self {
            simulator,
            servers,
            daemon,
            socket,
            relay,
        };
        stdout::print_line(
            "3. The daemon is listening, as `ssm-proxyd run` does with three forwards:",
        )?;
        for name in NAMES {
            let address = demo.address(name)?.to_string();
            let line = format_args!("     {address:<16} → {TARGET} → {name}.internal");
            stdout::print_line(line)?;
        }
        Ok(demo)
    }

    /// Returns the address on which the daemon listens for a forward.
    fn address(&self, name: &str) -> Result<SocketAddr, DemoError> {
        let mut forwards = self.daemon.addresses().into_iter();
        let forward = forwards.find(|(known, _)| known == name);
        let address = forward.and_then(|(_, addresses)| addresses.first().copied());
        let address = address.ok_or("a forward of the demo has no address")?;
        Ok((Ipv4Addr::LOCALHOST, address.port()).into())
    }

    /// Returns the number of stripes that carry data for a forward.
    fn stripes(&self, name: &str) -> usize {
        let reports = self.daemon.reports();
        let report = reports.iter().find(|report| report.name.as_str() == name);
        let relay = report.and_then(|report| report.relay.as_ref());
        let bundle = relay.and_then(|relay| relay.bundle.as_ref());
        bundle.map_or(0, |bundle| bundle.stripes_connected)
    }

    /// Keeps the tunnel running, with an admin socket, until a stop signal.
    async fn keep(&mut self, signals: &mut Signals) -> Result<(), DemoError> {
        stdout::print_line(format_args!(
            "\nThe tunnel keeps running. Try in another terminal:\n\n    curl http://{}/\n    {}",
            self.address("web")?,
            self.socket.top()
        ))?;
        if let Some(relay) = &self.relay {
            relay.print_hints(self)?;
        }
        stdout::print_line("\nPress Ctrl-C to stop.")?;
        let reload = || Err(ReloadError::unusable("no configuration file to reload", ""));
        match self.daemon.run(signals, reload).await {
            Cause::Requested => Ok(()),
            Cause::Lost => Err("the daemon has stopped".into()),
        }
    }

    /// Runs all steps.
    async fn run(&self) -> Result<(), DemoError> {
        let size = mebibytes(SIZE);
        let [_, _, sink] = &self.servers;
        stdout::print_line("\n4. A request and its response")?;
        request(self.address("web")?).await?;
        self.print_last_session()?;
        stdout::print_line(format_args!(
            "\n5. Download: {size:.1} MiB through one session"
        ))?;
        let one = download(self.address("source")?, 1, SIZE).await?;
        stdout::print_line("\n6. Upload: the same size")?;
        upload(self.address("sink")?, sink).await?;
        stdout::print_line(format_args!(
            "\n7. {CONNECTIONS} concurrent downloads: {size:.1} MiB each, each through its own session"
        ))?;
        let all = download(self.address("source")?, CONNECTIONS, SIZE).await?;
        stdout::print_line(format_args!(
            "\n   One session carried {one:.2} MiB/s, {CONNECTIONS} together {all:.2} MiB/s. The agent sends 1 KiB,\n   \
             then sleeps 1 ms, which limits the rate of one session for every client. Therefore\n   \
             each connection gets its own session."
        ))?;
        match &self.relay {
            Some(relay) => relay.run(self).await,
            None => Ok(()),
        }
    }

    /// Prints the protocol steps of the last session.
    fn print_last_session(&self) -> Result<(), StdoutClosed> {
        let ledger = self.simulator.ledger();
        let Some(session) = ledger.sessions.last() else {
            return Ok(());
        };
        stdout::print_line(format_args!(
            "   Protocol steps for this connection:\n     \
             StartSession        {} ({})\n     \
             websocket upgrade   signed: {}\n     \
             handshake           client version {}",
            session.session_id,
            session.document,
            session.upgrade_signatures.join(", "),
            session.handshake_version
        ))?;
        if let (Some(handshake), Some(ready)) = (session.handshake_us, session.ready_us) {
            let millis = Duration::from_micros(ready - handshake).as_secs_f64() * 1000.0;
            stdout::print_line(format_args!(
                "     readiness           the agent was ready {millis:.1} ms later; probed every 3 ms"
            ))?;
        }
        stdout::print_line("     TerminateSession    after the connection was closed")
    }

    async fn shut_down(self) -> Result<(), DemoError> {
        self.daemon.stop().await;
        let step = if self.relay.is_some() { 10 } else { 8 };
        if let Some(relay) = self.relay {
            relay.stop().await;
        }
        let ledger = self.simulator.ledger();
        let (started, open) = (ledger.started, ledger.open_sessions());
        // Errors are ignored here: the leftover sessions are checked first, and a closed stdout is
        // noticed at the next write.
        drop(stdout::print_line(format_args!(
            "\n{step}. The daemon has stopped. Sessions started: {started}; still active: {open}."
        )));
        self.simulator.shutdown().await;
        match open {
            0 => Ok(()),
            open => Err(format!("{open} sessions are still active").into()),
        }
    }
}

fn configuration(endpoint: &str) -> String {
    let forwards = NAMES.map(|name| {
        format!(
            "[[forward]]\nname = \"{name}\"\nlisten = 0\ntarget = \"{TARGET}\"\nremote = \"{name}.internal:80\"\n"
        )
    });
    let aws = format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n");
    aws + &forwards.concat()
}

const TARGET: &str = "i-0123456789abcdef0";
/// Names of the forwards and hosts of the servers.
const NAMES: [&str; 3] = ["web", "source", "sink"];
/// Number of concurrent downloads.
const CONNECTIONS: u64 = 8;

const PROLOGUE: &str =
    "A complete tunnel on this machine, without network traffic and without an AWS account.\n";

const EPILOGUE: &str = r#"
To do this with AWS, write ~/.config/ssm-proxyd/config.toml:

    [[forward]]
    name   = "db"
    listen = 5432                       # on this machine
    target = "i-0123456789abcdef0"      # an instance whose SSM agent is online
    remote = "db.internal:5432"         # reachable from the instance; a port alone is one of the instance itself

log in as usual (AWS_PROFILE, `aws sso login`, …), and start it:

    ssm-proxyd run
    psql -h localhost -p 5432 …
"#;
