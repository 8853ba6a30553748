//! Relay mode: one connection over several sessions, at the speed of agents.
//!
//! Daemon, simulator and relay are processes of their own. Bytes are not compressed, but for the row
//! of text. Everything is compared with plain sessions in the same run.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::endpoints::{Destination, Probe};
use crate::processes::{Daemon, Relay, Simulator, Usage};
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    title("relay: one connection over several sessions, at the speed of agents");
    let plain = Fixture::start(None, "").await;
    let (down, up) = (plain.down().await, plain.up().await);
    let cost = plain.cost_of(STRIPES).await;
    println!("                          down        up      MiB/s");
    println!("one session         {down:10.2} {up:10.2}");
    drop(plain);
    for stripes in [1, STRIPES] {
        let relayed = Fixture::start(Some(stripes), "off").await;
        relayed.warm_up().await;
        let (fast_down, fast_up) = (relayed.down().await, relayed.up().await);
        println!(
            "relay, {stripes} stripes    {fast_down:10.2} {fast_up:10.2}      ratios {:.2} and {:.2}",
            fast_down / down,
            fast_up / up
        );
        if stripes == STRIPES {
            relayed.print_round_trips().await;
            let relayed = relayed.cost_of(1).await;
            println!(
                "CPU ms per MiB      {relayed:10.1} at both ends; {cost:.1} for {STRIPES} plain connections; ratio {:.2}",
                relayed / cost
            );
        }
    }
    text().await;
    memory().await;
}

async fn text() {
    for compress in ["auto", "off"] {
        let fixture = Fixture::start(Some(STRIPES), compress).await;
        fixture.warm_up().await;
        let before = fixture.usage();
        let mut probe = fixture.probe().await;
        let received = probe.text_until(Instant::now() + SPAN).await;
        let used = fixture.processor_time_since(&before);
        println!(
            "text, compress = {compress:4} {:8.2} MiB/s down; CPU ms per MiB {:.1}",
            mib_per_second(received, SPAN),
            per_mib(used, received)
        );
    }
}

async fn memory() {
    let fixture = Fixture::start(Some(STRIPES), "auto").await;
    let first = fixture.probe().await;
    let one = fixture.resident();
    let mut flows = Vec::new();
    for _ in 0..FLOWS {
        flows.push(fixture.probe().await);
    }
    let many = fixture.resident();
    drop((first, flows));
    let [daemon, relay] = [0, 1].map(|end| (many[end] as f64 - one[end] as f64) / FLOWS as f64);
    println!(
        "memory for each idle flow    {daemon:6.1} KiB at the daemon, {relay:.1} at the relay"
    );
    let before = fixture.resident();
    fixture.warm_up().await;
    tokio::time::sleep(SETTLE).await;
    let after = fixture.resident();
    let more = (STRIPES - 1) as f64;
    let [daemon, relay] = [0, 1].map(|end| (after[end] as f64 - before[end] as f64) / more);
    println!(
        "memory for each used stripe  {daemon:6.1} KiB at the daemon, {relay:.1} at the relay"
    );
}

/// A daemon whose forward uses plain sessions, or a relay.
struct Fixture {
    daemon: Daemon,
    relay: Option<Relay>,
    _simulator: Simulator,
    _destination: Destination,
    _directory: TempDir,
}

impl Fixture {
    async fn start(stripes: Option<usize>, compress: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let destination = Destination::start().await;
        let simulator = Simulator::start(directory.path(), &[]);
        let relay = stripes.map(|_| Relay::start());
        let keys = relay.as_ref().zip(stripes).map(|(relay, stripes)| {
            let port = relay.port;
            format!("relay = {port}\nstripes = {stripes}\ncompress = \"{compress}\"\n")
        });
        let keys = keys.unwrap_or_default();
        let daemon = Daemon::start(directory.path(), &simulator, &destination, &keys).await;
        Self {
            daemon,
            relay,
            _simulator: simulator,
            _destination: destination,
            _directory: directory,
        }
    }

    async fn probe(&self) -> Probe {
        Probe::connect(self.daemon.address).await
    }

    /// Lets the bundle start all of its stripes.
    async fn warm_up(&self) {
        self.probe()
            .await
            .down_until(Instant::now() + WARM_UP)
            .await;
    }

    /// MiB/s of a download.
    async fn down(&self) -> f64 {
        let mut probe = self.probe().await;
        mib_per_second(probe.down_until(Instant::now() + SPAN).await, SPAN)
    }

    /// MiB/s of an upload.
    async fn up(&self) -> f64 {
        let mut probe = self.probe().await;
        let len = if self.relay.is_some() { UP } else { UP / 8 };
        mib_per_second(len, probe.up(len).await)
    }

    /// CPU time of daemon and relay for downloads over so many connections, in ms per MiB.
    async fn cost_of(&self, connections: usize) -> f64 {
        let mut probes = Vec::new();
        for _ in 0..connections {
            probes.push(self.probe().await);
        }
        let before = self.usage();
        let end = Instant::now() + SPAN;
        let mut downloads = JoinSet::new();
        for mut probe in probes {
            downloads.spawn(async move { probe.down_until(end).await });
        }
        let received = downloads.join_all().await.iter().sum();
        per_mib(self.processor_time_since(&before), received)
    }

    async fn print_round_trips(&self) {
        let mut probe = self.probe().await;
        let quiet = echoes(&mut probe).await;
        let mut bulk = self.probe().await;
        let mut downloading = JoinSet::new();
        downloading.spawn(async move { bulk.down_until(Instant::now() + 2 * SPAN).await });
        tokio::time::sleep(SPAN / 4).await;
        let beside = echoes(&mut probe).await;
        println!(
            "1-byte round trip, ms: quiet p50 {:.1} p99 {:.1}; beside bulk p50 {:.1} p99 {:.1}",
            quiet.median() / 1e3,
            quiet.percentile(99) / 1e3,
            beside.median() / 1e3,
            beside.percentile(99) / 1e3
        );
    }

    /// Of daemon and relay.
    fn usage(&self) -> (Usage, Option<Usage>) {
        (self.daemon.usage(), self.relay.as_ref().map(Relay::usage))
    }

    fn processor_time_since(&self, (daemon, relay): &(Usage, Option<Usage>)) -> Duration {
        let used = self.daemon.usage().since(daemon).processor_time;
        let relays = self.relay.as_ref().zip(relay.as_ref());
        let relays = relays.map(|(relay, before)| relay.usage().since(before).processor_time);
        used + relays.unwrap_or_default()
    }

    /// Of daemon and relay, in KiB.
    fn resident(&self) -> [u64; 2] {
        let relay = self.relay.as_ref().map(Relay::resident);
        [self.daemon.resident(), relay.unwrap_or_default()]
    }
}

async fn echoes(probe: &mut Probe) -> Samples {
    let mut samples = Vec::new();
    for _ in 0..ECHOES {
        samples.push(probe.echo().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Samples::micros(&samples)
}

fn per_mib(used: Duration, bytes: u64) -> f64 {
    used.as_secs_f64() * 1e3 / (bytes as f64 / f64::from(1 << 20))
}

const STRIPES: usize = 8;
const SPAN: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(8);

/// After a stripe has moved much, until its buffers are empty.
const SETTLE: Duration = Duration::from_secs(2);

/// Bytes of an upload over a relay.
const UP: u64 = 32 << 20;
const ECHOES: usize = 300;
const FLOWS: usize = 500;
