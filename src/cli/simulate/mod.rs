//! `simulate`: a loopback SSM service and agent, for tests of clients.
//!
//! One JSON line on stdout describes its address and credentials for programs; a hint on stderr is
//! for people. It runs until it is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::{stdout, terminal};
use crate::sim::agent::{self, Digests, FAITHFUL_INTERVAL, Retransmission, Version};
use crate::sim::{Credentials, MANUAL, Options, Resolver, Simulator, parse_duration};

mod error;
mod fault_args;
mod ready_line;
mod schedule;
mod value_parsers;

pub(super) use error::Failure;
use fault_args::FaultArgs;
use ready_line::{described, hint};
use value_parsers::{Mapping, document, limit, loopback, mapping, node, size, target, version};

/// Arguments of `simulate`.
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
    pace: Pace,
    /// Maximum payload bytes in a message of an agent
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = size)]
    message_size: usize,
    /// Serve https and wss with a certificate generated at the start
    #[arg(long)]
    tls: bool,
    /// Write the CA certificate that clients must trust to this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    certificate: Option<PathBuf>,
    /// Reject requests not signed with the credentials printed at the start
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
    /// A custom document: NAME=AWS-DOCUMENT that it behaves like
    #[arg(long, value_name = "NAME=AWS-DOCUMENT", value_parser = document)]
    document: Vec<(String, String)>,
    /// A node with tags, for example i-0123456789abcdef0=Name=bastion,Env=prod
    #[arg(long, value_name = "TARGET=KEY=VALUE,…", value_parser = node)]
    node: Vec<(String, BTreeMap<String, String>)>,
    /// A target whose agent is not connected
    #[arg(long, value_name = "TARGET", value_parser = target)]
    offline: Vec<String>,
    /// Version that agents report and behave like; worth testing: 3.3.987.0, 3.1.1374.0 (keeps
    /// the mux alive), 3.2.1040.0 (does not acknowledge duplicates), 3.0.654.0 (acknowledges before
    /// processing), 3.0.196.0 (no mux), 2.3.722.0 (no TerminateSession flag)
    #[arg(long, value_name = "VERSION", default_value = "3.3.987.0", value_parser = version)]
    agent_version: Version,
    /// What agents retransmit: the oldest message, as real agents do, or all overdue messages
    #[arg(long, value_enum, default_value = "front")]
    agent_resend: Resend,
    /// Time from StartSession to HandshakeRequest [default: 21 to 29 ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    process_start: Option<Duration>,
    /// Time from HandshakeComplete to the first acknowledgement [default: 0.2 to 2.1 ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    readiness: Option<Duration>,
    /// Additional readiness time of a session to a host
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0ms")]
    host_readiness: Duration,
    /// Time from the crash of an agent's worker until it is reported
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    crash_delay: Duration,
    /// Handling of a wrong payload digest by agents
    #[arg(long, value_enum, default_value = "ignored")]
    digests: Digest,
    /// Minimum duration of each API call
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0ms")]
    api_delay: Duration,
    /// Bytes of output kept while no client is attached, or unlimited; 0 discards everything
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = limit)]
    gateway_buffer: usize,
    /// Bytes of input kept while an agent's own websocket is down, or unlimited; 0 discards
    /// everything
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = limit)]
    gateway_input_buffer: usize,
    /// Bytes of input buffered for an agent that does not read
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    gateway_inbox: usize,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    trouble: FaultArgs,
}

/// Send rate of the agents.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pace {
    /// 0.685 MiB/s in messages of 1024 bytes.
    Faithful,
    /// Unlimited.
    None,
}

/// Which messages agents retransmit.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Resend {
    /// The oldest message.
    Front,
    /// All overdue messages.
    All,
}

/// How agents handle a wrong digest.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Digest {
    /// Accept the message.
    Ignored,
    /// Accept the message, and record it in the ledger.
    Noted,
    /// Reject the message.
    Demanded,
}

/// Runs a simulator until `shutdown` is ready.
///
/// # Errors
///
/// Fails if the address cannot be bound, the certificate cannot be created or written, or stdout
/// cannot be written.
pub(super) async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
    let certificate = args.certificate.clone();
    let simulator = Simulator::start(args.options()).await?;
    if let (Some(path), Some(pem)) = (&certificate, simulator.certificate_pem()) {
        let written = std::fs::write(path, pem);
        written.map_err(|source| Failure::Certificate {
            path: path.clone(),
            source,
        })?;
    }
    let described = described(&simulator, certificate.as_deref());
    stdout::line(&described)?;
    terminal::say(&hint(&described));
    shutdown.await;
    simulator.shutdown().await;
    Ok(())
}

impl Args {
    fn options(self) -> Options {
        let agent = self.agent();
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
            agent,
            seed: self.seed,
            resolver,
            documents: self.document.into_iter().collect(),
            nodes: self.node.into_iter().collect(),
            offline: self.offline.into_iter().collect::<BTreeSet<_>>(),
            api_delay: self.api_delay,
            gateway_buffer: self.gateway_buffer,
            gateway_input_buffer: self.gateway_input_buffer,
            gateway_inbox: self.gateway_inbox,
            faults: self.trouble.faults(),
            ..Options::default()
        }
    }

    fn agent(&self) -> agent::Options {
        let defaults = agent::Options::default();
        let time_or = |time: Option<Duration>, usual: &Range<Duration>| {
            time.map_or_else(|| usual.clone(), |time| time..time)
        };
        agent::Options {
            version: self.agent_version.clone(),
            message_size: self.message_size,
            pace: match self.pace {
                Pace::Faithful => agent::Pace::Every(FAITHFUL_INTERVAL),
                Pace::None => agent::Pace::Unlimited,
            },
            retransmission: match self.agent_resend {
                Resend::Front => Retransmission::Front,
                Resend::All => Retransmission::All,
            },
            digests: match self.digests {
                Digest::Ignored => Digests::Ignored,
                Digest::Noted => Digests::Noted,
                Digest::Demanded => Digests::Demanded,
            },
            process_start: time_or(self.process_start, &defaults.process_start),
            readiness: time_or(self.readiness, &defaults.readiness),
            host_readiness: self.host_readiness,
            crash_delay: self.crash_delay,
            ..defaults
        }
    }
}
