//! The cost of being observed: one record for each connection, as JSON, and a scrape of the metrics
//! each second; compared with neither.
//!
//! Speed and CPU time are compared within one process, because two processes of the same program
//! differ by some per cent. Work is done in slices, alternately with and without observation; only
//! the level of the log and the scraper change. Both slices of a pair are done in both orders. The
//! bounds are those of the median ratio, with a confidence of 95 %.
//!
//! Memory is compared between processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::endpoints::{Destination, Probe};
use crate::path_latency::free_address;
use crate::processes::{Daemon, Simulator};
use crate::stats::{Samples, title};

pub(crate) async fn run() {
    title(&format!(
        "observation: records and a scrape each second, compared with neither; {PAIRS} pairs of slices"
    ));
    println!(
        "                             ratio (95 % bounds)                           without\n\
         work                         amount per second      CPU time per unit      CPU time per unit"
    );
    for work in [Work::Bulk, Work::Paced, Work::Short] {
        row(work).await;
    }
    title(&format!(
        "memory: two processes after {CONNECTIONS} short connections and {SCRAPES} scrapes, or without scrapes and records; {MEMORY_PAIRS} pairs"
    ));
    memory().await;
}

async fn row(work: Work) {
    let observed = Observed::start(work).await;
    let mut load = Load::start(work, observed.daemon.address).await;
    // Not measured: buffers grow, code is loaded.
    observed.slice(&mut load, true).await;
    let (mut speed, mut cpu, mut without_cpu) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Whatever drifts within a pair affects both kinds equally often.
        let is_first = pair % 2 == 0;
        let first = observed.slice(&mut load, is_first).await;
        let second = observed.slice(&mut load, !is_first).await;
        let (with, without) = match is_first {
            true => (first, second),
            false => (second, first),
        };
        speed.push(with.speed / without.speed);
        cpu.push(with.cpu / without.cpu);
        without_cpu.push(without.cpu);
    }
    let [speed, cpu] = [speed, cpu].map(|ratios| interval(&Samples::new(ratios)));
    println!(
        "{:24} {speed}  {cpu} {:10.2} ms",
        work.name(),
        Samples::new(without_cpu).median() * 1e3
    );
}

fn interval(ratios: &Samples) -> String {
    let (low, high) = ratios.median_interval();
    format!("{:6.4} ({low:.4} – {high:.4})", ratios.median())
}

/// A daemon that can be observed.
struct Observed {
    daemon: Daemon,
    metrics: SocketAddr,
    socket: PathBuf,
    _simulator: Simulator,
    _destination: Destination,
    _directory: TempDir,
}

/// What one slice has shown.
struct Slice {
    /// Units per second.
    speed: f64,
    /// CPU time of the daemon, in seconds for each unit.
    cpu: f64,
}

impl Observed {
    async fn start(work: Work) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let destination = Destination::start().await;
        let pace: &[&str] = match work {
            Work::Bulk => &["--pace", "none"],
            Work::Paced | Work::Short => &[],
        };
        let simulator = Simulator::start(directory.path(), pace);
        let metrics = free_address();
        let socket = directory.path().join("admin.sock");
        let tables = format!(
            "[log]\nformat = \"json\"\nlevel = \"error\"\n[http]\nlisten = \"{metrics}\"\n\
             [admin]\nsocket = {socket:?}\n"
        );
        let daemon = Daemon::start(directory.path(), &simulator, &destination, &tables).await;
        Self {
            daemon,
            metrics,
            socket,
            _simulator: simulator,
            _destination: destination,
            _directory: directory,
        }
    }

    fn set_records(&self, are_written: bool) {
        let level = if are_written { "info" } else { "error" };
        self.daemon.set_log_level(&self.socket, level);
    }

    async fn slice(&self, load: &mut Load, is_observed: bool) -> Slice {
        self.set_records(is_observed);
        tokio::time::sleep(SETTLE).await;
        let mut scraper = JoinSet::new();
        if is_observed {
            scraper.spawn(scrape_each_second(self.metrics));
        }
        let (begin, before) = (Instant::now(), self.daemon.usage());
        let units = load.slice().await;
        let time = begin.elapsed();
        // Records are written and sessions ended after the work.
        tokio::time::sleep(load.rest()).await;
        let used = self.daemon.usage().since(&before);
        Slice {
            speed: units / time.as_secs_f64(),
            cpu: used.processor_time.as_secs_f64() / units,
        }
    }
}

async fn scrape_each_second(address: SocketAddr) {
    loop {
        scrape(address).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn scrape(address: SocketAddr) {
    let mut http = TcpStream::connect(address).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    http.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    http.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// One connection as fast as possible.
    Bulk,
    /// Eight connections at the speed of the agent.
    Paced,
    /// Many connections that carry one byte each way.
    Short,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "1 download, MiB",
            Self::Paced => "8 paced downloads, MiB",
            Self::Short => "short connections",
        }
    }
}

/// The clients.
enum Load {
    Downloads {
        received: Arc<AtomicU64>,
        _clients: JoinSet<()>,
    },
    Short(SocketAddr),
}

impl Load {
    async fn start(work: Work, address: SocketAddr) -> Self {
        let count = match work {
            Work::Bulk => 1,
            Work::Paced => 8,
            Work::Short => return Self::Short(address),
        };
        let received = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let mut probe = Probe::connect(address).await;
            let received = Arc::clone(&received);
            clients.spawn(async move { probe.down_counted(&received).await });
        }
        Self::Downloads {
            received,
            _clients: clients,
        }
    }

    /// Returns the MiB or connections that were served.
    async fn slice(&mut self) -> f64 {
        match self {
            Self::Downloads { received, .. } => {
                let before = received.load(Relaxed);
                tokio::time::sleep(SPAN).await;
                (received.load(Relaxed) - before) as f64 / f64::from(1 << 20)
            }
            Self::Short(address) => {
                short_connections(*address, SHORT).await;
                f64::from(SHORT)
            }
        }
    }

    /// How long work goes on after a slice.
    fn rest(&self) -> Duration {
        match self {
            Self::Downloads { .. } => Duration::ZERO,
            Self::Short(_) => SETTLE,
        }
    }
}

/// Eight clients, each with one connection after another.
async fn short_connections(address: SocketAddr, count: u32) {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            for _ in 0..count / 8 {
                drop(Probe::connect(address).await);
            }
        });
    }
    clients.join_all().await;
}

async fn memory() {
    let (mut all, mut anonymous, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..MEMORY_PAIRS {
        let is_first = pair % 2 == 0;
        let first = memory_of(is_first).await;
        let second = memory_of(!is_first).await;
        let (with, other) = match is_first {
            true => (first, second),
            false => (second, first),
        };
        all.push(with.0 - other.0);
        anonymous.push(with.1 - other.1);
        without.push(other.0);
    }
    let [all, anonymous, without] = [all, anonymous, without].map(Samples::new);
    println!(
        "KiB more, median (min – max): {}, without code and other files {}; {:.0} KiB without",
        all.spread(),
        anonymous.spread(),
        without.median()
    );
}

/// Returns KiB in all, and without those of files.
async fn memory_of(is_observed: bool) -> (f64, f64) {
    let observed = Observed::start(Work::Short).await;
    observed.set_records(is_observed);
    for _ in 0..SCRAPES {
        short_connections(observed.daemon.address, CONNECTIONS / SCRAPES).await;
        if is_observed {
            scrape(observed.metrics).await;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let daemon = &observed.daemon;
    (daemon.resident() as f64, daemon.resident_anonymous() as f64)
}

const PAIRS: usize = 60;
const MEMORY_PAIRS: usize = 10;

/// Of a slice of downloads.
const SPAN: Duration = Duration::from_secs(1);

/// Until work in progress is done.
const SETTLE: Duration = Duration::from_millis(200);

/// Connections in a slice.
const SHORT: u32 = 400;

const CONNECTIONS: u32 = 800;
const SCRAPES: u32 = 10;
