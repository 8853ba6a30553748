//! The cost of a session for a connection that needs a new one, and for one that uses a warm
//! session.

use std::time::{Duration, Instant};

use ssm_proxyd::sim::{Options, Snapshot};

use crate::endpoints::{Destination, Probe};
use crate::in_process::InProcess;
use crate::path_latency::{Distance, free_address};
use crate::stats::{Samples, title};

pub(crate) async fn run() {
    title(&format!(
        "session setup: connect to first echoed byte, {} ms of API delay, {} ms of network each way, {CONNECTIONS} connections, ms",
        API_DELAY.as_millis(),
        ONE_WAY.as_millis()
    ));
    println!("           median      p90      max");
    for (name, warm) in [("cold", 0), ("warm", 1)] {
        let samples = first_bytes(warm).await;
        let [p50, p90, max] = [50, 90, 100].map(|p| samples.percentile(p) / 1e3);
        println!("{name:8} {p50:8.1} {p90:8.1} {max:8.1}");
    }
    println!("(a round trip is {} ms)", 2 * ONE_WAY.as_millis());
}

async fn first_bytes(warm: usize) -> Samples {
    let destination = Destination::start().await;
    let listen = free_address();
    let distance = Distance::start(listen, ONE_WAY).await;
    let options = Options {
        listen,
        advertised: Some(distance.address),
        api_delay: API_DELAY,
        ..Options::default()
    };
    let keys = format!("remote = {}\nwarm = {warm}", destination.address.port());
    let fixture = InProcess::new(options, &keys).await;
    let mut samples = Vec::new();
    for _ in 0..CONNECTIONS {
        fixture
            .until("warm sessions are ready", |ledger| ready(ledger) == warm)
            .await;
        // An acknowledgement of the agent is known here only after it has travelled.
        tokio::time::sleep(4 * ONE_WAY).await;
        let begin = Instant::now();
        let probe = Probe::connect(fixture.address()).await;
        samples.push(begin.elapsed());
        drop(probe);
    }
    fixture.end().await;
    Samples::micros(&samples)
}

/// Warm sessions whose probe was acknowledged and that have no connection.
fn ready(ledger: &Snapshot) -> usize {
    let open = ledger.sessions.iter().filter(|s| s.ended_us.is_none());
    open.filter(|s| s.first_input_us.is_some() && s.traffic.dials == 0)
        .count()
}

const API_DELAY: Duration = Duration::from_millis(400);
const ONE_WAY: Duration = Duration::from_millis(25);
const CONNECTIONS: usize = 30;
