//! `simulate`: a loopback SSM service and agent, for tests of clients.
//!
//! One JSON line on stdout describes its address and credentials for programs; a hint on stderr is
//! for people. It runs until it is stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::ValueEnum;
use tokio::task::spawn_blocking;

use super::{stdout, terminal};
use crate::sim::agent::{self, FAITHFUL_INTERVAL, Version};
use crate::sim::{
    Credentials, Document, Ecs, EcsService, Faults, MANUAL, Options, Resolver, ScheduledFault,
    Simulator, parse_duration,
};

mod ecs_service;
mod error;
mod ready_line;
mod schedule;
mod value_parsers;

use ecs_service::ecs_service;
pub(super) use error::SimulateError;
use ready_line::{hint, to_json};
use schedule::scheduled;
use value_parsers::{Mapping, document, faults, limit, loopback, mapping, node, target, version};

#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = MANUAL)]
pub(super) struct Args {
    /// Loopback address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// Address given to clients, if they connect through a proxy
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    advertise: Option<SocketAddr>,
    /// Send rate of agents: as measured with real agents, or unlimited
    #[arg(long, value_enum, default_value = "faithful")]
    pace: SendRate,
    /// Serve https and wss with a certificate generated at startup
    #[arg(long)]
    tls: bool,
    /// Write the CA certificate that clients must trust to this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    certificate: Option<PathBuf>,
    /// Reject requests not signed with the credentials printed at startup
    #[arg(long)]
    require_signature: bool,
    /// The access key id required in signatures
    #[arg(long, value_name = "ID", default_value = "AKIDSIMULATOR")]
    access_key_id: String,
    /// The secret key that signatures are checked with; a dummy
    #[arg(long, value_name = "SECRET", default_value = "simulated/not/a/secret")]
    secret_access_key: String,
    /// The session token required in signed requests; a dummy
    #[arg(long, value_name = "TOKEN")]
    session_token: Option<String>,
    /// The region required in signatures
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Loopback address and port to which agents resolve a host, at one port or all. They
    /// resolve no other hosts. For example db.internal:5432=127.0.0.1:15432
    #[arg(long, value_name = "HOST[:PORT]=ADDR", value_parser = mapping)]
    map: Vec<Mapping>,
    /// A custom document: NAME=AWS-DOCUMENT that it behaves like, and the parameters that it fixes
    /// and does not take, for example
    /// Own-Db=AWS-StartPortForwardingSessionToRemoteHost,host=db.internal,portNumber=5432
    #[arg(long, value_name = "NAME=AWS-DOCUMENT,…", value_parser = document)]
    document: Vec<(String, Document)>,
    /// A node with tags, for example i-0123456789abcdef0=Name=bastion,Env=prod
    #[arg(long, value_name = "TARGET=KEY=VALUE,…", value_parser = node)]
    node: Vec<(String, BTreeMap<String, String>)>,
    /// A service of ECS with its containers, by default one of the same name, and a running task:
    /// CLUSTER/SERVICE or CLUSTER/SERVICE/CONTAINER…, followed by any of ,tasks=N ,exec=off
    /// ,health=STATUS and ,agent=STATUS
    #[arg(long, value_name = "SERVICE,…", value_parser = ecs_service)]
    ecs_service: Vec<EcsService>,
    /// A target whose agent is not connected
    #[arg(long, value_name = "TARGET", value_parser = target)]
    offline: Vec<String>,
    /// Existing directory for the keys of SendSSHPublicKey, for 60 s each: a file for each user, for
    /// a real sshd with AuthorizedKeysFile DIR/%u
    #[arg(long, value_name = "DIR")]
    authorized_keys: Option<PathBuf>,
    /// Version that agents report and behave like; worth testing: 3.3.987.0, 3.1.1374.0 (sends
    /// mux keep-alives), 3.2.1040.0 (does not acknowledge duplicates), 3.0.654.0 (acknowledges before
    /// processing), 3.0.196.0 (no mux), 2.3.722.0 (no TerminateSession flag)
    #[arg(long, value_name = "VERSION", default_value = "3.3.987.0", value_parser = version)]
    agent_version: Version,
    /// Time from the crash of an agent's worker until it is reported
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    crash_delay: Duration,
    /// Minimum duration of each API call
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0ms")]
    api_delay: Duration,
    /// Bytes of output kept while no client is attached, or unlimited; 0 discards everything
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = limit)]
    gateway_buffer: usize,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Inject a fault into every session, this long after its start: break:MANNER, with reset, fin,
    /// black-hole or a close code, pause-client, start-client, pause-agent, start-agent,
    /// kill-agent, agent-away:DURATION, or agent-away-amid-message:DURATION
    #[arg(long, alias = "blow", value_name = "AFTER=FAULT", value_parser = scheduled)]
    inject: Vec<ScheduledFault>,
    /// Faults as JSON, in the format shown by --help below the options, and by a running simulator
    /// at /simulator/
    #[arg(long, value_name = "JSON", value_parser = faults)]
    faults: Option<Faults>,
}

/// Send rate of the agents.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SendRate {
    /// 0.685 MiB/s in messages of 1024 bytes.
    Faithful,
    /// Unlimited.
    None,
}

/// Runs a simulator until `shutdown` is ready.
///
/// # Errors
///
/// Fails if the address cannot be bound, the certificate cannot be created or written, or stdout
/// cannot be written.
pub(super) async fn run(
    args: Args,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SimulateError> {
    let certificate = args.certificate.clone();
    let simulator = Simulator::start(args.options()).await?;
    let ready_line = to_json(&simulator, certificate.as_deref());
    let pem = simulator.certificate_pem().map(str::to_owned);
    // Both files may be pipes that nobody reads.
    let printing = spawn_blocking(move || {
        if let Some((path, pem)) = certificate.zip(pem) {
            let written = std::fs::write(&path, pem);
            written.map_err(|source| SimulateError::Certificate { path, source })?;
        }
        stdout::print_line(&ready_line)?;
        terminal::send(&hint(&ready_line));
        Ok::<_, SimulateError>(())
    });
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        printed = printing => {
            printed??;
            shutdown.await;
        }
        () = shutdown.as_mut() => {}
    }
    simulator.shutdown().await;
    Ok(())
}

impl Args {
    fn options(self) -> Options {
        let mut faults = self.faults.unwrap_or_default();
        faults.scheduled.extend(self.inject);
        let mut resolver = Resolver::default();
        for mapping in &self.map {
            mapping
                .insert(&mut resolver)
                .expect("the argument's parser let loopback through alone");
        }
        Options {
            listen: self.listen,
            advertised: self.advertise,
            tls: self.tls,
            region: self.region,
            credentials: Credentials {
                access_key_id: self.access_key_id,
                secret_access_key: self.secret_access_key,
                session_token: self.session_token,
            },
            require_signature: self.require_signature,
            agent: agent::Options {
                version: self.agent_version,
                pace: match self.pace {
                    SendRate::Faithful => agent::SendRate::Every(FAITHFUL_INTERVAL),
                    SendRate::None => agent::SendRate::Unlimited,
                },
                crash_delay: self.crash_delay,
                ..agent::Options::default()
            },
            seed: self.seed,
            resolver,
            documents: self.document.into_iter().collect(),
            nodes: self.node.into_iter().collect(),
            ecs: Ecs {
                services: self.ecs_service,
            },
            offline: self.offline.into_iter().collect(),
            authorized_keys: self.authorized_keys,
            api_delay: self.api_delay,
            gateway_buffer: self.gateway_buffer,
            faults,
            ..Options::default()
        }
    }
}

/// Returns a hint for an option that does not exist: faults other than scheduled ones are JSON.
/// Contains the example from the manual, if a fault has the name of the option.
pub(super) fn unknown_option_hint(option: &str) -> String {
    let key = option.trim_start_matches('-').replace('-', "_");
    let start = format!("{{\"{key}");
    let example = MANUAL
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(&start));
    let example = example.unwrap_or(r#"{"break_every": {"every": "20s", "manner": "reset"}}"#);
    format!(
        "faults are given as JSON, for example --faults '{example}'; `ssm-proxyd simulate --help` shows all"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::sim::OneOffFault;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn faults_of_the_json_and_scheduled_faults_are_combined() {
        let line = CommandLine::parse_from([
            "simulate",
            "--inject",
            "5s=pause-client",
            "--blow",
            "6s=start-client",
            "--faults",
            r#"{"max_rate": 900, "scheduled": [{"after": "1s", "fault": "kill_agent"}]}"#,
        ]);

        let faults = line.args.options().faults;

        assert_eq!(faults.max_rate, Some(900));
        let scheduled: Vec<_> = faults
            .scheduled
            .iter()
            .map(|scheduled| scheduled.fault)
            .collect();
        let expected = [
            OneOffFault::KillAgent,
            OneOffFault::PauseClient,
            OneOffFault::StartClient,
        ];
        assert_eq!(scheduled, expected);
    }

    #[test]
    fn the_hint_for_an_unknown_option_has_the_example_of_the_fault_with_its_name() {
        let hint = unknown_option_hint("--max-rate");
        assert!(hint.contains(r#"--faults '{"max_rate": 1000}'"#), "{hint}");
        let hint = unknown_option_hint("--drop-every");
        assert!(hint.contains(r#"--faults '{"break_every""#), "{hint}");
    }
}
