//! A keystroke during an upload in the same session.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::endpoints::{Destination, Probe};
use crate::in_process::{InProcess, unpaced};
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    title(&format!(
        "shared: {ROUND_TRIPS} round trips of one byte beside a bulk upload on the same session, simulator without a pace, ms"
    ));
    println!("                              p50      p99");
    row("upload_rate = 0", "upload_rate = 0", Duration::ZERO).await;
    // Round trips in sequence would exceed the message rate and wait for it even without the
    // upload: people type more slowly.
    row("default rate", "", Duration::from_millis(10)).await;
}

async fn row(name: &str, keys: &str, pause: Duration) {
    let destination = Destination::start().await;
    let keys = format!(
        "remote = {}\nsessions = \"shared\"\n{keys}",
        destination.address.port()
    );
    let fixture = InProcess::new(unpaced(), &keys).await;
    let quiet = echoes(fixture.address(), pause).await;
    print(name, "quiet", &quiet);
    let mut upload = Probe::connect(fixture.address()).await;
    let upload = tokio::spawn(async move { upload.up(u64::MAX).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begin, before) = (Instant::now(), bytes_in(&fixture));
    let beside = echoes(fixture.address(), pause).await;
    let speed = mib_per_second(bytes_in(&fixture) - before, begin.elapsed());
    print(name, "beside an upload", &beside);
    let [quiet, beside] = [quiet, beside].map(|samples| samples.percentile(99) / 1e3);
    println!(
        "{name:16} p99: {:.2} times, {:.2} ms more; the upload: {speed:.1} MiB/s",
        beside / quiet,
        beside - quiet
    );
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    let ledger = fixture.end().await;
    assert_eq!(ledger.started, 1, "all connections share one session");
}

async fn echoes(address: SocketAddr, pause: Duration) -> Samples {
    let mut probe = Probe::connect(address).await;
    let mut samples = Vec::new();
    for _ in 0..ROUND_TRIPS {
        samples.push(probe.echo().await);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Samples::micros(&samples)
}

fn bytes_in(fixture: &InProcess) -> u64 {
    fixture.simulator.ledger().sessions[0].traffic.bytes_in
}

fn print(name: &str, what: &str, samples: &Samples) {
    let [p50, p99] = [50, 99].map(|p| samples.percentile(p) / 1e3);
    println!("{name:16} {what:16} {p50:8.2} {p99:8.2}");
}

const ROUND_TRIPS: usize = 2000;
