//! The cost of a thousand idle connections: memory, CPU time, and the latency of a new connection
//! beside them.
//!
//! Daemon and simulator are separate processes here, so that the numbers are those of the daemon.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::endpoints::{Destination, Probe};
use crate::path_latency::free_address;
use crate::stats::{Samples, title};

pub(crate) async fn run() {
    raise_descriptors();
    title(&format!(
        "idle: {CONNECTIONS} connections, each with its session; the daemon's own process"
    ));
    println!(
        "       KiB for each   kept after   CPU idle   a new one's first byte, ms: before   beside"
    );
    row("ws", &[]).await;
    row("wss", &["--tls"]).await;
}

async fn row(name: &str, simulate: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination::start().await;
    let simulator = Simulator::start(directory.path(), simulate);
    let daemon = Daemon::start(directory.path(), &simulator, &destination).await;
    let alone = first_bytes(daemon.address).await;
    let empty = daemon.resident();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Probe::connect(daemon.address).await);
    }
    tokio::time::sleep(SETTLE).await;
    let full = daemon.resident();
    let (begin, used) = (Instant::now(), daemon.processor_time());
    tokio::time::sleep(SPAN).await;
    let share = (daemon.processor_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    let beside = first_bytes(daemon.address).await;
    for connection in &mut connections {
        connection.echo().await;
    }
    drop(connections);
    tokio::time::sleep(SETTLE).await;
    let left = daemon.resident();
    println!(
        "{name:5} {:13.1} {:8} KiB {:8.2} % {:42.1} {:8.1}",
        (full - empty) as f64 / CONNECTIONS as f64,
        left.saturating_sub(empty),
        100.0 * share,
        alone.median() / 1e3,
        beside.median() / 1e3
    );
}

async fn first_bytes(address: SocketAddr) -> Samples {
    let mut samples = Vec::new();
    for _ in 0..NEW {
        let begin = Instant::now();
        drop(Probe::connect(address).await);
        samples.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Samples::micros(&samples)
}

/// The daemon as a process.
struct Daemon {
    child: DaemonProcess,
    address: SocketAddr,
}

impl Daemon {
    async fn start(directory: &Path, simulator: &Simulator, destination: &Destination) -> Self {
        let address = free_address();
        let bundle = directory.join("authority.pem");
        let bundle = bundle.exists().then(|| format!("ca_bundle = {bundle:?}\n"));
        let text = format!(
            "[aws]\nregion = \"us-east-1\"\nssm_endpoint = \"{}\"\n{}\
             [limits]\nsession_start_rate = 1000\nmax_connections = 2000\n\
             [[forward]]\nname = \"f\"\nlisten = \"{address}\"\ntarget = \"i-0123456789abcdef0\"\n\
             remote = {}\nmax_connections = 2000\n",
            simulator.endpoint,
            bundle.unwrap_or_default(),
            destination.address.port()
        );
        let file = directory.join("config.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "-q", "--config"]).arg(&file);
        // The AWS variables of the caller's environment would override the file.
        command.env_clear().env("XDG_STATE_HOME", directory);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", "AKIDSIMULATOR");
        command.env("AWS_SECRET_ACCESS_KEY", "simulated/not/a/secret");
        let mut child = DaemonProcess(command.spawn().unwrap());
        let listening = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < listening, "the daemon does not listen");
            assert!(child.0.try_wait().unwrap().is_none(), "the daemon ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, address }
    }

    /// Resident memory in KiB.
    fn resident(&self) -> u64 {
        let status = self.proc("status");
        let (_, rest) = status.split_once("VmRSS:").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Of all its threads, in user and system mode.
    fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: Vec<u32> = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        (ticks[0] + ticks[1]) * TICK
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.0.id())).unwrap()
    }
}

/// The simulator as a process.
struct Simulator {
    endpoint: String,
    _child: DaemonProcess,
}

impl Simulator {
    fn start(directory: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("simulate").args(options);
        if options.contains(&"--tls") {
            let file = directory.join("authority.pem");
            command.arg("--certificate").arg(file);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let described: Value = serde_json::from_str(&line).unwrap();
        Self {
            endpoint: described["endpoint"].as_str().unwrap().to_owned(),
            _child: DaemonProcess(child),
        }
    }
}

/// A process that is killed with the bench.
struct DaemonProcess(Child);

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Clients and destinations are in this process: two descriptors for each connection.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

const BINARY: &str = env!("CARGO_BIN_EXE_ssm-proxyd");
const CONNECTIONS: usize = 1000;

/// The unit in which Linux reports CPU time to programs.
const TICK: Duration = Duration::from_millis(10);
const NEW: usize = 50;

/// Three rounds of pings.
const SPAN: Duration = Duration::from_secs(60);

/// Until all work in progress is done.
const SETTLE: Duration = Duration::from_secs(15);
