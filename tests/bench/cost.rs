//! What a download at the speed of agents costs: CPU time and wake-ups of the daemon, compared with
//! the near end of the baseline relay at the same speed.
//!
//! Both are processes of their own, and their runs are interleaved. The ratios are those of pairs of
//! runs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::baseline_relay::BaselineRelay;
use crate::endpoints::{AGENT_PAYLOAD, Destination, Probe};
use crate::processes::{Daemon, NearEnd, Simulator, Usage};
use crate::stats::{Samples, title};

pub(crate) async fn run() {
    title(&format!(
        "cost: downloads of {} s at the speed of agents, ws; medians of {PAIRS} pairs",
        SPAN.as_secs()
    ));
    println!(
        "             CPU ms per MiB                                wake-ups per message\n\
         connections  ssm-proxyd  bare relay  ratio (min – max)    ssm-proxyd  bare relay"
    );
    for connections in [1, 8, 64] {
        row(connections).await;
    }
}

async fn row(connections: usize) {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination::start().await;
    let simulator = Simulator::start(directory.path(), &[]);
    let daemon = Daemon::start(directory.path(), &simulator, &destination, "").await;
    let far = BaselineRelay::start_far_end(destination.address, AGENT_PAYLOAD, None).await;
    let near = NearEnd::start(far.address);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let usage = || daemon.usage();
        ours.push(measured(daemon.address, connections, Pace::Agent, usage).await);
        let usage = || near.usage();
        theirs.push(measured(near.address, connections, Pace::Destination, usage).await);
    }
    let ratios = ours.iter().zip(&theirs);
    let ratios = Samples::new(ratios.map(|(a, b)| a.cpu / b.cpu).collect());
    let [cpu, bare_cpu] = [&ours, &theirs].map(|costs| median(costs, |cost| cost.cpu));
    let [wakeups, bare_wakeups] = [&ours, &theirs].map(|costs| median(costs, |cost| cost.wakeups));
    let [min, max] = [0, 100].map(|percent| ratios.percentile(percent));
    println!(
        "{connections:11} {cpu:11.1} {bare_cpu:11.1}  {:5.2} ({min:.2} – {max:.2}) {wakeups:15.2} {bare_wakeups:11.2}",
        ratios.median()
    );
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    Samples::new(costs.iter().map(of).collect()).median()
}

/// What limits the speed of a download.
#[derive(Clone, Copy)]
enum Pace {
    /// The simulated agent.
    Agent,
    /// The destination, because nothing behind it does.
    Destination,
}

/// The cost of one run.
struct Cost {
    /// CPU time, in milliseconds for each MiB.
    cpu: f64,
    /// For each message.
    wakeups: f64,
}

async fn measured(
    address: SocketAddr,
    connections: usize,
    pace: Pace,
    usage: impl Fn() -> Usage,
) -> Cost {
    let mut probes = Vec::new();
    for _ in 0..connections {
        probes.push(Probe::connect(address).await);
    }
    let before = usage();
    let end = Instant::now() + SPAN;
    let mut downloads = JoinSet::new();
    for mut probe in probes {
        downloads.spawn(async move {
            let received = match pace {
                Pace::Agent => probe.down_until(end).await,
                Pace::Destination => probe.paced_until(end).await,
            };
            (probe, received)
        });
    }
    let finished = downloads.join_all().await;
    let used = usage().since(&before);
    let bytes: u64 = finished.iter().map(|(_, received)| received).sum();
    Cost {
        cpu: used.processor_time.as_secs_f64() * 1e3 / (bytes as f64 / f64::from(1 << 20)),
        wakeups: used.wakeups as f64 / (bytes as f64 / AGENT_PAYLOAD as f64),
    }
}

const PAIRS: usize = 5;
const SPAN: Duration = Duration::from_secs(4);
