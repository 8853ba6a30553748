//! Many connections at the same moment, and an API with a rate limit.

use std::time::{Duration, Instant};

use ssm_proxyd::sim::{Faults, Options, ServerKind, Simulator, Snapshot, Throttle};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::forward;
use crate::support::in_process::{InProcess, daemon, destination, unpaced};
use crate::support::transfer::exchange;

const CONNECTIONS: usize = 200;
const RATE: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_in_order_within_the_rate_limit() {
    let calls = burst(None).await;

    assert_eq!(calls.len(), CONNECTIONS, "every call must be used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_in_order_under_a_lower_limit_of_the_api() {
    let throttle = Throttle { rate: 8, burst: 8 };

    let calls = burst(Some(throttle)).await;

    let refused = calls.len() - CONNECTIONS;
    println!("{refused} calls were throttled");
    assert!(refused > 0, "the API must throttle");
    assert!(refused < CONNECTIONS / 2, "too many retries");
}

/// Serves all connections; returns the times of the StartSession calls, in microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the bounds of rate and order are in the time of the ledger"
)]
async fn burst(throttle: Option<Throttle>) -> Vec<u64> {
    let echo = destination(ServerKind::Echo).await;
    let options = Options {
        api_delay: Duration::from_millis(100),
        faults: Faults {
            throttle,
            ..Faults::default()
        },
        ..unpaced()
    };
    let limits = format!("[limits]\nsession_start_rate = {RATE}\n");
    let forward = forward(
        "f",
        &echo,
        "connect_timeout = \"60s\"\nmax_connections = 200",
    );
    // The ledger counts from a moment between these two.
    let before = Instant::now();
    let simulator = Simulator::start(options).await.unwrap();
    let origin = Instant::now();
    let daemon = daemon(&simulator, None, &format!("{limits}{forward}")).await;
    let fixture = InProcess { simulator, daemon };
    let begin = origin.elapsed();
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut client = TcpStream::connect(fixture.address()).await.unwrap();
        clients.spawn(async move {
            exchange(&mut client, b"served").await.unwrap();
            let served = u64::try_from(before.elapsed().as_micros()).unwrap();
            (number, served, client)
        });
    }

    let mut clients = clients.join_all().await;
    clients.sort_unstable_by_key(|(number, ..)| *number);
    let served: Vec<_> = clients.iter().map(|(_, served, _)| *served).collect();
    drop(clients);
    let ledger = fixture.end().await;
    assert_in_order(&served, &ledger);
    let mut calls = ledger.start_calls_us;
    calls.sort_unstable();
    assert_rate(&calls, u64::try_from(begin.as_micros()).unwrap());
    assert_eq!(ledger.started, CONNECTIONS as u64);
    calls
}

/// No client is served before its turn: by then, as many sessions were requested as clients had
/// connected. Thus no client starves either, because each session serves one client. The echoes of
/// sessions that are ready together, after a pause of the machine, may arrive in any order.
fn assert_in_order(served_us: &[u64], ledger: &Snapshot) {
    for (number, served) in served_us.iter().enumerate() {
        let requested = ledger.sessions.iter().map(|session| session.requested_us);
        let requested = requested.filter(|requested| requested < served).count();
        assert!(
            number < requested,
            "client {number} was served after {requested} requests"
        );
    }
}

/// At no time there are more calls since the first client connected, at `begin`, than a bucket of
/// four seconds allows. A call arrives after it was sent, never before, so no network delay breaks
/// this bound. Between two arrivals a delay can have any length; that no interval has more calls
/// than allowed is tested at the sender, in the limiter.
fn assert_rate(calls: &[u64], begin: u64) {
    let rate = u64::from(RATE);
    for (made, at) in (1..).zip(calls) {
        let allowed = 4 * rate + at.saturating_sub(begin) * rate / 1_000_000 + 1;
        assert!(made <= allowed, "{made} calls in {} us", at - begin);
    }
}
