//! The cost of a broken websocket: time to the next byte, retransmitted bytes, throughput.

use std::time::{Duration, Instant};

use ssm_proxyd::sim::{BreakEvery, DisconnectKind, Faults, OneOffFault, Options};

use crate::endpoints::{Destination, Probe};
use crate::in_process::{InProcess, unpaced};
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    next_bytes().await;
    again().await;
    throughput().await;
}

/// The time from a disconnect to the next echoed byte.
async fn next_bytes() {
    title(&format!(
        "recovery: from a reset to the next echoed byte, {BREAKS} breaks, ms"
    ));
    let destination = Destination::start().await;
    let fixture = InProcess::new(Options::default(), &remote(&destination)).await;
    let mut probe = Probe::connect(fixture.address()).await;
    let mut samples = Vec::new();
    for _ in 0..BREAKS {
        let begin = Instant::now();
        fixture
            .simulator
            .inject(None, OneOffFault::Break(DisconnectKind::Reset));
        probe.echo().await;
        samples.push(begin.elapsed());
        // A websocket with a shorter life does not count as a success, and the next attempt backs
        // off.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let samples = Samples::micros(&samples);
    let millis = |percent| samples.percentile(percent) / 1000.0;
    println!("p50 {:.1}   p99 {:.1}", millis(50), millis(99));
    drop(probe);
    fixture.end().await;
}

/// Messages retransmitted after a disconnect during a full upload.
async fn again() {
    title("recovery: messages that the agent received twice, full upload, a break every second");
    let destination = Destination::start().await;
    let options = Options {
        faults: every_second(),
        ..unpaced()
    };
    let keys = format!("{}\nupload_rate = 0", remote(&destination));
    let fixture = InProcess::new(options, &keys).await;
    let mut probe = Probe::connect(fixture.address()).await;
    probe.up(2 << 30).await;
    drop(probe);
    let ledger = fixture.end().await;
    let session = &ledger.sessions[0];
    let breaks = session.attached - 1;
    println!(
        "{breaks} breaks, {} messages in, {} received twice: {:.0} for each break (the window of 256 KiB holds 256)",
        session.traffic.messages_in,
        session.traffic.duplicates_in,
        session.traffic.duplicates_in as f64 / breaks.max(1) as f64
    );
}

/// The throughput that is left when the websocket breaks every second.
async fn throughput() {
    title("recovery: default rates, faithful agent, with and without a break every second, MiB/s");
    println!("             quiet   breaking    lost");
    for (name, up) in [("up", true), ("down", false)] {
        let quiet = speed(Faults::default(), up).await;
        let breaking = speed(every_second(), up).await;
        println!(
            "{name:8} {quiet:9.3} {breaking:10.3} {:6.1} %",
            100.0 * (1.0 - breaking / quiet)
        );
    }
}

async fn speed(faults: Faults, up: bool) -> f64 {
    let destination = Destination::start().await;
    let fixture = InProcess::new(
        Options {
            faults,
            ..Options::default()
        },
        &remote(&destination),
    )
    .await;
    let mut probe = Probe::connect(fixture.address()).await;
    let time = if up {
        probe.up(TRANSFER).await
    } else {
        probe.down(TRANSFER).await
    };
    drop(probe);
    fixture.end().await;
    mib_per_second(TRANSFER, time)
}

fn every_second() -> Faults {
    let every = Duration::from_secs(1);
    Faults {
        break_every: Some(BreakEvery {
            every,
            manner: DisconnectKind::Reset,
        }),
        ..Faults::default()
    }
}

fn remote(destination: &Destination) -> String {
    format!("remote = {}", destination.address.port())
}

const BREAKS: usize = 200;
const TRANSFER: u64 = 10 << 20;
