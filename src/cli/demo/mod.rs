//! `demo`: a complete tunnel on this machine, without an AWS account.
//!
//! The simulator takes the place of AWS and the agent, small servers that of the destinations. The
//! daemon's own code runs between them, over real sockets and with the real AWS SDK.

mod transfers;

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

use super::exit::Exit;
use super::stdout::{self, StdoutClosed};
use super::terminal;
use crate::config;
use crate::daemon::{Caller, Daemon, Signals};
use crate::forward::ActivatedSockets;
use crate::session::{Identity, TerminatePolicy};
use crate::sim::{Destination, Options, Role, Simulator};

/// Options of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the tunnel running afterwards, for example for curl
    #[arg(long)]
    keep: bool,
}

/// Runs the demo step by step.
pub(super) async fn run(args: DemoArgs) -> Exit {
    let Err(error) = show(args.keep).await else {
        return Exit::Done;
    };
    match error.downcast_ref::<StdoutClosed>() {
        Some(unheard) => unheard.exit(),
        None => terminal::fail(
            Exit::Failed,
            &error,
            "internal error of the demo; please report it",
        ),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn show(keep: bool) -> Result<(), Failure> {
    let mut signals = Signals::new()?.without_reload();
    let stage = tokio::select! {
        stage = Stage::build() => stage?,
        () = signals.stop() => return Ok(()),
    };
    let shown = tokio::select! {
        shown = stage.play(keep) => shown,
        () = signals.stop() => Ok(()),
    };
    stage.shut_down().await?;
    shown?;
    Ok(stdout::part(EPILOGUE)?)
}

/// All running parts of the demo.
struct Stage {
    simulator: Simulator,
    web: Destination,
    source: Destination,
    sink: Destination,
    daemon: Daemon,
}

impl Stage {
    async fn build() -> Result<Self, Failure> {
        stdout::line(
            "A complete tunnel on this machine, without network traffic and without an AWS account.\n",
        )?;
        let web = Destination::start(Role::Http).await?;
        let role = Role::Source {
            len: transfers::SIZE,
            seed: transfers::SEED,
        };
        let source = Destination::start(role).await?;
        let sink = Destination::start(Role::Sink).await?;
        let mut options = Options::default();
        let servers = [("web", &web), ("source", &source), ("sink", &sink)];
        for (name, server) in servers {
            options
                .resolver
                .insert(&format!("{name}.internal"), None, server.address())?;
        }
        let credentials = options.credentials.clone();
        let simulator = Simulator::start(options).await?;
        stdout::line(format_args!(
            "1. An AWS simulator is listening on {}: the SSM API, the message",
            simulator.endpoint()
        ))?;
        stdout::line(format_args!(
            "   gateway, and an agent on the target {TARGET}."
        ))?;
        stdout::line(
            "2. Three servers that only the target can reach: web.internal, source.internal",
        )?;
        stdout::line("   and sink.internal.")?;
        let config = config::parse(&configuration(&simulator.endpoint()))?;
        let identity = Identity::Fixed {
            access_key: credentials.access_key_id,
            secret_key: credentials.secret_access_key,
        };
        let daemon = Daemon::start(
            config,
            Caller {
                origin: terminal::origin(),
                identity,
                state: None,
                passed: ActivatedSockets::default(),
                admin: None,
                log: None,
                leftovers: TerminatePolicy::Required,
            },
        )
        .await?;
        let stage = Self {
            simulator,
            web,
            source,
            sink,
            daemon,
        };
        stdout::line("3. The daemon is listening, as `ssm-proxyd run` does with three forwards:")?;
        for name in ["web", "source", "sink"] {
            stdout::line(format_args!(
                "     {:<16} → {TARGET} → {name}.internal",
                stage.port(name)?.to_string()
            ))?;
        }
        Ok(stage)
    }

    /// Returns the address on which the daemon listens for a forward.
    fn port(&self, name: &str) -> Result<SocketAddr, Failure> {
        let mut forwards = self.daemon.addresses().into_iter();
        let forward = forwards.find(|(known, _)| known == name);
        let address = forward.and_then(|(_, addresses)| addresses.first().copied());
        let port = address
            .ok_or("a forward of the demo has no address")?
            .port();
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Runs all steps. Does not return if `keep` is set.
    async fn play(&self, keep: bool) -> Result<(), Failure> {
        stdout::line("\n4. A request and its response")?;
        transfers::request(self.port("web")?).await?;
        self.tell_last_session()?;
        stdout::line(format_args!(
            "\n5. Download: {} through one session",
            transfers::words(transfers::SIZE)
        ))?;
        let single = transfers::down(self.port("source")?, 1).await?;
        stdout::line("\n6. Upload: the same size")?;
        transfers::up(self.port("sink")?, &self.sink).await?;
        let many = transfers::CONNECTIONS;
        stdout::line(format_args!(
            "\n7. {many} concurrent downloads: {} each, each through its own session",
            transfers::words(transfers::SIZE)
        ))?;
        let together = transfers::down(self.port("source")?, many).await?;
        stdout::line(pace(single, together))?;
        if keep {
            self.invite()?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Prints the protocol steps of the first connection.
    fn tell_last_session(&self) -> Result<(), StdoutClosed> {
        let ledger = self.simulator.ledger();
        let Some(session) = ledger.sessions.last() else {
            return Ok(());
        };
        stdout::line("   Protocol steps for this connection:")?;
        stdout::line(format_args!(
            "     StartSession        {} ({})",
            session.session_id, session.document
        ))?;
        stdout::line(format_args!(
            "     websocket upgrade   signed: {}",
            session.upgrade_signatures.join(", ")
        ))?;
        stdout::line(format_args!(
            "     handshake           client version {}",
            session.handshake_version
        ))?;
        if let (Some(handshake), Some(ready)) = (session.handshake_us, session.ready_us) {
            stdout::line(format_args!(
                "     readiness           the agent was ready {:.1} ms later; probed every 3 ms",
                millis(ready - handshake)
            ))?;
        }
        stdout::line("     TerminateSession    after the connection was closed")
    }

    fn invite(&self) -> Result<(), Failure> {
        let address = self.port("web")?;
        stdout::line("\nThe tunnel keeps running. Try in another terminal:\n")?;
        stdout::line(format_args!("    curl http://{address}/\n"))?;
        Ok(stdout::line("Press Ctrl-C to stop.")?)
    }

    async fn shut_down(self) -> Result<(), Failure> {
        let Self {
            simulator,
            daemon,
            web,
            source,
            sink,
        } = self;
        daemon.stop().await;
        let ledger = simulator.ledger();
        let (started, left) = (ledger.started, ledger.open_sessions());
        // Errors are ignored here: the leftover sessions are checked first, and a closed stdout is
        // noticed at the next write.
        drop(stdout::line(format_args!(
            "\n8. The daemon has stopped. Sessions started: {started}; still active: {left}."
        )));
        simulator.shutdown().await;
        drop((web, source, sink));
        match left {
            0 => Ok(()),
            left => Err(format!("{left} sessions are still active").into()),
        }
    }
}

fn millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1000.0
}

fn pace(single: f64, together: f64) -> String {
    format!(
        "\n   One session carried {single:.2} MiB/s, {} together {together:.2} MiB/s. The agent sends 1 KiB,\n   then sleeps 1 ms, which limits the rate of one session for every client. Therefore\n   each connection gets its own session.",
        transfers::CONNECTIONS
    )
}

fn configuration(endpoint: &str) -> String {
    let forwards = ["web", "source", "sink"].map(|name| {
        format!(
            "[[forward]]\nname = \"{name}\"\nlisten = 0\ntarget = \"{TARGET}\"\nremote = \"{name}.internal:80\"\n"
        )
    });
    let aws = format!("[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{endpoint}\"\n");
    aws + &forwards.concat()
}

const TARGET: &str = "i-0123456789abcdef0";

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
