//! Download speed with agents at their realistic speed: one connection, and eight.

use std::time::{Duration, Instant};

use ssm_proxyd::sim::{Options, Snapshot};
use tokio::task::JoinSet;

use crate::endpoints::{Destination, Probe};
use crate::in_process::InProcess;
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    title(&format!(
        "pace: downloads of {} s from faithful agents, MiB/s, medians of {RUNS}",
        SPAN.as_secs()
    ));
    println!("connections   emitted  received  fraction");
    let one = row(1).await;
    let eight = row(8).await;
    println!("eight to one: {:.2} times", eight / one);
}

/// Prints a row of the table; returns what was received.
async fn row(connections: usize) -> f64 {
    let (mut emitted, mut received) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (out, into) = download(connections).await;
        emitted.push(out);
        received.push(into);
    }
    let fractions = received.iter().zip(&emitted).map(|(into, out)| into / out);
    let fraction = Samples::new(fractions.collect()).median();
    let [emitted, received] = [emitted, received].map(|rates| Samples::new(rates).median());
    println!("{connections:11} {emitted:9.3} {received:9.3} {fraction:9.4}");
    received
}

/// Bytes that the agents sent and the clients received, in the same time.
async fn download(connections: usize) -> (f64, f64) {
    let destination = Destination::start().await;
    let remote = format!("remote = {}", destination.address.port());
    let fixture = InProcess::new(Options::default(), &remote).await;
    let mut probes = Vec::new();
    for _ in 0..connections {
        probes.push(Probe::connect(fixture.address()).await);
    }
    let before = emitted(&fixture.simulator.ledger());
    let begin = Instant::now();
    let mut downloads = JoinSet::new();
    for mut probe in probes {
        downloads.spawn(async move {
            let received = probe.down_until(begin + SPAN).await;
            (probe, received)
        });
    }
    tokio::time::sleep_until((begin + SPAN).into()).await;
    let emitted = emitted(&fixture.simulator.ledger()) - before;
    let received = downloads.join_all().await.iter().map(|(_, len)| len).sum();
    fixture.daemon.stop().await;
    (
        mib_per_second(emitted, SPAN),
        mib_per_second(received, SPAN),
    )
}

fn emitted(ledger: &Snapshot) -> u64 {
    ledger.sessions.iter().map(|s| s.traffic.bytes_out).sum()
}

const RUNS: usize = 3;
const SPAN: Duration = Duration::from_secs(5);
