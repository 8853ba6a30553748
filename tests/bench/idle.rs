//! The cost of a thousand idle connections: memory, CPU time, and the latency of a new connection
//! beside them.
//!
//! Daemon and simulator are separate processes here, so that the numbers are those of the daemon.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::endpoints::{Destination, Probe};
use crate::processes::{Daemon, Simulator};
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
    let daemon = Daemon::start(directory.path(), &simulator, &destination, "").await;
    let alone = first_bytes(daemon.address).await;
    let empty = daemon.resident();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Probe::connect(daemon.address).await);
    }
    tokio::time::sleep(SETTLE).await;
    let full = daemon.resident();
    let (begin, before) = (Instant::now(), daemon.usage());
    tokio::time::sleep(SPAN).await;
    let used = daemon.usage().since(&before);
    let share = used.processor_time.as_secs_f64() / begin.elapsed().as_secs_f64();
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

/// Clients and destinations are in this process: two descriptors for each connection.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

const CONNECTIONS: usize = 1000;
const NEW: usize = 50;

/// Three rounds of pings.
const SPAN: Duration = Duration::from_secs(60);

/// Until all work in progress is done.
const SETTLE: Duration = Duration::from_secs(15);
