//! Latency of one byte: on an open connection, and as the first byte of a new one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ssm_proxyd::sim::{Options, SessionRecord, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::baseline_relay::BaselineRelay;
use crate::endpoints::{Destination, Probe};
use crate::in_process::{InProcess, TARGET, unpaced};
use crate::stats::{Samples, title};

pub(crate) async fn run() {
    round_trips().await;
    first_bytes().await;
}

async fn round_trips() {
    title(&format!(
        "latency: {ROUND_TRIPS} round trips of one byte, simulator without a pace, no upload rate, µs"
    ));
    println!("                  p50      p99");
    let destination = Destination::start().await;
    let bare = BaselineRelay::start(destination.address, 1024, None).await;
    // Round trips in sequence need more messages than the default rate permits.
    let keys = format!("{}\nupload_rate = 0", remote(&destination));
    let fixture = InProcess::new(unpaced(), &keys).await;
    let ways = [
        ("direct TCP", destination.address),
        ("bare relay", bare.address),
        ("ssm-proxyd", fixture.address()),
    ];
    for (name, address) in ways {
        let samples = echoes(address).await;
        let (p50, p99) = (samples.median(), samples.percentile(99));
        println!("{name:12} {p50:8.0} {p99:8.0}");
    }
    fixture.end().await;
}

async fn echoes(address: SocketAddr) -> Samples {
    let mut probe = Probe::connect(address).await;
    let mut samples = Vec::new();
    for n in 0..WARM_UP + ROUND_TRIPS {
        let sample = probe.echo().await;
        if n >= WARM_UP {
            samples.push(sample);
        }
    }
    Samples::micros(&samples)
}

/// The time from connect to the first echoed byte, less the delays of the simulator: the API, the
/// readiness of the agent, its dial. Then the parts of the rest.
async fn first_bytes() {
    title(&format!(
        "latency: connect to first echoed byte, faithful simulator, {SESSIONS} sessions, ms"
    ));
    let destination = Destination::start().await;
    // Sessions in sequence are started faster than the default rate of StartSession permits.
    let forward = format!(
        "[limits]\nsession_start_rate = 1000\n[[forward]]\nname = \"f\"\nlisten = 0\n\
         target = \"{TARGET}\"\n{}\n",
        remote(&destination)
    );
    let fixture = InProcess::with(Options::default(), &forward).await;
    let mut steps = Vec::new();
    for n in 0..SESSIONS {
        let time = first_byte(fixture.address()).await;
        // The next session must not start while the daemon is still busy with the end of this one.
        let over = |ledger: &Snapshot| ledger.open_sessions() == 0;
        fixture.until("the session has ended", over).await;
        steps.push(steps_of(&fixture.simulator.ledger().sessions[n], time));
    }
    println!("                                 median      p90      max");
    for (place, (name, _)) in steps[0].iter().enumerate() {
        let samples: Vec<Duration> = steps.iter().map(|steps| steps[place].1).collect();
        let samples = Samples::micros(&samples);
        let [p50, p90, max] = [50, 90, 100].map(|p| samples.percentile(p) / 1e3);
        println!("{name:28} {p50:10.2} {p90:8.2} {max:8.2}");
    }
    fixture.end().await;
}

fn steps_of(session: &SessionRecord, time: Duration) -> [(&'static str, Duration); 8] {
    let connected = session.connected_us.unwrap();
    let handshake = session.handshake_us.unwrap();
    let first_input = session.first_input_us.unwrap();
    let dial = session.first_dial_us.unwrap();
    let waits = session.api_delay_us + session.readiness_us.unwrap() + dial;
    let between = |from, to| Duration::from_micros(to - from);
    let known = between(session.requested_us, first_input + dial);
    [
        ("in all", time),
        ("waits for the far side", Duration::from_micros(waits)),
        ("beyond", time.saturating_sub(Duration::from_micros(waits))),
        (
            "  StartSession answered",
            between(session.requested_us, session.started_us),
        ),
        ("  websocket open", between(session.started_us, connected)),
        ("  handshake complete", between(connected, handshake)),
        (
            "  ready, until a probe is in",
            between(session.ready_us.unwrap(), first_input),
        ),
        ("  before and after these", time.saturating_sub(known)),
    ]
}

async fn first_byte(address: SocketAddr) -> Duration {
    let begin = Instant::now();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_u8(b'e').await.unwrap();
    tcp.read_u8().await.unwrap();
    begin.elapsed()
}

fn remote(destination: &Destination) -> String {
    format!("remote = {}", destination.address.port())
}

const ROUND_TRIPS: usize = 5000;
const WARM_UP: usize = 200;
const SESSIONS: usize = 100;
