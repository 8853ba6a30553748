//! MiB/s of one connection through daemon and simulator, compared with the baseline relay.
//!
//! The simulator does not imitate the agent's speed, and the upload has no rate limit. The runs of
//! the two are interleaved, so that other load on the machine affects both.

use std::io::Write as _;
use std::net::SocketAddr;

use ssm_proxyd::sim::agent::Digests;
use ssm_proxyd::sim::{Options, Simulator};
use tempfile::NamedTempFile;

use crate::baseline_relay::{BaselineRelay, Tls};
use crate::endpoints::{Destination, Probe};
use crate::in_process::{self, InProcess};
use crate::stats::{Samples, mib_per_second, title};

pub(crate) async fn run() {
    for encrypted in [false, true] {
        let scheme = if encrypted { "wss" } else { "ws" };
        title(&format!(
            "throughput: one connection, {scheme} on loopback, MiB/s, median (min – max) of {RUNS}"
        ));
        println!("message  way   ssm-proxyd               bare relay               ratio");
        for payload in [1024, 32 * 1024] {
            compare(payload, encrypted).await;
        }
    }
}

async fn compare(payload: usize, encrypted: bool) {
    let destination = Destination::start().await;
    let fixture = fixture(&destination, payload, encrypted).await;
    let tls = encrypted.then(Tls::new);
    let bare = BaselineRelay::start(destination.address, payload, tls).await;
    for direction in [Direction::Up, Direction::Down] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(measure(fixture.address(), direction, payload).await);
            theirs.push(measure(bare.address, direction, payload).await);
        }
        let (ours, theirs) = (Samples::new(ours), Samples::new(theirs));
        println!(
            "{:>4} KiB  {:4}  {}  {}  {:.2}",
            payload / 1024,
            direction.name(),
            ours.spread(),
            theirs.spread(),
            ours.median() / theirs.median()
        );
    }
    fixture.end().await;
}

/// A daemon and a simulator whose messages carry `payload` bytes, both ways.
async fn fixture(destination: &Destination, payload: usize, encrypted: bool) -> InProcess {
    let mut options = Options {
        tls: encrypted,
        ..in_process::unpaced()
    };
    options.agent.message_size = payload;
    options.agent.digests = Digests::Required;
    let simulator = Simulator::start(options).await.unwrap();
    let bundle = simulator.certificate_pem().map(|pem| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        file
    });
    let forward = format!(
        "[[forward]]\nname = \"f\"\nlisten = 0\ntarget = \"{}\"\nremote = {}\n\
         upload_rate = 0\nupload_payload = {payload}\nupload_window = \"4MiB\"\n",
        in_process::TARGET,
        destination.address.port()
    );
    let bundle = bundle.as_ref().map(NamedTempFile::path);
    let daemon = in_process::daemon(&simulator, bundle, &forward).await;
    InProcess { simulator, daemon }
}

async fn measure(address: SocketAddr, direction: Direction, payload: usize) -> f64 {
    let len = if payload < 8192 { SMALL } else { LARGE };
    let mut probe = Probe::connect(address).await;
    let time = match direction {
        Direction::Up => probe.up(len).await,
        Direction::Down => probe.down(len).await,
    };
    mib_per_second(len, time)
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

const RUNS: usize = 5;

/// Bytes of a run with small and with large messages: about a second each.
const SMALL: u64 = 64 << 20;
const LARGE: u64 = 256 << 20;
