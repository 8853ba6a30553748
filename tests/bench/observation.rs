//! The cost of being observed: one record for each connection, as JSON, and a scrape of the metrics
//! each second; compared with a daemon that does neither.
//!
//! The runs of the two are interleaved, each with processes of its own. The ratios are those of
//! pairs of runs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::endpoints::{Destination, Probe};
use crate::path_latency::free_address;
use crate::processes::{Daemon, Simulator};
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    title(&format!(
        "observation: records and a scrape each second, compared with neither; median ratio (min – max) of {PAIRS} pairs"
    ));
    println!(
        "work                           amount/s                CPU time                  memory"
    );
    for work in [Work::Bulk, Work::Paced, Work::Short] {
        row(work).await;
    }
}

async fn row(work: Work) {
    let (mut speed, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Whatever drifts within a pair affects both kinds equally often.
        let is_first = pair % 2 == 0;
        let first = measured(work, is_first).await;
        let second = measured(work, !is_first).await;
        let (with, without) = match is_first {
            true => (first, second),
            false => (second, first),
        };
        speed.push(with.amount / without.amount);
        cpu.push(with.cpu / without.cpu);
        memory.push(with.memory / without.memory);
    }
    let [speed, cpu, memory] = [speed, cpu, memory].map(|ratios| spread(&Samples::new(ratios)));
    println!("{:24} {speed}  {cpu}  {memory}", work.name());
}

fn spread(ratios: &Samples) -> String {
    let [min, max] = [0, 100].map(|percent| ratios.percentile(percent));
    format!("{:6.3} ({min:.3} – {max:.3})", ratios.median())
}

/// What one run has shown.
struct Measured {
    /// MiB or connections per second.
    amount: f64,
    /// CPU time of the daemon, in seconds for each MiB or connection.
    cpu: f64,
    /// Resident memory at the end, in KiB.
    memory: f64,
}

async fn measured(work: Work, is_observed: bool) -> Measured {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination::start().await;
    let pace: &[&str] = match work {
        Work::Bulk => &["--pace", "none"],
        Work::Paced | Work::Short => &[],
    };
    let simulator = Simulator::start(directory.path(), pace);
    let metrics = free_address();
    let tables = match is_observed {
        true => {
            format!("[log]\nlevel = \"info\"\nformat = \"json\"\n[http]\nlisten = \"{metrics}\"\n")
        }
        false => "[log]\nlevel = \"error\"\n".to_owned(),
    };
    let daemon = Daemon::start(directory.path(), &simulator, &destination, &tables).await;
    drop(Probe::connect(daemon.address).await);
    let mut scraper = JoinSet::new();
    if is_observed {
        scraper.spawn(scrape(metrics));
    }
    let (begin, used) = (Instant::now(), daemon.processor_time());
    let amount = work.run(daemon.address).await;
    let (time, used) = (begin.elapsed(), daemon.processor_time() - used);
    Measured {
        amount: amount / time.as_secs_f64(),
        cpu: used.as_secs_f64() / amount,
        memory: daemon.resident() as f64,
    }
}

/// Reads the metrics each second.
async fn scrape(address: SocketAddr) {
    loop {
        let mut http = TcpStream::connect(address).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        http.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        http.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// One connection as fast as possible.
    Bulk,
    /// Eight connections at the speed of the agent.
    Paced,
    /// Many short connections.
    Short,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "1 download, unlimited",
            Self::Paced => "8 downloads, paced",
            Self::Short => "short connections",
        }
    }

    /// Returns the MiB or connections that were served.
    async fn run(self, address: SocketAddr) -> f64 {
        let mut clients = JoinSet::new();
        match self {
            Self::Bulk => {
                clients.spawn(async move { download(address, BULK).await });
            }
            Self::Paced => {
                for _ in 0..8 {
                    clients.spawn(async move { download(address, PACED).await });
                }
            }
            Self::Short => {
                for _ in 0..8 {
                    clients.spawn(async move {
                        for _ in 0..SHORT {
                            drop(Probe::connect(address).await);
                        }
                        f64::from(SHORT)
                    });
                }
            }
        }
        clients.join_all().await.into_iter().sum()
    }
}

/// Returns the MiB.
async fn download(address: SocketAddr, len: u64) -> f64 {
    Probe::connect(address).await.down(len).await;
    mib_per_second(len, Duration::from_secs(1))
}

const PAIRS: usize = 6;

/// Bytes of each download, of some seconds.
const BULK: u64 = 256 << 20;
const PACED: u64 = 4 << 20;

/// Connections of each of eight clients, one after another.
const SHORT: u32 = 100;
